"""Names, hosts, volumes and owners of a stateful set's pods and claims; its status."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from stateful import claim, claim_template, pod, rolling, stateful_set, template, view
from workloads import NOW

from orch.objects.pods import PodTemplate
from orch_controllers.statefulset import identity
from orch_controllers.statefulset.retention import owners_of_claim
from orch_controllers.statefulset.status import Progress, as_patch, status_of

OF_SET = ("StatefulSet", "web", "set")
OF_FORMER_SET = ("StatefulSet", "web", "former")
OF_POD = ("Pod", "web-1", "uid-web-1")
OF_FORMER_POD = ("Pod", "web-1", "former")
OF_OTHER = ("Backup", "nightly", "other")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web-0", ("web", 0)),
        ("web-10", ("web", 10)),
        ("my-web-3", ("my-web", 3)),
        ("web", ("", -1)),
        ("web-", ("", -1)),
        ("web-x", ("", -1)),
        ("web-99999999999", ("", -1)),
    ],
)
def test_a_name_says_whose_pod_it_is(name: str, expected: tuple[str, int]) -> None:
    assert identity.parse(name) == expected


def test_a_pod_knows_who_it_is_and_has_its_own_claims() -> None:
    volumes = [{"name": "data", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}]
    owner = stateful_set(volumeClaimTemplates=[claim_template("data"), claim_template("log")])
    body = identity.pod_body(owner, view(template(volumes=volumes), PodTemplate), "web-abc", 2)
    meta, spec = body["metadata"], body["spec"]
    assert (meta["name"], meta["generateName"]) == ("web-2", "web-")
    assert meta["labels"] == {
        "app": "web",
        "controller-revision-hash": "web-abc",
        "statefulset.kubernetes.io/pod-name": "web-2",
        "apps.kubernetes.io/pod-index": "2",
    }
    assert (spec["hostname"], spec["subdomain"]) == ("web-2", "svc")
    assert spec["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}},
        {"name": "log", "persistentVolumeClaim": {"claimName": "log-web-2"}},
        {"name": "scratch", "emptyDir": {}},
    ]


def test_a_claim_is_labelled_as_its_set_selects() -> None:
    owner = stateful_set(volumeClaimTemplates=[claim_template(labels={"tier": "db"}, annotations={"a": "b"})])
    body = identity.claim_body(owner, owner.spec.volume_claim_templates[0], 1)
    assert body["metadata"] == {
        "name": "data-web-1",
        "namespace": "default",
        "labels": {"tier": "db", "app": "web"},
        "annotations": {"a": "b"},
    }
    assert msgspec.json.decode(body["spec"]) == {"accessModes": ["ReadWriteOnce"]}


RETAINED: tuple[Any, ...] = ()


@pytest.mark.parametrize(
    ("deleted", "scaled", "replicas", "owners", "expected"),
    [
        ("Retain", "Retain", 2, (), None),
        ("Retain", "Retain", 2, (OF_SET,), RETAINED),
        ("Retain", "Retain", 1, (OF_POD,), RETAINED),
        ("Delete", "Retain", 2, (), (OF_SET,)),
        ("Delete", "Retain", 1, (), (OF_SET,)),
        ("Delete", "Retain", 1, (OF_SET,), None),
        ("Delete", "Retain", 2, (OF_FORMER_SET,), (OF_SET,)),
        ("Retain", "Delete", 2, (), None),
        ("Retain", "Delete", 2, (OF_POD,), RETAINED),
        ("Retain", "Delete", 1, (), (OF_POD,)),
        ("Retain", "Delete", 1, (OF_FORMER_POD,), (OF_POD,)),
        ("Delete", "Delete", 2, (), (OF_SET,)),
        ("Delete", "Delete", 1, (OF_SET,), (OF_POD,)),
        ("Delete", "Delete", 2, (OF_POD,), (OF_SET,)),
        ("Delete", "Delete", 1, (OF_OTHER,), None),
        ("Delete", "Delete", 1, (OF_OTHER, OF_SET), (OF_OTHER,)),
    ],
)
def test_a_claim_is_owned_as_the_retention_policy_says(
    deleted: str, scaled: str, replicas: int, owners: tuple[Any, ...], expected: tuple[Any, ...] | None
) -> None:
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    owner = stateful_set(replicas, persistentVolumeClaimRetentionPolicy=policy)
    found = owners_of_claim(owner, pod("web-1").metadata, claim("data-web-1", *owners).metadata.owner_references)
    assert expected == (None if found is None else tuple((ref.kind, ref.name, ref.uid) for ref in found))
    assert found is None or all(ref.controller for ref in found)


def test_owners_that_control_nothing_stay_beside_the_controller() -> None:
    owner = stateful_set(2, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"})
    refs = claim("data-web-1", OF_OTHER, controller=False).metadata.owner_references
    found = owners_of_claim(owner, pod("web-1").metadata, refs)
    assert found is not None
    assert [ref.kind for ref in found] == ["Backup", "StatefulSet"]


def status(owner: Any, *pods: Any, current: str = "old", progress: Progress | None = None) -> Any:
    return status_of(owner, pods, progress or Progress(), current, "new", 0, NOW)


def test_the_status_counts_pods_by_what_they_are() -> None:
    found = status(
        stateful_set(4, minReadySeconds=50),
        pod("web-0", revision="old"),
        pod("web-1", "leaving", revision="old"),
        pod("web-2", ready_for=10),
        pod("web-3", "pending"),
    )
    counts = (found.replicas, found.ready_replicas, found.available_replicas)
    assert counts == (4, 3, 2)
    assert (found.current_replicas, found.updated_replicas) == (1, 2)
    assert (found.current_revision, found.update_revision, found.observed_generation) == ("old", "new", 2)


def test_what_a_step_has_done_is_in_the_status_before_it_is_seen() -> None:
    progress = Progress(created=[pod("web-1", "pending")], removed={"uid-web-0"})
    found = status(stateful_set(2), pod("web-0", revision="old"), progress=progress)
    assert (found.replicas, found.current_replicas, found.updated_replicas) == (2, 0, 1)


def test_an_update_is_complete_when_all_are_of_it_and_serve() -> None:
    done = [pod("web-0"), pod("web-1")]
    assert status(stateful_set(2), *done).current_revision == "new"
    assert status(stateful_set(2), *done).current_replicas == 2
    assert status(stateful_set(2), done[0], pod("web-1", "running")).current_revision == "old"
    assert status(stateful_set(3), *done).current_revision == "old"
    assert status(stateful_set(1), *done).current_revision == "old"
    assert status(stateful_set(2, updateStrategy={"type": "OnDelete"}), *done).current_revision == "old"
    partitioned = stateful_set(2, **rolling(1))
    assert status(partitioned, pod("web-0", revision="old"), done[1]).current_revision == "old"


def test_zeroes_are_left_out_as_go_leaves_them_out() -> None:
    patch = as_patch(status(stateful_set(0)))
    assert (patch["replicas"], patch["availableReplicas"], patch["readyReplicas"]) == (0, 0, None)
