import copy

import pytest

from orch_api.kinds.daemon_sets import TEMPLATE_GENERATION, DaemonSetStrategy
from orch_api.kinds.stateful_sets import StatefulSetStrategy

FROZEN = (
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
    "forbidden"
)
CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def shown(causes):
    return [f"{cause.field}: {cause.message}" for cause in causes]


def test_stateful_set_defaults(created, deployment):
    spec = created("statefulsets", deployment(volumeClaimTemplates=[copy.deepcopy(CLAIM)]))["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["podManagementPolicy"]) == (1, 10, "OrderedReady")
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = spec["volumeClaimTemplates"]
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert (claim["spec"]["volumeMode"], claim["status"]) == ("Filesystem", {"phase": "Pending"})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"podManagementPolicy": "Random"},
            "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            {"updateStrategy": {"type": "Magic"}},
            "spec.updateStrategy: Invalid value: {\"type\":\"Magic\"}: must be 'RollingUpdate' or 'OnDelete'",
        ),
        (
            {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}},
            "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'",
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"partition": -1}}},
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}},
            'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0',
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
            'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
        ),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Burn"}},
            (
                'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Burn": '
                'supported values: "Retain", "Delete"'
            ),
        ),
        (
            {"ordinals": {"start": -1}},
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for statefulset"),
        (
            {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
        ),
    ],
)
def test_stateful_set_rules(problems, deployment, spec, expected):
    assert problems("statefulsets", deployment(**spec))[0] == expected


def test_containers_mount_claims(problems, deployment):
    document = deployment(volumeClaimTemplates=[CLAIM])
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    assert problems("statefulsets", document) == []
    container["volumeMounts"][0]["name"] = "other"
    assert problems("statefulsets", document) == [
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "other"'
    ]


def test_stateful_sets_have_the_names_of_hosts(problems, deployment):
    document = deployment()
    document["metadata"]["name"] = "a.b"
    (found,) = problems("statefulsets", document)
    assert found.startswith('metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of')


def test_what_of_a_stateful_set_may_change(update_problems, deployment):
    allowed = {
        "replicas": 3,
        "ordinals": {"start": 1},
        "updateStrategy": {"type": "OnDelete"},
        "revisionHistoryLimit": 1,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"},
        "minReadySeconds": 5,
    }
    assert update_problems("statefulsets", deployment(**allowed), deployment()) == []
    for other in ({"serviceName": "web"}, {"podManagementPolicy": "Parallel"}, {"volumeClaimTemplates": [CLAIM]}):
        assert update_problems("statefulsets", deployment(**copy.deepcopy(other)), deployment()) == [FROZEN]


def test_a_stateful_sets_status(deployment):
    status = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 2, "collisionCount": 1}
    found = StatefulSetStrategy().validate_status({"status": status}, {"status": {"collisionCount": 2}})
    assert shown(found) == [
        "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas",
        "status.collisionCount: Invalid value: 1: cannot be decremented",
    ]


def test_warnings_of_a_stateful_set(deployment):
    assert StatefulSetStrategy().warnings(deployment(revisionHistoryLimit=-1)) == [
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
    ]


def test_daemon_set_defaults(created, deployment):
    made = created("daemonsets", deployment())
    assert made["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert made["spec"]["revisionHistoryLimit"] == 10
    assert "replicas" not in made["spec"]
    assert made["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"updateStrategy": {"type": "Magic"}},
            'spec.updateStrategy: Unsupported value: {"type":"Magic"}: supported values: "RollingUpdate", "OnDelete"',
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxSurge": "10%"}}},
            (
                'spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "10%": '
                "may not be set when maxUnavailable is non-zero"
            ),
        ),
        (
            {"selector": {"matchLabels": {"app": "other"}}},
            'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`',
        ),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for daemonset"),
    ],
)
def test_daemon_set_rules(problems, deployment, spec, expected):
    assert problems("daemonsets", deployment(**spec)) == [expected]


def test_daemon_pods_last_and_write_to_no_shared_disk(problems, deployment):
    document = deployment()
    document["spec"]["template"]["spec"] |= {
        "restartPolicy": "OnFailure",
        "activeDeadlineSeconds": 1,
        "volumes": [{"name": "disk", "gcePersistentDisk": {"pdName": "disk"}}],
    }
    assert problems("daemonsets", document) == [
        'spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"',
        "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        (
            "spec.template.spec.volumes[0].gcePersistentDisk.readOnly: Invalid value: false: must be true for "
            "replicated pods > 1; GCE PD can only be mounted on multiple machines if it is read-only"
        ),
    ]


def test_changes_of_the_template_are_counted(created, deployment):
    strategy = DaemonSetStrategy()
    old = created("daemonsets", deployment())
    new = copy.deepcopy(old)
    new["spec"]["minReadySeconds"] = 5
    new["metadata"]["annotations"] = {"mine": "yes"}
    strategy.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2
    assert new["metadata"]["annotations"] == {"mine": "yes", TEMPLATE_GENERATION: "1"}
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    strategy.prepare_update(new, old)
    assert (new["metadata"]["generation"], new["metadata"]["annotations"][TEMPLATE_GENERATION]) == (2, "2")


def test_a_daemon_sets_selector_and_status(update_problems, deployment):
    new = deployment(selector={"matchLabels": {"app": "web", "x": "y"}})
    assert update_problems("daemonsets", new, deployment()) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable'
    ]
    found = DaemonSetStrategy().validate_status({"status": {"numberReady": -1}}, {"status": {"collisionCount": 1}})
    assert shown(found) == [
        "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
        "status.collisionCount: Invalid value: 0: cannot be decremented",
    ]


def test_a_status_leaves_the_count_of_the_template(created, deployment):
    old = created("daemonsets", deployment())
    new = copy.deepcopy(old) | {"status": {"numberReady": 1}}
    del new["metadata"]["annotations"]
    DaemonSetStrategy().prepare_status(new, old)
    assert new["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1"}
