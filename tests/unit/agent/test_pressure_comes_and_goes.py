from __future__ import annotations

from orch_agent.eviction.pressure import Observation, Pressure, observe
from orch_agent.eviction.thresholds import EvictionSettings, Signal, thresholds_of
from orch_agent.stats.model import FileSystem, NodeStats

MI = 1 << 20
SETTINGS = EvictionSettings(
    hard=("memory.available<100Mi", "nodefs.available<10%", "pid.available<100"),
    soft=("memory.available<200Mi",),
    soft_grace_period=("memory.available=60s",),
    minimum_reclaim=("nodefs.available=5%",),
)


def pressure(settings: EvictionSettings = SETTINGS) -> Pressure:
    return Pressure(thresholds_of(settings), settings.pressure_transition_period)


def left(*, memory: int = 1000, disk: int = 500, pids: int = 1000) -> dict[Signal, Observation]:
    return {
        Signal.MEMORY: Observation(memory * MI, 1024 * MI),
        Signal.NODE_FS: Observation(disk, 1000),
        Signal.PIDS: Observation(pids, 32_768),
    }


def test_a_hard_threshold_calls_at_once() -> None:
    found = pressure()
    assert found.look(left(memory=100), 0) == []
    acting = found.look(left(memory=99), 1)
    assert [(each.signal, each.is_hard) for each in acting] == [(Signal.MEMORY, True)]
    assert found.conditions == {"MemoryPressure"}


def test_a_soft_threshold_calls_after_its_grace_but_counts_as_pressure_before() -> None:
    found = pressure()
    assert found.look(left(memory=150), 0) == []
    assert found.conditions == {"MemoryPressure"}
    assert found.look(left(memory=150), 59) == []
    assert [each.is_hard for each in found.look(left(memory=150), 60)] == [False]


def test_grace_begins_anew_when_there_was_enough_meanwhile() -> None:
    found = pressure()
    found.look(left(memory=150), 0)
    found.look(left(memory=300), 30)
    found.look(left(memory=150), 40)
    assert found.look(left(memory=150), 70) == []
    assert len(found.look(left(memory=150), 100)) == 1


def test_conditions_stay_for_the_transition_period() -> None:
    found = pressure()
    found.look(left(pids=5), 0)
    found.look(left(), 10)
    assert found.conditions == {"PIDPressure"}
    found.look(left(), 299)
    assert found.conditions == {"PIDPressure"}
    found.look(left(), 301)
    assert found.conditions == frozenset()


def test_what_was_crossed_holds_until_the_minimum_is_won_back() -> None:
    found = pressure()
    (threshold,) = found.look(left(disk=99), 0)
    assert found.look(left(disk=120), 10) == [threshold]
    assert not found.settle(threshold, left(disk=149))
    assert found.settle(threshold, left(disk=150))
    assert found.look(left(disk=150), 20) == []
    assert found.look(left(disk=120), 30) == []


def test_memory_comes_first_and_process_ids_last() -> None:
    acting = pressure().look(left(memory=1, disk=1, pids=1), 0)
    assert [each.signal for each in acting] == [Signal.MEMORY, Signal.NODE_FS, Signal.PIDS]


def test_what_cannot_be_told_is_not_short() -> None:
    stats = NodeStats(time=0, node_fs=FileSystem(100, 50), memory_capacity=10, memory_available=0)
    observed = observe(stats)
    assert set(observed) == {Signal.MEMORY, Signal.NODE_FS}
    assert observed[Signal.NODE_FS] == Observation(50, 100)
