from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orch.bus.memory import MemoryBroker
from orch.bus.subjects import metrics_subject
from orch.clock import ManualClock
from orch_controllers.autoscaling.smoothing import NANO, Rate, Rates
from orch_controllers.autoscaling.usage import UsageTable
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

MILLI = 1_000_000


def rates(*milli: int, start: int = 0) -> Rates:
    found = Rates()
    for second, amount in enumerate(milli, start):
        found.add(Rate(second * NANO, (second + 1) * NANO, amount * MILLI))
    return found


def read(found: Rates, since: int = 0) -> float:
    reading = found.reading(since)
    assert reading is not None
    return reading.amount / MILLI


def test_nothing_is_known_of_one_counter() -> None:
    assert Rates().reading() is None


def test_a_noisy_second_is_left_out() -> None:
    assert read(rates(*[100] * 12, 900, 100, 100)) == 100
    assert read(rates(100, 900, 100)) == 100
    assert read(rates(*[100] * 12, 0, 100)) == 100


def test_a_step_is_the_reading_after_three_seconds() -> None:
    assert read(rates(*[100] * 12, 300, 300)) < 130
    assert read(rates(*[100] * 12, 300, 300, 300)) == 300
    assert read(rates(*[300] * 12, 20, 20, 20)) == 20
    assert read(rates(*[100] * 12, 210, 300, 300)) == 300, "the second in which it began is not the others' median"


def test_small_changes_are_averaged_not_followed() -> None:
    assert 100 <= read(rates(*[100] * 10, 104, 104, 104, 104)) < 104


def test_only_what_was_measured_since_a_moment_counts_if_there_is_any() -> None:
    found = rates(*[100] * 8, 150, 40)
    assert read(found, since=9 * NANO) == 40
    assert read(found, since=99 * NANO) == read(found)


def test_long_and_short_samples_weigh_by_their_time() -> None:
    found = Rates()
    for begun, ended, amount in ((0, 10, 100), (10, 11, 104), (11, 12, 96), (12, 13, 100), (13, 14, 103)):
        found.add(Rate(begun * NANO, ended * NANO, amount * MILLI))
    assert abs(read(found) - 100) < 1


@given(st.lists(st.integers(0, 64_000), min_size=1, max_size=60))
def test_a_reading_lies_among_what_was_measured(milli: list[int]) -> None:
    found = rates(*milli)
    reading = found.reading()
    assert reading is not None
    assert min(milli) * MILLI - 1 <= reading.amount <= max(milli) * MILLI + 1
    assert reading.at == len(milli) * NANO
    assert 0 < reading.window <= 16 * NANO


def sample(second: int, *pods: tuple[str, int, int]) -> bytes:
    listed = [
        PodUsage(uid=uid, containers=[ContainerUsage(container="main", cpu_nanos=spent * MILLI, memory_bytes=memory)])
        for uid, spent, memory in pods
    ]
    return UsageSample(node="n", unix_nanos=second * NANO, pods=listed).SerializeToString()


async def test_only_tracked_pods_are_read_and_their_moves_are_told() -> None:
    clock = ManualClock()
    table = UsageTable(MemoryBroker().connect("system:apiserver"), clock)
    moved: list[str] = []
    table.on_move = moved.append
    subject = metrics_subject("n")
    table.take(subject, sample(1, ("a", 100, 10), ("b", 100, 10)))
    table.take(subject, sample(2, ("a", 200, 10), ("b", 200, 10)))
    table.track("a", "n")
    use = table.use("a")
    assert use is not None, "what the node said before counts"
    assert (use.containers["main"].cpu / MILLI, use.containers["main"].memory, use.window) == (100, 10, NANO)
    assert moved == ["a"]
    table.take(subject, sample(3, ("a", 300, 10), ("b", 900, 10)))
    assert moved == ["a"]
    assert table.use("b") is None
    table.take(subject, sample(4, ("a", 400, 64 << 20)))
    assert moved == ["a", "a"]
    table.take(subject, b"\xff")
    table.take(subject, sample(5, ("a", 50, 64 << 20)))
    use = table.use("a", since=4 * NANO)
    assert use is not None
    assert use.containers["main"].cpu / MILLI == 50, "a counter that began anew"
    await clock.advance(31)
    assert table.use("a") is None, "what a silent node said last is out of date"
    table.untrack("a")
    table.take(subject, sample(40, ("a", 50, 10)))
    assert table.use("a") is None
