from __future__ import annotations

from typing import Any

from orch.autoscaling.recommend import recommend, scaled_to_zero
from orch_pb.v1.autoscaling_pb2 import (
    AutoscalingInputs,
    AutoscalingOutcome,
    MetricInput,
    MetricTarget,
    ScalingPolicy,
    ScalingRules,
)

SECOND = 1_000_000_000
NOW = 10_000 * SECOND
RULES = ScalingRules(
    tolerance=0.1, select_policy="Max", policies=[ScalingPolicy(type="Percent", value=100, period_seconds=15)]
)


def external(name: str, value: int = 0, *, error: str = "") -> MetricInput:
    """A queue of which each pod can take ten."""
    return MetricInput(
        type="External",
        name=name,
        value=value * 1000,
        error=error,
        target=MetricTarget(average_value=10_000),
        selector="nil",
    )


def inputs(current: int, *metrics: MetricInput, **fields: Any) -> AutoscalingInputs:
    defaults = {
        "at": NOW,
        "min_replicas": 1,
        "max_replicas": 10,
        "spec_replicas": current,
        "status_replicas": current,
        "behavior": True,
        "up": RULES,
        "down": RULES,
    }
    return AutoscalingInputs(metrics=metrics, **(defaults | fields))


def conditions(outcome: AutoscalingOutcome) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in outcome.conditions}


def test_the_highest_of_several_metrics_wins() -> None:
    outcome = recommend(inputs(4, external("a", 20), external("b", 70), external("c", 60)))
    assert (outcome.replicas, outcome.reason) == (7, "external metric b(nil) above target")
    assert [one.replicas for one in outcome.proposals] == [2, 7, 6]
    assert conditions(outcome)["ScalingActive"] == ("True", "ValidMetricFound")


def test_a_metric_that_fails_forbids_only_fewer_pods() -> None:
    more = recommend(inputs(4, external("a", error="away"), external("b", 70)))
    assert (more.replicas, more.failed) == (7, False)
    assert [one.reason for one in more.warnings] == ["FailedGetExternalMetric"]
    fewer = recommend(inputs(4, external("a", error="away"), external("b", 10)))
    assert (fewer.replicas, fewer.failed, fewer.rescale) == (4, True, False)
    assert conditions(fewer)["ScalingActive"] == ("False", "FailedGetExternalMetric")
    assert fewer.warnings[-1].message == (
        "invalid metrics (1 invalid out of 2), first error is: failed to get a external metric value: "
        "failed to get a external metric: away"
    )


def test_bounds_are_kept_without_looking_at_metrics() -> None:
    above = recommend(inputs(20, external("a", error="away")))
    assert (above.replicas, above.reason) == (10, "Current number of replicas above Spec.MaxReplicas")
    below = recommend(inputs(1, min_replicas=3))
    assert (below.replicas, below.reason) == (3, "Current number of replicas below Spec.MinReplicas")
    assert "ScalingActive" not in conditions(below)


def test_a_workload_that_somebody_stopped_stays_stopped() -> None:
    for fields in ({}, {"min_replicas": 0}):
        outcome = recommend(inputs(0, external("a", 70), **fields))
        assert not outcome.rescale
        assert conditions(outcome)["ScalingActive"] == ("False", "ScalingDisabled")


def test_an_idle_workload_goes_to_zero_and_wakes_up() -> None:
    idle = inputs(1, external("a", 0), min_replicas=0)
    outcome = recommend(idle)
    assert (outcome.rescale, outcome.replicas, outcome.reason) == (True, 0, "All metrics below target")
    assert scaled_to_zero(idle, outcome)
    asleep = inputs(0, external("a", 0), min_replicas=0, scaled_to_zero=True)
    assert not recommend(asleep).rescale
    waking = inputs(0, external("a", 15), min_replicas=0, scaled_to_zero=True, behavior=False)
    outcome = recommend(waking)
    assert (outcome.replicas, outcome.reason) == (2, "external metric a(nil) above target")
    assert not scaled_to_zero(waking, outcome)


def test_a_minimum_that_was_raised_while_nothing_ran_is_kept() -> None:
    outcome = recommend(inputs(0, external("a", 0), min_replicas=3, scaled_to_zero=True))
    assert (outcome.rescale, outcome.replicas) == (True, 3)
    assert outcome.reason == "Current number of replicas below Spec.MinReplicas"
    without = MetricInput(type="Resource", name="cpu", target=MetricTarget(average_utilization=50))
    assert recommend(inputs(0, without, min_replicas=3, scaled_to_zero=True)).replicas == 3


def test_time_is_asked_for_again_only_while_it_can_change_something() -> None:
    assert recommend(inputs(4, external("a", 40))).again_after == 0
    slow = ScalingRules(tolerance=0.1, select_policy="Max", policies=RULES.policies, stabilization_seconds=60)
    first = recommend(inputs(4, external("a", 40), down=slow))
    later = inputs(4, external("a", 10), down=slow, at=NOW + 20 * SECOND, history=first.history)
    outcome = recommend(later)
    assert (outcome.replicas, outcome.stabilized_replicas, outcome.metrics_replicas) == (4, 4, 1)
    assert outcome.again_after == 40 * SECOND
    assert conditions(outcome)["AbleToScale"] == ("True", "ScaleDownStabilized")
