"""What a stateful set does next, rule by rule: a step is a function of what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from stateful import claim, claim_template, pod, rolling, stateful_set
from workloads import NOW

from orch.objects.apps import StatefulSet
from orch.objects.meta import Object
from orch.objects.pods import Pod
from orch_controllers.statefulset.plan import BURST, Create, Fill, Identify, Own, Remove, Situation, plan

PARALLEL = {"podManagementPolicy": "Parallel"}


def steps(
    owner: StatefulSet, pods: Sequence[Pod], *claims: Object, current: str = "new", update: str = "new"
) -> list[str]:
    """Return a step in words: what is made, what is removed."""
    known = {each.metadata.name: each for each in claims}
    at = Situation(owner=owner, pods=pods, current=current, update=update, claim=known.get, now=NOW)
    return [word(action) for stage in plan(at) for action in stage]


def word(action: Any) -> str:
    match action:
        case Create(ordinal, revision):
            return f"create {ordinal} {revision}"
        case Remove(pod):
            return f"remove {pod.metadata.name}"
        case Fill(pod):
            return f"fill {pod.metadata.name}"
        case Identify(pod):
            return f"identify {pod.metadata.name}"
        case Own(pod):
            return f"own {pod.metadata.name}"
    raise AssertionError(action)


def pods(*states: str, revision: str = "new", first: int = 0) -> list[Pod]:
    return [
        pod(f"web-{first + number}", state, revision=revision) for number, state in enumerate(states) if state != "-"
    ]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), ["create 0 new"]),
        (("ready",), ["create 1 new"]),
        (("running",), []),
        (("pending",), []),
        (("leaving",), []),
        (("-", "ready"), ["create 0 new"]),
        (("ready", "running", "-"), []),
        (("ready", "Failed", "ready"), ["remove web-1"]),
        (("Succeeded", "Failed", "ready"), ["remove web-0"]),
        (("ready", "ready", "ready"), []),
    ],
)
def test_in_order_each_pod_waits_for_those_before_it(states: tuple[str, ...], expected: list[str]) -> None:
    assert steps(stateful_set(), pods(*states)) == expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), ["create 0 new", "create 1 new", "create 2 new"]),
        (("running", "-", "pending"), ["create 1 new"]),
        (("Failed", "leaving", "-"), ["remove web-0", "create 2 new"]),
    ],
)
def test_in_parallel_nobody_waits(states: tuple[str, ...], expected: list[str]) -> None:
    assert steps(stateful_set(**PARALLEL), pods(*states)) == expected


def test_a_pod_that_ended_and_is_going_is_waited_for() -> None:
    gone = pod("web-0", "Failed", deletionTimestamp="2026-01-01T00:00:00Z")
    assert steps(stateful_set(), [gone]) == []
    assert steps(stateful_set(1, **PARALLEL), [gone]) == []


def test_a_pod_must_have_been_ready_for_long_enough() -> None:
    owner = stateful_set(minReadySeconds=30)
    assert steps(owner, [pod("web-0", ready_for=29)]) == []
    assert steps(owner, [pod("web-0", ready_for=31)]) == ["create 1 new"]


@pytest.mark.parametrize(("policy", "made"), [({}, 1), (PARALLEL, BURST)])
def test_a_huge_set_is_made_in_bounded_steps(policy: dict[str, str], made: int) -> None:
    assert len(steps(stateful_set(2**31 - 1, **policy), [])) == made


def test_no_replicas_are_none_and_unset_is_one() -> None:
    assert steps(stateful_set(0), []) == []
    assert steps(stateful_set(None), []) == ["create 0 new"]


def test_numbers_begin_where_they_are_to() -> None:
    owner = stateful_set(2, ordinals={"start": 5})
    assert steps(owner, []) == ["create 5 new"]
    assert steps(owner, pods("ready", first=5)) == ["create 6 new"]
    assert steps(owner, [*pods("ready", "ready", first=5), pod("web-0"), pod("web-7")]) == ["remove web-7"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("ready", "ready", "ready", "ready"), ["remove web-3"]),
        (("ready", "ready", "ready", "leaving"), []),
        (("running", "ready", "ready"), []),
        (("ready", "running", "ready"), ["remove web-2"]),
        (("ready", "ready", "running"), ["remove web-2"]),
        (("ready", "running", "running"), []),
        (("ready", "Failed", "Failed"), ["remove web-2"]),
        (("ready", "running", "Failed"), ["remove web-2"]),
    ],
)
def test_in_order_the_highest_goes_first_when_those_below_serve(states: tuple[str, ...], expected: list[str]) -> None:
    assert steps(stateful_set(1), pods(*states)) == expected


def test_in_parallel_all_that_are_too_many_go() -> None:
    assert steps(stateful_set(1, **PARALLEL), pods("running", "pending", "leaving", "ready")) == [
        "remove web-3",
        "remove web-1",
    ]


def test_scaling_comes_before_updating() -> None:
    old = pods("ready", "ready", "ready", revision="old")
    assert steps(stateful_set(2), old, current="old") == ["remove web-2"]
    assert steps(stateful_set(4), old, current="old") == ["create 3 new"]


@pytest.mark.parametrize(
    ("partition", "unavailable", "expected"),
    [
        (0, 1, ["remove web-3"]),
        (3, 1, ["remove web-3"]),
        (4, 1, []),
        (0, 2, ["remove web-3", "remove web-2"]),
        (3, 2, ["remove web-3"]),
        (0, "50%", ["remove web-3", "remove web-2"]),
        (0, "70%", ["remove web-3", "remove web-2"]),
        (0, "1%", ["remove web-3"]),
        (0, 9, ["remove web-3", "remove web-2", "remove web-1", "remove web-0"]),
    ],
)
@pytest.mark.parametrize("policy", [{}, PARALLEL])
def test_old_pods_go_from_the_highest_down_as_many_as_may_be_missing(
    policy: dict[str, str], partition: int, unavailable: int | str, expected: list[str]
) -> None:
    owner = stateful_set(4, **rolling(partition, unavailable), **policy)
    assert steps(owner, pods(*["ready"] * 4, revision="old"), current="old") == expected


def test_an_update_waits_for_pods_that_do_not_serve_wherever_they_are() -> None:
    old = pods("ready", "ready", revision="old")
    for unavailable, expected in ((1, []), (2, ["remove web-1"])):
        owner = stateful_set(3, **rolling(0, unavailable), **PARALLEL)
        assert steps(owner, [*old, pod("web-2", "running")], current="old") == expected
        assert steps(owner, [*old, pod("web-2", "leaving", revision="old")], current="old") == expected


def test_broken_old_pods_hold_an_update_up_in_order_but_not_in_parallel() -> None:
    broken = [pod("web-0", revision="old"), pod("web-1", "running", revision="old"), pod("web-2", revision="old")]
    assert steps(stateful_set(3), broken, current="old") == []
    assert steps(stateful_set(3, **PARALLEL), broken, current="old") == ["remove web-1"]
    assert steps(stateful_set(3, **rolling(2), **PARALLEL), broken, current="old") == []
    roomy = stateful_set(3, **rolling(0, 2), **PARALLEL)
    assert steps(roomy, broken, current="old") == ["remove web-1", "remove web-2"]


def test_on_delete_pods_are_replaced_only_when_somebody_deletes_them() -> None:
    owner = stateful_set(2, updateStrategy={"type": "OnDelete"})
    assert steps(owner, pods("ready", "ready", revision="old"), current="old") == []
    assert steps(owner, pods("ready", "-", revision="old"), current="old") == ["create 1 new"]


def test_below_the_partition_pods_are_made_of_the_former_revision() -> None:
    owner = stateful_set(3, **rolling(2), **PARALLEL)
    assert steps(owner, [], current="old") == ["create 0 old", "create 1 old", "create 2 new"]
    later = stateful_set(2, ordinals={"start": 4}, **rolling(1), **PARALLEL)
    assert steps(later, [], current="old") == ["create 4 old", "create 5 new"]


def test_an_adopted_pod_gets_its_identity() -> None:
    stray = pod("web-0", labels={"app": "web", "controller-revision-hash": "new"})
    assert steps(stateful_set(1), [stray]) == ["identify web-0"]
    assert steps(stateful_set(1), [pod("web-0")]) == []
    owner = stateful_set(1, volumeClaimTemplates=[claim_template()])
    assert steps(owner, [pod("web-0")], claim("data-web-0")) == ["identify web-0"], "it does not use its claim"


def test_a_pending_pod_gets_the_claims_that_it_lacks() -> None:
    owner = stateful_set(1, volumeClaimTemplates=[claim_template()])
    assert steps(owner, pods("pending")) == ["fill web-0"]
    assert steps(owner, pods("pending"), claim("data-web-0")) == []
    assert steps(owner, pods("running")) == []


def test_claims_are_handed_over_before_their_pod_goes() -> None:
    policy = {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}
    owner = stateful_set(0, volumeClaimTemplates=[claim_template()], **policy)
    assert steps(owner, pods("ready"), claim("data-web-0")) == ["own web-0", "remove web-0"]
    owned = claim("data-web-0", ("Pod", "web-0", "uid-web-0"))
    assert steps(owner, pods("ready"), owned) == ["remove web-0"]


@pytest.mark.parametrize("policy", [{}, PARALLEL])
def test_a_pod_is_not_made_while_a_claim_of_the_former_one_is_about_to_go(policy: dict[str, str]) -> None:
    retention = {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}
    claims = {"volumeClaimTemplates": [claim_template()]}
    stale = claim("data-web-0", ("Pod", "web-0", "former"))
    assert steps(stateful_set(1, **claims, **retention, **policy), [], stale) == []
    assert steps(stateful_set(1, **claims, **policy), [], stale) == ["create 0 new"]
