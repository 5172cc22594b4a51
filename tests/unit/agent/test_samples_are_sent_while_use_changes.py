from __future__ import annotations

import itertools

from orch_agent.usage import Pulse
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

SECOND = 1_000_000_000


def sample(at: int, cpu: int, memory: int = 64 << 20, *pods: str) -> UsageSample:
    """A node whose pods have used `cpu` milliseconds of a processor by the second `at`."""
    used = [ContainerUsage(container="main", cpu_nanos=cpu * 1_000_000, memory_bytes=memory)]
    return UsageSample(
        node="n", unix_nanos=at * SECOND, pods=[PodUsage(uid=uid, containers=used) for uid in pods or ("a",)]
    )


def settle(pulse: Pulse) -> int:
    """Let a steady use of 100m become known; return the second after which nothing more is sent."""
    for at in range(60):
        pulse.take(sample(at, at * 100), at)
    assert pulse.take(sample(60, 6000), 60) == [] or pulse.take(sample(61, 6100), 61) == []
    return 62


def test_steady_use_is_told_every_few_seconds() -> None:
    pulse = Pulse(10, 0)
    start = settle(pulse)
    told = [at for at in range(start, start + 40) if pulse.take(sample(at, at * 100), at)]
    assert len(told) == 4
    assert {later - earlier for earlier, later in itertools.pairwise(told)} == {10}


def test_a_step_is_told_with_the_sample_before_it_and_then_every_second() -> None:
    pulse = Pulse(10, 0)
    start = settle(pulse)
    quiet = next(at for at in range(start, start + 11) if pulse.take(sample(at, at * 100), at))
    for at in (quiet + 1, quiet + 2):
        assert pulse.take(sample(at, at * 100), at) == []
    used, at = (quiet + 2) * 100, quiet + 3
    sent = pulse.take(sample(at, used + 500), at)
    assert [each.unix_nanos // SECOND for each in sent] == [at - 1, at], "the step is not spread over the silence"
    for later in range(1, 15):
        assert len(pulse.take(sample(at + later, used + 500 + later * 500), at + later)) == 1


def test_pods_that_come_and_memory_that_grows_are_changes() -> None:
    for change in (sample(62, 6200, 64 << 20, "a", "b"), sample(62, 6200, 80 << 20)):
        pulse = Pulse(10, 0)
        settle(pulse)
        assert pulse.take(change, 62)


def test_a_node_is_due_when_it_was_silent_for_long_enough() -> None:
    pulse = Pulse(10, -4)
    assert not pulse.due(5)
    assert pulse.due(6)


def test_a_steady_pod_that_comes_is_known_soon_and_then_not_told_of_again() -> None:
    pulse = Pulse(10, 0)
    pulse.take(sample(0, 0), 0)
    told = [at for at in range(1, 10) if pulse.due(at) and pulse.take(sample(at, at * 100), at)]
    assert told == [1, 2]
