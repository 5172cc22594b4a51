from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.autoscaling.limits import limit, remember, stabilize
from orch.autoscaling.recommend import recommend, replays, scaled_to_zero
from orch_pb.v1.autoscaling_pb2 import (
    AutoscalingDecision,
    AutoscalingInputs,
    MetricInput,
    MetricTarget,
    Recommendation,
    ScaleChange,
    ScalingPolicy,
    ScalingRules,
)

SECOND = 1_000_000_000
NOW = 10_000 * SECOND


def rules(
    *policies: tuple[str, int, int], window: int = 0, select: str = "Max", tolerance: float = 0.1
) -> ScalingRules:
    return ScalingRules(
        stabilization_seconds=window,
        select_policy=select,
        tolerance=tolerance,
        policies=[ScalingPolicy(type=kind, value=value, period_seconds=period) for kind, value, period in policies],
    )


UP = rules(("Percent", 100, 15), ("Pods", 4, 15))
DOWN = rules(("Percent", 100, 15), window=300)


def inputs(current: int, **fields: Any) -> AutoscalingInputs:
    defaults = {
        "at": NOW,
        "min_replicas": 1,
        "max_replicas": 1000,
        "spec_replicas": current,
        "status_replicas": current,
        "behavior": True,
        "up": UP,
        "down": DOWN,
    }
    return AutoscalingInputs(**(defaults | fields))


def ago(seconds: int, replicas: int) -> Recommendation:
    return Recommendation(at=NOW - seconds * SECOND, replicas=replicas)


def changed(seconds: int, before: int, after: int) -> ScaleChange:
    return ScaleChange(at=NOW - seconds * SECOND, before=before, after=after)


@pytest.mark.parametrize(
    ("current", "desired", "fields", "allowed", "reason"),
    [
        (10, 100, {}, 20, "ScaleUpLimit"),
        (1, 100, {}, 5, "ScaleUpLimit"),
        (10, 100, {"behavior": False}, 20, "ScaleUpLimit"),
        (1, 100, {"behavior": False}, 4, "ScaleUpLimit"),
        (10, 100, {"max_replicas": 15}, 15, "TooManyReplicas"),
        (10, 12, {}, 12, "DesiredWithinRange"),
        (10, 0, {}, 1, "TooFewReplicas"),
        (10, 0, {"min_replicas": 0}, 0, "DesiredWithinRange"),
        # 10 there were 15 seconds ago, 14 now: 20 at most
        (14, 100, {"changes": [changed(5, 10, 14)]}, 20, "ScaleUpLimit"),
        (20, 100, {"changes": [changed(14, 10, 20)]}, 20, "ScaleUpLimit"),
        (20, 100, {"changes": [changed(15, 10, 20)]}, 40, "ScaleUpLimit"),
        (20, 100, {"behavior": False, "changes": [changed(14, 10, 20)]}, 20, "ScaleUpLimit"),
        # what was taken away within the period may come back
        (10, 100, {"changes": [changed(5, 30, 10)]}, 60, "ScaleUpLimit"),
        (10, 100, {"up": rules(("Percent", 100, 15), ("Pods", 4, 15), select="Min")}, 14, "ScaleUpLimit"),
        (10, 100, {"up": rules(("Pods", 4, 15), select="Disabled")}, 10, "ScaleUpLimit"),
        (1, 100, {"up": rules(("Percent", 10, 60))}, 2, "ScaleUpLimit"),
        (80, 10, {"down": rules(("Pods", 4, 60), ("Percent", 10, 60))}, 72, "ScaleDownLimit"),
        (80, 10, {"down": rules(("Pods", 4, 60), ("Percent", 10, 60), select="Min")}, 76, "ScaleDownLimit"),
        (80, 10, {"down": rules(("Pods", 4, 60), select="Disabled")}, 80, "ScaleDownLimit"),
        (76, 10, {"down": rules(("Pods", 4, 60)), "changes": [changed(59, 80, 76)]}, 76, "ScaleDownLimit"),
        (76, 10, {"down": rules(("Pods", 4, 60)), "changes": [changed(60, 80, 76)]}, 72, "ScaleDownLimit"),
    ],
)
def test_policies(current: int, desired: int, fields: dict[str, Any], allowed: int, reason: str) -> None:
    found = limit(inputs(current, **fields), desired)
    assert (found.replicas, found.reason) == (allowed, reason)
    assert found.limited == (reason != "DesiredWithinRange")


@pytest.mark.parametrize(
    ("current", "desired", "up", "down", "history", "stable"),
    [
        (10, 5, 0, 300, [ago(299, 8)], 8),
        (10, 5, 0, 300, [ago(300, 8)], 5),
        (10, 5, 0, 300, [ago(100, 20)], 10),
        (10, 15, 60, 300, [ago(30, 12)], 12),
        (10, 15, 60, 300, [ago(30, 8)], 10),
        (10, 15, 60, 300, [ago(60, 8)], 15),
        (10, 15, 0, 0, [ago(1, 3)], 15),
    ],
)
def test_windows(current: int, desired: int, up: int, down: int, history: list[Recommendation], stable: int) -> None:
    asked = inputs(current, up=rules(("Pods", 100, 15), window=up), down=rules(("Pods", 100, 15), window=down))
    assert stabilize(asked, history, desired) == stable


def test_without_a_behavior_the_highest_recommendation_counts_in_either_direction() -> None:
    assert stabilize(inputs(5, behavior=False), [ago(200, 10)], 6) == 10
    assert stabilize(inputs(5), [ago(200, 10)], 6) == 6


steps = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 40)), min_size=1, max_size=60)


@given(steps=steps, up=st.integers(0, 200), down=st.integers(0, 200), current=st.integers(0, 40))
def test_a_short_history_stabilizes_as_a_whole_one_would(
    steps: list[tuple[int, int]], up: int, down: int, current: int
) -> None:
    at = NOW
    kept: list[Recommendation] = []
    everything: list[Recommendation] = []
    for passed, desired in steps:
        at += passed * SECOND
        asked = inputs(current, at=at, up=rules(window=up), down=rules(window=down))
        assert stabilize(asked, kept, desired) == stabilize(asked, everything, desired)
        kept = remember(asked, kept, desired)
        everything.append(Recommendation(at=at, replicas=desired))
        assert len({one.replicas for one in kept}) == len(kept), "each number once"


amounts = st.one_of(st.integers(-(2**62), 2**62), st.integers(0, 1000))
some_rules = st.builds(
    lambda policies, window, select, tolerance: rules(*policies, window=window, select=select, tolerance=tolerance),
    st.lists(
        st.tuples(
            st.sampled_from(["Pods", "Percent"]), st.integers(1, 2**31 - 1) | st.integers(1, 200), st.integers(1, 1800)
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 3600),
    st.sampled_from(["Max", "Min", "Disabled"]),
    st.floats(0, 10, allow_nan=False),
)


@given(
    low=st.integers(0, 50),
    span=st.integers(0, 2**31 - 60),
    current=st.integers(0, 2**31 - 1) | st.integers(0, 60),
    value=amounts,
    target=amounts,
    kind=st.sampled_from(["value", "average_value"]),
    behavior=st.booleans(),
    up=some_rules,
    down=some_rules,
    zero=st.booleans(),
)
def test_whatever_is_measured_the_target_stays_within_its_bounds(
    low: int,
    span: int,
    current: int,
    value: int,
    target: int,
    kind: str,
    behavior: bool,
    up: ScalingRules,
    down: ScalingRules,
    zero: bool,
) -> None:
    metric = MetricInput(type="External", name="m", value=value, target=MetricTarget(**{kind: target}))
    asked = inputs(
        current,
        min_replicas=low,
        max_replicas=low + span + 1,
        behavior=behavior,
        up=up,
        down=down,
        scaled_to_zero=zero,
        metrics=[metric],
    )
    outcome = recommend(asked)
    assert replays(AutoscalingDecision(inputs=asked, outcome=outcome))
    assert outcome.rescale == (outcome.replicas != current)
    if outcome.rescale:
        assert low <= outcome.replicas <= low + span + 1
        if low <= current <= low + span + 1 and behavior and current > 0:
            within_policies(asked, outcome.replicas)
        assert not scaled_to_zero(asked, outcome) or outcome.replicas == 0


def within_policies(asked: AutoscalingInputs, replicas: int) -> None:
    """Compare with the plain meaning: some (Max) or every (Min) policy allows the change."""
    chosen = asked.up if replicas > asked.spec_replicas else asked.down
    changed_by = abs(replicas - asked.spec_replicas)
    allowed = [
        changed_by <= policy.value
        if policy.type == "Pods"
        else changed_by <= -(-asked.spec_replicas * policy.value // 100) + 1
        for policy in chosen.policies
    ]
    assert chosen.select_policy != "Disabled"
    assert all(allowed) if chosen.select_policy == "Min" else any(allowed)


@given(noise=st.lists(st.integers(40, 60), min_size=60, max_size=60), window=st.integers(10, 60))
def test_what_goes_up_within_a_window_does_not_come_down_in_it(noise: list[int], window: int) -> None:
    """A load that swings around its target never makes the target swing within its window."""
    current, history, at = 10, [], NOW
    asked_for: list[int] = []
    for load in noise:
        at += SECOND
        metric = MetricInput(type="External", name="m", value=load * 100, target=MetricTarget(value=5000))
        asked = inputs(
            current,
            at=at,
            history=history,
            metrics=[metric],
            down=rules(("Percent", 100, 15), window=window),
        )
        outcome = recommend(asked)
        history = list(outcome.history)
        asked_for.append(outcome.metrics_replicas)
        if outcome.replicas < current:
            assert len(asked_for) >= window, "before the window is over nothing falls"
            assert max(asked_for[-window:]) <= outcome.replicas, "and then no lower than anything in it asked for"
        current = outcome.replicas
