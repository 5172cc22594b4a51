from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch_controllers.recommendations.container import ContainerUse
from orch_controllers.recommendations.histogram import DAY, Histogram

MIB = 2**20


def learned(days: float, cores: float = 0.2, memory: int = 500 * MIB) -> ContainerUse:
    use = ContainerUse("main")
    minutes = max(int(days * 24 * 60), 2)
    for minute in range(minutes):
        use.observe("uid", cores, memory, 0.1, 1e9 + minute * 60)
    return use


@given(st.lists(st.floats(0.011, 900), min_size=1, max_size=200), st.floats(0.01, 1))
def test_percentiles_are_exact_to_a_bucket(amounts: list[float], share: float) -> None:
    histogram = Histogram(0.01, 1000.0)
    for amount in amounts:
        histogram.add(amount, 1.0, 0.0)
    ordered = sorted(amounts)
    exact = ordered[max(0, min(len(ordered) - 1, -(-int(share * len(ordered) * 1e9) // 10**9) - 1))]
    found = histogram.percentile(share)
    assert any(one <= found <= one * 1.06 + 0.011 for one in ordered)
    assert found >= exact * 0.999 or found >= ordered[0]


def test_old_samples_count_less() -> None:
    histogram = Histogram(0.01, 1000.0)
    for _ in range(100):
        histogram.add(8.0, 1.0, 0.0)
    for _ in range(100):
        histogram.add(1.0, 1.0, 8 * DAY)
    assert histogram.percentile(0.9) < 1.2
    histogram.add(1.0, 1.0, 400 * DAY)
    assert histogram.percentile(0.99) < 1.2, "numbers stay finite for ever"


def test_what_is_saved_is_what_was_learned() -> None:
    use = learned(1.5)
    again = ContainerUse("main")
    again.load(use.recommendation(1))
    before, after = use.recommendation(1), again.recommendation(1)
    assert (after.target_cpu, after.upper_memory, after.samples) == (
        before.target_cpu,
        before.upper_memory,
        before.samples,
    )


@pytest.mark.parametrize(("days", "lower", "upper"), [(1, 230, 460), (7, 230, 263)])
def test_bounds_draw_together_as_use_is_known_longer(days: float, lower: int, upper: int) -> None:
    found = learned(days).recommendation(1)
    assert found.target_cpu == pytest.approx(230, rel=0.1)
    assert found.lower_cpu == pytest.approx(lower, rel=0.1)
    assert found.upper_cpu == pytest.approx(upper, rel=0.1)
    assert found.lower_cpu <= found.target_cpu <= found.upper_cpu
    assert found.target_memory == pytest.approx(575 * MIB, rel=0.06)


def test_little_use_is_given_the_least_shared_among_the_containers() -> None:
    found = learned(2, cores=0.0, memory=MIB).recommendation(2)
    assert (found.target_cpu, found.target_memory) == (12, 125_000_000)


def test_of_each_day_the_peak_of_memory_counts_once() -> None:
    use = ContainerUse("main")
    for minute in range(120):
        use.observe("uid", 0.1, (900 if minute == 60 else 300) * MIB, 0.1, 1e9 + minute * 60)
    assert use.recommendation(1).lower_memory <= use.recommendation(1).target_memory
    assert use.recommendation(1).target_memory == pytest.approx(900 * 1.15 * MIB, rel=0.06)
