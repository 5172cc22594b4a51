import copy
from datetime import UTC, datetime

import pytest

from orch_api.kinds.storage_classes import RESOURCES as CLASSES
from orch_api.kinds.volume_attachments import VolumeAttachmentStrategy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def named(**fields):
    return {"metadata": {"name": "a"}, **fields}


def storage_class(**fields):
    return named(provisioner="example.com/disks", **fields)


def test_a_class_deletes_and_makes_at_once(created):
    made = created("storageclasses", storage_class())
    assert (made["reclaimPolicy"], made["volumeBindingMode"]) == ("Delete", "Immediate")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (storage_class(), []),
        (named(), ["provisioner: Required value"]),
        (
            storage_class(reclaimPolicy="Recycle"),
            ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
        ),
        (storage_class(parameters={"": "a"}), ['parameters: Invalid value: "": field can not be empty.']),
        (storage_class(parameters={"a": "b" * 300000}), ["parameters: Too long: may not be more than 262144 bytes"]),
        (
            storage_class(
                allowedTopologies=[
                    {"matchLabelExpressions": [{"key": "zone", "values": ["a", "a"]}, {"key": "zone", "values": []}]}
                ]
            ),
            [
                'allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"',
                "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
                'allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: "zone"',
            ],
        ),
    ],
)
def test_storage_class_rules(problems, document, expected):
    assert problems("storageclasses", document) == expected


def test_a_class_stays_what_volumes_were_made_by(update_problems):
    new = storage_class(parameters={"a": "b"}, reclaimPolicy="Retain", volumeBindingMode="WaitForFirstConsumer")
    assert update_problems("storageclasses", new, storage_class()) == [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable',
    ]
    assert update_problems("storageclasses", storage_class(allowVolumeExpansion=True), storage_class()) == []


def test_the_default_class_is_marked():
    document = storage_class()
    document["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert CLASSES[0].columns[0].value(document, NOW) == "a (default)"


def test_attributes_need_parameters_and_keep_them(problems, update_problems):
    document = named(driverName="example.com", parameters={"iops": "1"})
    assert problems("volumeattributesclasses", named(driverName="example.com")) == [
        "parameters: Required value: must contain at least one key/value pair"
    ]
    assert update_problems("volumeattributesclasses", document | {"parameters": {"iops": "2"}}, document) == [
        "parameters: Forbidden: updates to parameters are forbidden."
    ]


def attachment(**source):
    return named(spec={"attacher": "example.com", "nodeName": "node-1", "source": source})


INLINE = {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "example.com", "volumeHandle": "a"}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"persistentVolumeName": "disk"}, []),
        ({"inlineVolumeSpec": INLINE}, []),
        (
            {},
            ["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
        ),
        (
            {"persistentVolumeName": "disk", "inlineVolumeSpec": INLINE},
            ["spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
        ),
        (
            {"inlineVolumeSpec": INLINE | {"capacity": {"storage": "1Gi"}}},
            ["spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes"],
        ),
    ],
)
def test_attachment_sources(problems, source, expected):
    assert problems("volumeattachments", attachment(**copy.deepcopy(source))) == expected


def test_an_attachment_changes_only_its_status(update_problems, created):
    old = attachment(persistentVolumeName="disk")
    (problem,) = update_problems("volumeattachments", attachment(persistentVolumeName="other"), copy.deepcopy(old))
    assert problem.endswith("field is immutable")
    old = created("volumeattachments", old)
    new = {"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}, "status": {"attached": True}}
    VolumeAttachmentStrategy().prepare_subresource("status", new, old)
    assert new == {"metadata": {"name": "a"}, "spec": old["spec"], "status": {"attached": True}}


def test_what_a_silent_driver_can_do(created):
    assert created("csidrivers", named())["spec"] == {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "requiresRepublish": False,
        "seLinuxMount": False,
        "volumeLifecycleModes": ["Persistent"],
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        (
            {"tokenRequests": [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 1}]},
            [
                'spec.tokenRequests[1].audience: Duplicate value: "a"',
                (
                    "spec.tokenRequests[2].expirationSeconds: Invalid value: 1: may not specify a duration less than "
                    "10 minutes"
                ),
            ],
        ),
        (
            {"volumeLifecycleModes": ["Odd"]},
            ['spec.volumeLifecycleModes: Unsupported value: "Odd": supported values: "Persistent", "Ephemeral"'],
        ),
        (
            {"nodeAllocatableUpdatePeriodSeconds": 9},
            ["spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"],
        ),
    ],
)
def test_driver_rules(problems, spec, expected):
    assert problems("csidrivers", named(spec=spec)) == expected


def test_a_driver_goes_on_attaching(update_problems):
    assert update_problems("csidrivers", named(spec={"attachRequired": False}), named()) == [
        "spec.attachedRequired: Invalid value: false: field is immutable"
    ]


def csi_node(**driver):
    return named(spec={"drivers": [{"name": "example.com", "nodeID": "n1", **driver}]})


def test_a_nodes_drivers(problems, update_problems):
    assert problems("csinodes", csi_node(topologyKeys=["zone", "zone"])) == ['spec.drivers[0]: Duplicate value: "zone"']
    assert problems("csinodes", csi_node(nodeID="")) == ["spec.drivers[0].nodeID: Required value"]
    assert update_problems("csinodes", csi_node(allocatable={"count": 5}), csi_node()) == []
    (problem,) = update_problems("csinodes", csi_node(nodeID="n2"), csi_node())
    assert problem.startswith("spec.drivers: Invalid value:")


def test_room_stays_about_the_same_storage(update_problems):
    old = {"metadata": {"name": "a", "namespace": "b"}, "storageClassName": "fast", "capacity": "1Gi"}
    assert update_problems("csistoragecapacities", old | {"capacity": "2Gi"}, dict(old)) == []
    assert update_problems("csistoragecapacities", old | {"storageClassName": "slow"}, dict(old)) == [
        'storageClassName: Invalid value: "slow": field is immutable'
    ]


def test_a_migration_names_a_resource_for_good(problems, update_problems):
    document = named(spec={"resource": {"group": "apps", "resource": "deployments"}})
    assert problems("storageversionmigrations", named()) == [
        "spec.resource.resource: Required value: resource is required"
    ]
    assert update_problems("storageversionmigrations", named(spec={"resource": {"resource": "pods"}}), document) == [
        'group: Invalid value: "": field is immutable',
        'resource: Invalid value: "pods": field is immutable',
    ]
