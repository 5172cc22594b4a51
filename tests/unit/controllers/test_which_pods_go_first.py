from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workloads import NOW, pod

from orch.objects.pods import Pod
from orch_controllers.replicaset.ranking import deletion_cost, first_to_go


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        pytest.param(pod("b", node=""), pod("a", ready_for=None, phase="Pending"), id="not on a node"),
        pytest.param(pod("b", phase="Pending"), pod("a", phase="Unknown", ready_for=None), id="pending"),
        pytest.param(pod("b", phase="Unknown"), pod("a", ready_for=None), id="unknown"),
        pytest.param(pod("b", ready_for=None, cost="100"), pod("a"), id="not ready"),
        pytest.param(pod("b", cost="-5", ready_for=900), pod("a", ready_for=1), id="cheap"),
        pytest.param(pod("b", ready_for=1), pod("a", ready_for=900), id="ready for a shorter time"),
        pytest.param(pod("b", restarts=2), pod("a", restarts=1, sidecar_restarts=9), id="restarted more often"),
        pytest.param(pod("b", sidecar_restarts=2), pod("a", sidecar_restarts=1), id="its sidecar did"),
        pytest.param(pod("b", age=10), pod("a", age=900), id="younger"),
    ],
)
def test_in_the_order_of_kubernetes(goes: Pod, stays: Pod) -> None:
    assert first_to_go([stays, goes], [], 1, NOW) == [goes]


def test_pods_that_crowd_a_node_go_before_lonely_ones() -> None:
    lonely, crowded = pod("a", node="node-1", ready_for=1), pod("b", node="node-2", ready_for=900)
    related = [lonely, crowded, pod("c", node="node-2")]
    assert first_to_go([lonely, crowded], related, 1, NOW) == [crowded]


def test_near_times_are_equal() -> None:
    older, younger = pod("a", ready_for=110, restarts=1), pod("b", ready_for=100)
    assert first_to_go([younger, older], [], 1, NOW) == [older], "so that the next rule decides"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("10", 10), ("-10", -10), ("0", 0), ("+5", 0), ("05", 0), ("1.5", 0), ("1_0", 0), (str(2**31), 0)],
)
def test_a_deletion_cost_is_an_integer_as_kubernetes_takes_it(text: str, expected: int) -> None:
    assert deletion_cost(pod(cost=text)) == expected


@given(st.lists(st.sampled_from(range(6)), unique=True), st.integers(0, 8))
def test_as_many_go_as_are_asked_for(chosen: list[int], count: int) -> None:
    pods = [pod(f"pod-{number}", ready_for=number or None) for number in chosen]
    found = first_to_go(pods, pods, count, NOW)
    assert len(found) == min(count, len(pods))
    assert all(each in pods for each in found)
