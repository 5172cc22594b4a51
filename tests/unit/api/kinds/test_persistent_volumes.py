import copy
from datetime import UTC, datetime

import pytest

from orch.clock import ManualClock
from orch_api.kinds.persistent_volumes import RESOURCES, PersistentVolumeStrategy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def volume(**spec):
    body = {
        "capacity": {"storage": "1024Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/srv"},
        **spec,
    }
    return {"metadata": {"name": "disk"}, "spec": body}


def test_a_volume_is_kept_and_holds_a_file_system(created):
    made = created("persistentvolumes", volume())
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert made["spec"]["capacity"] == {"storage": "1Gi"}
    assert made["spec"]["hostPath"] == {"path": "/srv", "type": ""}
    assert made["status"]["phase"] == "Pending"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"accessModes": []}, ["spec.accessModes: Required value"]),
        (
            {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            {"accessModes": ["Odd"]},
            [
                (
                    'spec.accessModes: Unsupported value: "Odd": supported values: "ReadOnlyMany", "ReadWriteMany", '
                    '"ReadWriteOnce", "ReadWriteOncePod"'
                )
            ],
        ),
        (
            {"capacity": {}},
            ["spec.capacity: Required value", 'spec.capacity: Unsupported value: {}: supported values: "storage"'],
        ),
        ({"capacity": {"storage": "0"}}, ['spec.capacity[storage]: Invalid value: "0": must be greater than zero']),
        ({"hostPath": None}, ["spec: Required value: must specify a volume type"]),
        (
            {"nfs": {"server": "a", "path": "/b"}},
            ["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            ["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        ),
        (
            {"persistentVolumeReclaimPolicy": "Burn"},
            [
                (
                    'spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", '
                    '"Recycle", '
                    '"Retain"'
                )
            ],
        ),
        (
            {"hostPath": None, "local": {"path": "/mnt/disk"}},
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        ({"nodeAffinity": {}}, ["spec.nodeAffinity.required: Required value: must specify required node constraints"]),
        (
            {"hostPath": None, "nfs": {"server": "a", "path": "b"}},
            ['spec.nfs.path: Invalid value: "b": must be an absolute path'],
        ),
        (
            {"hostPath": None, "csi": {"driver": "", "volumeHandle": ""}},
            None,
        ),
        (
            {"volumeAttributesClassName": "fast"},
            ["spec.csi: Required value: has to be specified when using volumeAttributesClassName"],
        ),
        ({"volumeMode": "Odd"}, ['spec.volumeMode: Unsupported value: "Odd": supported values: "Block", "Filesystem"']),
        (
            {"hostPath": None, "iscsi": {"targetPortal": "a:3260", "iqn": "odd", "lun": 256}},
            [
                'spec.iscsi.iqn: Invalid value: "odd": must be valid format',
                "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ],
        ),
        (
            {"hostPath": None, "fc": {"targetWWNs": ["a"]}},
            ["spec.fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
    ],
)
def test_volume_rules(problems, spec, expected):
    found = problems("persistentvolumes", volume(**spec))
    if expected is None:
        assert "spec.csi.driver: Required value" in found
        assert "spec.csi.volumeHandle: Required value" in found
    else:
        assert found == expected


def test_where_the_data_is_stays(update_problems):
    assert update_problems("persistentvolumes", volume(hostPath={"path": "/other"}), volume()) == [
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    ]
    assert update_problems("persistentvolumes", volume(capacity={"storage": "2Gi"}), volume()) == []
    assert update_problems("persistentvolumes", volume(volumeMode="Block"), volume()) == [
        'volumeMode: Invalid value: "Block": field is immutable'
    ]


def test_a_secret_for_expansion_may_be_added(update_problems):
    source = {"driver": "example.com", "volumeHandle": "a"}
    secret = {"name": "a", "namespace": "b"}
    old = volume(hostPath=None, csi=dict(source))
    new = volume(hostPath=None, csi=source | {"controllerExpandSecretRef": secret})
    assert update_problems("persistentvolumes", copy.deepcopy(new), old) == []
    assert update_problems("persistentvolumes", old, new) != []


def test_node_affinity_is_set_once(update_problems):
    def near(node):
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
        return volume(nodeAffinity={"required": {"nodeSelectorTerms": [term]}})

    assert update_problems("persistentvolumes", near("a"), volume()) == []
    (problem,) = update_problems("persistentvolumes", near("b"), near("a"))
    assert problem.endswith("field is immutable, except for updating from beta label to GA")


async def test_the_moment_of_a_changed_phase_is_noted():
    clock = ManualClock()
    strategy = PersistentVolumeStrategy(clock)
    old = volume()
    strategy.prepare_create(old)
    await clock.advance(60)
    new = copy.deepcopy(old)
    new["status"] = {"phase": "Pending"}
    strategy.prepare_status(new, old)
    assert new["status"]["lastPhaseTransitionTime"] == "2026-01-01T00:00:00Z"
    new["status"]["phase"] = "Bound"
    strategy.prepare_status(new, old)
    assert new["status"]["lastPhaseTransitionTime"] == "2026-01-01T00:01:00Z"


def test_a_volume_is_shown_as_kubectl_users_know_it(created):
    document = created(
        "persistentvolumes",
        volume(claimRef={"namespace": "team", "name": "data"}, accessModes=["ReadOnlyMany", "ReadWriteOnce"]),
    )
    assert {column.name: column.value(document, NOW) for column in RESOURCES[0].columns} == {
        "Name": "disk",
        "Capacity": "1Gi",
        "Access Modes": "RWO,ROX",
        "Reclaim Policy": "Retain",
        "Status": "Pending",
        "Claim": "team/data",
        "StorageClass": "",
        "VolumeAttributesClass": "<unset>",
        "Reason": "",
        "Age": "<unknown>",
        "VolumeMode": "Filesystem",
    }
    assert [column.name for column in RESOURCES[0].columns if column.priority] == ["VolumeMode"]
