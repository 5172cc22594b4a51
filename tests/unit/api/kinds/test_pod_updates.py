import copy

import pytest

from orch_api.kinds.pods import PodStrategy


def changed(document, **spec):
    result = copy.deepcopy(document)
    result["spec"] |= spec
    return result


def test_the_image_may_change(update_problems, pod):
    assert update_problems("pods", pod(containers=[{"name": "web", "image": "nginx:2"}]), pod()) == []


def test_an_added_toleration_and_a_shorter_deadline_may_come(update_problems, pod):
    old = pod(activeDeadlineSeconds=20)
    new = changed(old, activeDeadlineSeconds=10, tolerations=[{"key": "a", "operator": "Exists"}])
    assert update_problems("pods", new, old) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeName": "n1"},
        {"restartPolicy": "Never"},
        {"containers": [{"name": "web", "image": "nginx:1.27", "tty": True}]},
    ],
)
def test_nothing_else_may_change(update_problems, pod, spec):
    (problem,) = update_problems("pods", pod(**spec), pod())
    assert problem.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    )


def test_containers_may_not_come_or_go(update_problems, pod):
    new = pod(containers=[{"name": "web", "image": "nginx:1.27"}, {"name": "more", "image": "x"}])
    assert update_problems("pods", new, pod()) == [
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    ]


def test_a_toleration_may_not_go(update_problems, pod):
    old = pod(tolerations=[{"key": "a", "operator": "Exists"}])
    (problem,) = update_problems("pods", pod(), old)
    assert (
        problem == "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    )


def test_a_deadline_may_not_grow_or_go(update_problems, pod):
    old = pod(activeDeadlineSeconds=10)
    assert update_problems("pods", pod(activeDeadlineSeconds=11), old) == [
        "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value"
    ]
    assert update_problems("pods", pod(), old) == [
        'spec.activeDeadlineSeconds: Invalid value: "null": must not update from a positive integer to nil value'
    ]


def test_an_update_keeps_the_status_and_counts_changes_of_the_spec(created, pod):
    strategy = PodStrategy()
    old = created("pods", pod())
    new = copy.deepcopy(old) | {"status": {"phase": "Failed"}}
    strategy.prepare_update(new, old)
    assert new["status"] == old["status"]
    assert new["metadata"]["generation"] == 1
    new["spec"]["containers"][0]["image"] = "nginx:2"
    strategy.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2


def test_a_status_write_changes_nothing_else(created, pod):
    strategy = PodStrategy()
    old = created("pods", pod())
    old["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet"}]
    new = changed(old, nodeName="elsewhere")
    new["metadata"] |= {"ownerReferences": [], "labels": {"a": "b"}}
    new["status"] = {"phase": "Running"}
    strategy.prepare_subresource("status", new, old)
    assert new["spec"] == old["spec"]
    assert new["metadata"]["ownerReferences"] == [{"kind": "ReplicaSet"}]
    assert new["metadata"]["labels"] == {"a": "b"}
    assert new["status"] == {"phase": "Running", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("node", "phase", "own", "requested", "expected"),
    [
        ("", "Pending", 30, None, 0),
        ("n1", "Running", 30, None, 30),
        ("n1", "Running", 30, 5, 5),
        ("n1", "Running", 30, 0, 0),
        ("n1", "Succeeded", 30, 60, 0),
        ("n1", "Running", -5, None, 1),
    ],
)
def test_how_long_a_deleted_pod_has(created, pod, node, phase, own, requested, expected):
    document = created("pods", pod(nodeName=node, terminationGracePeriodSeconds=own))
    document["status"]["phase"] = phase
    assert PodStrategy().grace_period(document, requested) == expected


def test_a_status_goes_on_saying_which_generation_it_is_about(created, pod):
    old = created("pods", pod())
    old["status"] |= {"observedGeneration": 2, "conditions": [{"type": "Ready", "observedGeneration": 2}]}
    new = copy.deepcopy(old)
    new["status"] = {"phase": "Running", "conditions": [{"type": "Ready"}, {"type": "Other"}]}
    PodStrategy().prepare_status(new, old)
    assert new["status"]["observedGeneration"] == 2
    assert new["status"]["conditions"] == [{"type": "Ready", "observedGeneration": 2}, {"type": "Other"}]
