"""What a daemon set does next, rule by rule: a step is a function of what there is."""

from __future__ import annotations

from typing import Any

import pytest
from stateful import daemon_set, pod, view
from workloads import NOW

from orch.clock import ManualClock
from orch.objects.apps import DaemonSet
from orch.objects.pods import Pod
from orch_controllers.daemonset.backoff import FailedPods
from orch_controllers.daemonset.placement import Fit
from orch_controllers.daemonset.plan import Situation, bounds, by_node, manage, roll
from orch_controllers.daemonset.status import status_of

YES, STAYS, NO = Fit(True, True), Fit(False, True), Fit(False, False)
SURGE = daemon_set(0, 1)


def situation(owner: DaemonSet, pods: list[Pod], wait: float = 0, **fits: Fit) -> Situation:
    named = {f"node-{name[1:]}": fit for name, fit in fits.items()}
    return Situation(owner=owner, hash="new", fits=named, pods=by_node(pods), wait=lambda _: wait, now=NOW)


def on(number: int, state: str = "ready", revision: str = "new", name: str = "", **more: Any) -> Pod:
    return pod(name or f"{state}-{number}", state, revision=revision, node=f"node-{number}", **more)


def names(pods: list[Pod]) -> list[str]:
    return [each.metadata.name for each in pods]


@pytest.mark.parametrize("owner", [daemon_set(), SURGE])
def test_every_node_that_should_run_a_pod_gets_one(owner: DaemonSet) -> None:
    plan = manage(situation(owner, [on(2)], n1=YES, n2=YES, n3=STAYS, n4=NO))
    assert (plan.create, plan.delete) == (["node-1"], [])


def test_pods_leave_nodes_that_do_not_tolerate_them_and_nodes_that_are_gone() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-8"]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    unbound = view({"metadata": {"name": "unbound"}, "spec": {"affinity": {"nodeAffinity": affinity}}}, Pod)
    pods = [on(1), on(2), on(3, "leaving"), on(9), unbound]
    plan = manage(situation(daemon_set(), pods, n1=NO, n2=STAYS, n3=NO))
    assert (plan.create, names(plan.delete)) == ([], ["ready-1", "unbound"])


def test_a_pod_that_ended_is_replaced_and_told_of() -> None:
    plan = manage(situation(daemon_set(), [on(1, "Failed"), on(2, "Succeeded")], n1=YES, n2=YES))
    assert names(plan.delete) == ["Failed-1", "Succeeded-2"]
    assert [(each.pod.metadata.name, each.node) for each in plan.ended] == [
        ("Failed-1", "node-1"),
        ("Succeeded-2", "node-2"),
    ]
    waiting = manage(situation(daemon_set(), [on(1, "Failed")], wait=3, n1=YES))
    assert (waiting.delete, waiting.waits) == ([], [3])


def test_a_node_whose_pod_is_going_gets_the_next_when_it_has_gone() -> None:
    leaving = [on(1, "leaving")]
    assert manage(situation(daemon_set(), leaving, n1=YES)).create == []
    assert manage(situation(SURGE, leaving, n1=YES)).create == ["node-1"], "a surge needs no room"
    ended = [on(1, "Failed", deletionTimestamp="2026-01-01T00:00:00Z")]
    assert manage(situation(daemon_set(), ended, n1=YES)).create == ["node-1"]


def test_of_several_pods_the_oldest_stays() -> None:
    pods = [on(1, name="young", age=1), on(1, name="old", age=9), on(1, name="middle", age=5)]
    assert names(manage(situation(daemon_set(), pods, n1=YES)).delete) == ["middle", "young"]


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("ready", "pending", []),
        ("ready", "ready", ["old"]),
        ("running", "pending", ["old"]),
    ],
)
def test_while_surging_the_old_pod_stays_until_the_new_one_serves(old: str, new: str, gone: list[str]) -> None:
    pods = [on(1, old, "old", name="old", age=9), on(1, new, name="new", age=1)]
    plan = manage(situation(SURGE, pods, n1=YES))
    assert (plan.create, names(plan.delete)) == ([], gone)
    third = on(1, "pending", name="third", age=0)
    assert "third" in names(manage(situation(SURGE, [*pods, third], n1=YES)).delete)


@pytest.mark.parametrize(
    ("unavailable", "states", "gone"),
    [
        (1, ["ready", "ready", "ready"], 1),
        (2, ["ready", "ready", "ready"], 2),
        ("50%", ["ready", "ready", "ready"], 2),
        (1, ["running", "ready", "ready"], 1),
        (1, ["running", "running", "ready"], 2),
        (2, ["running", "ready", "ready"], 2),
        (1, ["leaving", "ready", "ready"], 0),
        (2, ["leaving", "ready", "ready"], 1),
    ],
)
def test_old_pods_go_as_far_as_pods_may_be_missing(unavailable: int | str, states: list[str], gone: int) -> None:
    pods = [on(number, state, "old") for number, state in enumerate(states)]
    plan = roll(situation(daemon_set(unavailable), pods, n0=YES, n1=YES, n2=YES))
    assert len(plan.delete) == gone
    assert {"running-0", "running-1"} & set(names(pods)) <= set(names(plan.delete)), "what does not serve goes first"


def test_new_pods_that_do_not_serve_yet_count_as_missing() -> None:
    pods = [on(0, "running"), on(1, "ready", "old"), on(2, "ready", "old")]
    fits = {"n0": YES, "n1": YES, "n2": YES}
    assert roll(situation(daemon_set(1), pods, **fits)).delete == []
    assert len(roll(situation(daemon_set(2), pods, **fits)).delete) == 1
    fresh = [on(0, ready_for=5), *pods[1:]]
    assert roll(situation(daemon_set(1, minReadySeconds=10), fresh, **fits)).delete == []
    assert len(roll(situation(daemon_set(1, minReadySeconds=3), fresh, **fits)).delete) == 1


def test_a_surge_puts_a_second_pod_on_as_many_nodes_as_it_may() -> None:
    fits = {"n0": YES, "n1": YES, "n2": YES}
    old = [on(number, "ready", "old") for number in range(3)]
    assert roll(situation(SURGE, old, **fits)).create == ["node-0"]
    assert roll(situation(daemon_set(0, "50%"), old, **fits)).create == ["node-0", "node-1"]
    waiting = [*old, on(0, "pending")]
    assert roll(situation(SURGE, waiting, **fits)).create == []
    serving = roll(situation(SURGE, [*old, on(0)], **fits))
    assert names(serving.delete) == ["ready-0"]
    broken = [on(0, "running", "old"), *old[1:]]
    assert sorted(roll(situation(SURGE, broken, **fits)).create) == ["node-0", "node-1"], "a broken pod takes no surge"


def test_a_surge_leaves_nodes_when_others_serve() -> None:
    old = [on(0, "ready", "old"), on(1, "ready", "old")]
    assert roll(situation(SURGE, old, n0=STAYS, n1=YES)).delete == old[:1]
    assert roll(situation(SURGE, [old[0], on(1, "running")], n0=STAYS, n1=YES)).delete == []
    assert roll(situation(SURGE, [on(0, "running", "old")], n0=STAYS)).delete != []


@pytest.mark.parametrize(
    ("unavailable", "surge", "total", "expected"),
    [
        (1, 0, 5, (1, 0)),
        ("10%", 0, 5, (1, 0)),
        ("30%", 0, 5, (2, 0)),
        (0, "30%", 5, (0, 2)),
        (0, 0, 5, (1, 0)),
        ("0%", "0%", 5, (1, 0)),
        (0, 0, 0, (0, 0)),
        (7, 0, 5, (7, 0)),
    ],
)
def test_shares_are_rounded_up(unavailable: int | str, surge: int | str, total: int, expected: tuple[int, int]) -> None:
    found = bounds(daemon_set(unavailable, surge), total)
    assert (found.unavailable, found.surge) == expected


def test_the_status_counts_nodes() -> None:
    pods = [on(1), on(2, ready_for=5), on(3, "pending", "old"), on(5), on(9)]
    at = situation(daemon_set(minReadySeconds=10), pods, n1=YES, n2=YES, n3=YES, n4=YES, n5=STAYS)
    found = status_of(at, 0)
    assert (found.desired_number_scheduled, found.current_number_scheduled, found.number_misscheduled) == (4, 3, 1)
    assert (found.number_ready, found.number_available, found.number_unavailable) == (2, 1, 3)
    assert (found.updated_number_scheduled, found.observed_generation) == (2, 2)


def test_pods_that_fail_again_and_again_are_replaced_ever_later() -> None:
    clock = ManualClock()
    failed = FailedPods(clock)
    delays: list[float] = []
    for _ in range(12):
        failed.count("uid", "node-1")
        delays.append(failed.wait("uid", "node-1"))
        clock._elapsed += delays[-1]
        assert failed.wait("uid", "node-1") == 0
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert failed.wait("uid", "node-2") == failed.wait("other", "node-1") == 0
    clock._elapsed += 1801
    failed.count("uid", "node-1")
    assert failed.wait("uid", "node-1") == 1, "it has been well for long"
    failed.keep("uid", {"node-2"})
    assert failed.wait("uid", "node-1") == 0
