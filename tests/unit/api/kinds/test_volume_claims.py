import copy
from datetime import UTC, datetime

import pytest

from orch_api.kinds.volume_claims import RESOURCES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FROZEN = (
    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
    "bound claims"
)
CLAIM = {"kind": "PersistentVolumeClaim", "name": "other"}
OTHER = {"kind": "Database", "name": "other", "apiGroup": "example.com"}


def claim(size="1Gi", phase="", **spec):
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    document = {"metadata": {"name": "data", "namespace": "default"}, "spec": body}
    return document | {"status": {"phase": phase, "capacity": {"storage": "1Gi"}}} if phase else document


def test_a_claim_starts_pending_and_asks_for_a_file_system(created):
    made = created("persistentvolumeclaims", claim("1024Mi", phase="Bound"))
    assert made["status"] == {"phase": "Pending"}
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert made["spec"]["resources"]["requests"] == {"storage": "1Gi"}


def test_a_source_is_named_in_both_ways(created):
    made = created("persistentvolumeclaims", claim(dataSource=CLAIM))
    assert made["spec"]["dataSourceRef"] == CLAIM
    made = created("persistentvolumeclaims", claim(dataSourceRef=OTHER))
    assert made["spec"]["dataSource"] == OTHER


def test_a_source_that_only_the_new_way_can_name_is_dropped_from_the_old(created):
    assert "dataSource" not in created("persistentvolumeclaims", claim(dataSource=OTHER))["spec"]


def test_a_source_in_another_namespace_is_dropped(created):
    assert (
        "dataSourceRef"
        not in created("persistentvolumeclaims", claim(dataSourceRef=CLAIM | {"namespace": "x"}))["spec"]
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (claim(), []),
        (claim(accessModes=[]), ["spec.accessModes: Required value: at least 1 access mode is required"]),
        (claim(resources={}), ["spec.resources[storage]: Required value"]),
        (claim("0"), ['spec.resources[storage]: Invalid value: "0": must be greater than zero']),
        (claim(storageClassName=""), []),
        (
            claim(dataSource=CLAIM, dataSourceRef=CLAIM | {"name": "a"}),
            ['spec: Invalid value: "spec.dataSource": must match dataSourceRef'],
        ),
        (
            claim(dataSourceRef={"kind": "Odd", "name": "a"}),
            [
                (
                    "spec.dataSource: Invalid value: \"Odd\": must be 'PersistentVolumeClaim' when referencing the "
                    "default "
                    "apiGroup"
                ),
                (
                    "spec.dataSourceRef: Invalid value: \"Odd\": must be 'PersistentVolumeClaim' when referencing the "
                    "default apiGroup"
                ),
            ],
        ),
    ],
)
def test_claim_rules(problems, document, expected):
    assert problems("persistentvolumeclaims", document) == expected


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (claim(volumeName="disk"), claim(), []),
        (claim(volumeName="other"), claim(volumeName="disk"), [FROZEN]),
        (claim("2Gi"), claim(), [FROZEN]),
        (claim("2Gi", phase="Bound"), claim(phase="Bound"), []),
        (
            claim("1Gi", phase="Bound"),
            claim("3Gi", phase="Bound"),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        ),
        (claim("2Gi", phase="Bound"), claim("3Gi", phase="Bound"), []),
        (claim(storageClassName="fast"), claim(), []),
        (claim(storageClassName="fast"), claim(storageClassName="slow"), [FROZEN]),
        (claim(phase="Bound", volumeAttributesClassName="gold"), claim(phase="Bound"), []),
        (claim(accessModes=["ReadWriteMany"], phase="Bound"), claim(phase="Bound"), [FROZEN]),
    ],
)
def test_what_may_change(update_problems, new, old, expected):
    assert update_problems("persistentvolumeclaims", copy.deepcopy(new), copy.deepcopy(old)) == expected


def test_attributes_that_were_applied_are_not_taken_back(update_problems):
    old = claim(phase="Bound", volumeAttributesClassName="gold")
    old["status"]["currentVolumeAttributesClassName"] = "gold"
    assert update_problems("persistentvolumeclaims", claim(), old) == [
        (
            "spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when "
            "status.currentVolumeAttributesClassName is not nil"
        )
    ]


def test_states_of_a_resize_are_checked():
    strategy = RESOURCES[0].strategy
    status = {
        "capacity": {"storage": "x"},
        "allocatedResourceStatuses": {"storage": "Odd", "cpu": "NodeResizePending"},
        "allocatedResources": {"memory": "1Gi"},
    }
    assert [cause.field for cause in strategy.validate_status({"status": status}, {})] == [
        "status.capacity[storage]",
        "status.allocatedResourceStatuses",
        "status.allocatedResourceStatuses",
        "status.allocatedResources",
    ]


def test_a_fraction_of_a_byte_is_pointed_out():
    assert RESOURCES[0].strategy.warnings(claim("1500m")) == [
        'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer'
    ]


def test_a_bound_claim_shows_its_volume():
    document = claim(phase="Bound", volumeName="disk")
    document["status"]["accessModes"] = ["ReadWriteOnce"]
    document["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "fast"}
    assert {column.name: column.value(document, NOW) for column in RESOURCES[0].columns} == {
        "Name": "data",
        "Status": "Bound",
        "Volume": "disk",
        "Capacity": "1Gi",
        "Access Modes": "RWO",
        "StorageClass": "fast",
        "VolumeAttributesClass": "<unset>",
        "Age": "<unknown>",
        "VolumeMode": "<unset>",
    }
