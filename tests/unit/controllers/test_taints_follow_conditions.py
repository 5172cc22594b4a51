from __future__ import annotations

import pytest
from workloads import NOW, ago

from orch.objects.cluster import Node, NodeSpec, NodeStatus, Taint
from orch.objects.meta import Condition
from orch_controllers.node_lifecycle.health import Evictions
from orch_controllers.node_lifecycle.taints import NOT_READY, UNREACHABLE, taints_of

OTHER = Taint(key="dedicated", value="gpu", effect="NoSchedule")


def node(ready: str, *taints: Taint, unschedulable: bool = False, **conditions: str) -> Node:
    found = [Condition(type=kind, status=status) for kind, status in {"Ready": ready, **conditions}.items() if status]
    return Node(spec=NodeSpec(taints=taints, unschedulable=unschedulable), status=NodeStatus(conditions=tuple(found)))


def taint(key: str, effect: str, since: float = 0) -> Taint:
    return Taint(key=key, effect=effect, time_added=ago(since))


@pytest.mark.parametrize(("ready", "key"), [("False", NOT_READY), ("Unknown", UNREACHABLE), ("", UNREACHABLE)])
def test_a_lost_node_takes_no_pods_and_loses_its_own(ready: str, key: str) -> None:
    found = taints_of(node(ready, OTHER), Evictions.ALLOWED, NOW)
    assert found == (OTHER, taint(key, "NoSchedule"), taint(key, "NoExecute"))


def test_a_taint_keeps_its_time() -> None:
    before = (taint(UNREACHABLE, "NoSchedule", 100), taint(UNREACHABLE, "NoExecute", 100))
    assert taints_of(node("Unknown", *before), Evictions.ALLOWED, NOW) == before


def test_another_kind_of_loss_is_another_taint() -> None:
    before = (taint(UNREACHABLE, "NoSchedule", 100), taint(UNREACHABLE, "NoExecute", 100))
    found = taints_of(node("False", *before), Evictions.ALLOWED, NOW)
    assert found == (taint(NOT_READY, "NoSchedule"), taint(NOT_READY, "NoExecute"))


def test_a_node_that_is_back_is_free_of_ours_only() -> None:
    before = (OTHER, taint(UNREACHABLE, "NoSchedule", 100), taint(UNREACHABLE, "NoExecute", 100))
    assert taints_of(node("True", *before), Evictions.ALLOWED, NOW) == (OTHER,)


def test_evictions_that_are_stopped_are_taken_back_and_held_ones_go_on() -> None:
    under_way = node("Unknown", taint(UNREACHABLE, "NoExecute", 9), taint(UNREACHABLE, "NoSchedule", 9))
    fresh = node("Unknown")
    assert [each.effect for each in taints_of(under_way, Evictions.STOPPED, NOW)] == ["NoSchedule"]
    assert taints_of(under_way, Evictions.HELD, NOW) == under_way.spec.taints
    assert [each.effect for each in taints_of(fresh, Evictions.HELD, NOW)] == ["NoSchedule"]


def test_pressures_and_cordons_keep_new_pods_away() -> None:
    pressed = node("True", unschedulable=True, MemoryPressure="True", DiskPressure="False", PIDPressure="True")
    keys = [each.key.partition("/")[2] for each in taints_of(pressed, Evictions.ALLOWED, NOW)]
    assert keys == ["memory-pressure", "pid-pressure", "unschedulable"]


def test_a_taint_of_people_with_our_key_and_another_effect_is_theirs() -> None:
    theirs = Taint(key="node.kubernetes.io/unschedulable", effect="NoExecute")
    assert taints_of(node("True", theirs), Evictions.ALLOWED, NOW) == (theirs,)
