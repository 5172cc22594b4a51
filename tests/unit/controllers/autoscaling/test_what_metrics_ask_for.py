"""The arithmetic of Kubernetes' documentation: desired = ceil(current * value / target), and the care around it."""

from __future__ import annotations

from typing import Any

import pytest

from orch.autoscaling.arithmetic import MOST, propose
from orch_pb.v1.autoscaling_pb2 import (
    AutoscaledPod,
    AutoscalingInputs,
    MetricInput,
    MetricTarget,
    PodReading,
    ScalingRules,
)

SECOND = 1_000_000_000
NOW = 10_000 * SECOND
RULES = ScalingRules(tolerance=0.1)


def inputs(pods: int | list[AutoscaledPod], **fields: Any) -> AutoscalingInputs:
    listed = [settled(str(number)) for number in range(pods)] if isinstance(pods, int) else pods
    defaults = {
        "at": NOW,
        "min_replicas": 1,
        "max_replicas": 100,
        "spec_replicas": len(listed),
        "status_replicas": len(listed),
        "up": RULES,
        "down": RULES,
        "cpu_initialization": 300 * SECOND,
        "initial_readiness_delay": 30 * SECOND,
    }
    return AutoscalingInputs(pods=listed, **(defaults | fields))


def settled(name: str, **fields: Any) -> AutoscaledPod:
    """A pod that has been ready for long."""
    defaults = {"phase": "Running", "ready": "True", "ready_since": NOW - 2000 * SECOND, "started": NOW - 3000 * SECOND}
    return AutoscaledPod(name=name, **(defaults | fields))


def readings(*values: int | None, at: int = NOW) -> list[PodReading]:
    return [
        PodReading(pod=place, value=value, at=at, window=15 * SECOND)
        for place, value in enumerate(values)
        if value is not None
    ]


def cpu(target: int, *values: int | None, request: int = 100, at: int = NOW) -> MetricInput:
    """A target of utilization over pods that each request 100m."""
    return MetricInput(
        type="Resource",
        name="cpu",
        target=MetricTarget(average_utilization=target),
        readings=readings(*values, at=at),
        requests=[request] * len(values),
    )


def pods_metric(target: int, *values: int | None) -> MetricInput:
    return MetricInput(type="Pods", name="qps", target=MetricTarget(average_value=target), readings=readings(*values))


@pytest.mark.parametrize(
    ("target", "values", "replicas", "utilization"),
    [
        (50, (100, 100), 4, 100),  # 200m where 100m are wanted: twice as many
        (100, (50, 50), 1, 50),  # half of what is wanted: half as many
        (50, (55, 55, 55), 3, 55),  # within a tenth
        (50, (56, 56, 56), 4, 56),
        (50, (45, 45, 45), 3, 45),
        (50, (44, 44, 44), 3, 44),  # ceil(2.64)
        (50, (0, 0), 0, 0),
        (100, (290, 290, 290, 290), 12, 290),
    ],
)
def test_utilization(target: int, values: tuple[int, ...], replicas: int, utilization: int) -> None:
    found = propose(inputs(len(values)), cpu(target, *values))
    assert (found.replicas, found.average_utilization, found.error) == (replicas, utilization, "")
    assert found.name == "cpu resource utilization (percentage of request)"


@pytest.mark.parametrize(
    ("values", "replicas"),
    [
        ((100, 100, None), 4),  # the missing one is idle: 200 of 300 at 50 % is 67 %, and 67/50 * 3 is 4
        ((60, 60, None), 3),  # it turns the direction: nothing changes
        ((10, 10, None), 3),  # the missing one uses all that it requests: 40 %, which is fewer; ceil(40/50 * 3)
        ((10, 10, None, None), 4),  # 55 % would be more
        ((5, 5, 5, 5, None), 3),  # 24 %: ceil(24/50 * 5)
    ],
)
def test_pods_without_a_reading_dampen(values: tuple[int | None, ...], replicas: int) -> None:
    found = propose(inputs(len(values)), cpu(50, *values))
    assert found.replicas == replicas
    assert found.missing == values.count(None)


STARTING = {"ready": "False", "ready_since": NOW - 10 * SECOND, "started": NOW - 10 * SECOND}


@pytest.mark.parametrize(
    ("pod", "groups"),
    [
        (settled("x"), (1, 0, 0)),
        (settled("x", phase="Pending"), (0, 1, 0)),
        (settled("x", phase="Failed"), (0, 0, 1)),
        (settled("x", deleted=True), (0, 0, 1)),
        (settled("x", ready=""), (0, 1, 0)),
        (settled("x", started=0), (0, 1, 0)),
        (settled("x", **STARTING), (0, 1, 0)),
        # ready for less than the reading's time: the reading is partly of its start
        (settled("x", started=NOW - 60 * SECOND, ready_since=NOW - 10 * SECOND), (0, 1, 0)),
        (settled("x", started=NOW - 60 * SECOND, ready_since=NOW - 15 * SECOND), (1, 0, 0)),
        # five minutes after its start a pod counts even if it is not ready, unless it never was
        (settled("x", started=NOW - 400 * SECOND, ready="False", ready_since=NOW - 5 * SECOND), (1, 0, 0)),
        (settled("x", started=NOW - 400 * SECOND, ready="False", ready_since=NOW - 390 * SECOND), (0, 1, 0)),
    ],
)
def test_which_pods_count(pod: AutoscaledPod, groups: tuple[int, int, int]) -> None:
    found = propose(inputs([settled("a"), pod]), cpu(50, 50, 50))
    assert (found.ready - 1, found.unready, found.ignored) == groups


def test_starting_pods_are_idle_when_more_are_asked_for_and_left_out_when_fewer() -> None:
    pods = [settled("a"), settled("b"), settled("new", **STARTING)]
    assert propose(inputs(pods), cpu(50, 100, 100, 900)).replicas == 4
    assert propose(inputs(pods), cpu(50, 20, 20, 900)).replicas == 1
    assert propose(inputs(pods), cpu(50, 60, 60, 900)).replicas == 3, "by them the direction would turn"


def test_starting_pods_count_at_once_for_other_metrics_than_processors() -> None:
    pods = [settled("a"), settled("new", **STARTING)]
    assert propose(inputs(pods), pods_metric(100, 200, 200)).replicas == 4


@pytest.mark.parametrize(
    ("values", "replicas"),
    [((20, 10, 30), 4), ((15, 15, 15), 3), ((0, 0, 0), 0), ((30, None), 2), ((5, None), 2), ((1, 1, 1, None), 2)],
)
def test_averages_of_pods(values: tuple[int | None, ...], replicas: int) -> None:
    assert propose(inputs(len(values)), pods_metric(15, *values)).replicas == replicas


def one_value(kind: str, read: int, **target: int) -> MetricInput:
    return MetricInput(
        type=kind, name="m", described_kind="Ingress", value=read, target=MetricTarget(**target), selector="nil"
    )


@pytest.mark.parametrize("kind", ["Object", "External"])
@pytest.mark.parametrize(
    ("pods", "value", "target", "replicas"),
    [
        (3, 20_000, {"value": 15_000}, 4),
        (3, 16_000, {"value": 15_000}, 3),
        (2, 500_000, {"value": 100_000}, 10),
        (0, 500_000, {"value": 100_000}, 5),
        (0, 0, {"value": 100_000}, 0),
        (0, 1, {"value": 100_000}, 1),
        (5, 40_000, {"average_value": 20_000}, 2),
        (5, 105_000, {"average_value": 20_000}, 5),
        (0, 40_001, {"average_value": 20_000}, 3),
        (3, -5000, {"value": 15_000}, 0),
    ],
)
def test_values_of_something_else(kind: str, pods: int, value: int, target: dict[str, int], replicas: int) -> None:
    assert propose(inputs(pods), one_value(kind, value, **target)).replicas == replicas


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        (cpu(50), "failed to get cpu utilization: no pods returned by selector while calculating replica count"),
        (cpu(0, 5), "failed to get cpu utilization: the metric's target is not positive"),
        (MetricInput(type="Odd"), 'unknown metric source type "Odd"'),
        (one_value("External", 5, value=0), "the metric's target is not positive"),
        (one_value("Object", 5, average_value=-1), "the metric's target is not positive"),
        (cpu(50, 5, request=0), "failed to get cpu utilization: no metrics returned matched known pods"),
        (
            cpu(50, None),
            "failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)",
        ),
    ],
)
def test_what_asks_for_nothing_says_why(metric: MetricInput, problem: str) -> None:
    pods = len(metric.requests)
    assert propose(inputs(pods), metric).error == problem


@pytest.mark.parametrize("kind", ["Object", "External"])
def test_huge_values_are_as_many_replicas_as_there_can_be(kind: str) -> None:
    assert propose(inputs(3), one_value(kind, 2**62, value=1)).replicas == MOST
    assert propose(inputs(3), one_value(kind, 2**62, average_value=1)).replicas == MOST
    assert propose(inputs(2), pods_metric(1, 2**61, 2**61)).replicas == MOST
