from __future__ import annotations

from typing import Any

import pytest

from orch.errors import ConfigError
from orch_agent.config import AgentConfig
from orch_agent.eviction.thresholds import EvictionSettings, Signal, reserved_by, thresholds_of

GI = 1 << 30


def test_defaults_are_kubelets() -> None:
    found = {each.signal.value: each.amount.text for each in thresholds_of(EvictionSettings())}
    assert found == {
        "memory.available": "100Mi",
        "allocatableMemory.available": "100Mi",
        "nodefs.available": "10%",
        "nodefs.inodesFree": "5%",
        "imagefs.available": "15%",
        "imagefs.inodesFree": "5%",
    }
    assert all(each.is_hard for each in thresholds_of(EvictionSettings()))


def test_amounts_and_shares_of_the_capacity() -> None:
    hard = ("memory.available<1.5Gi", "nodefs.available<10%", "pid.available<100")
    memory, disk, pids = (
        each for each in thresholds_of(EvictionSettings(hard=hard)) if "alloc" not in each.signal.value
    )
    assert (memory.amount.of(8 * GI), memory.amount.shown(8 * GI)) == (3 * GI // 2, "1536Mi")
    assert (disk.amount.of(10 * GI), disk.amount.shown(10 * GI)) == (GI, "1Gi")
    assert pids.amount.of(1 << 15) == 100


def test_none_and_all_of_the_capacity_switch_a_threshold_off() -> None:
    assert thresholds_of(EvictionSettings(hard=("nodefs.available<0%", "imagefs.available<100%"))) == ()


def test_soft_thresholds_have_their_grace_and_minimum() -> None:
    settings = EvictionSettings(
        hard=(),
        soft=("memory.available<20%",),
        soft_grace_period=("memory.available=1m30s",),
        minimum_reclaim=("memory.available=500Mi",),
    )
    (soft,) = thresholds_of(settings)
    assert (soft.signal, soft.grace, soft.is_hard) == (Signal.MEMORY, 90, False)
    assert soft.reclaim is not None
    assert soft.reclaim.of(8 * GI) == 500 << 20


@pytest.mark.parametrize(
    ("settings", "path", "problem"),
    [
        ({"hard": ("memory.available",)}, "eviction.hard", "invalid eviction threshold syntax"),
        ({"hard": ("memory.available<",)}, "eviction.hard", "invalid eviction threshold syntax"),
        ({"hard": ("mem<1Gi",)}, "eviction.hard", "unsupported eviction signal mem"),
        ({"hard": ("memory.available<lots",)}, "eviction.hard[memory.available]", "neither a quantity"),
        ({"hard": ("memory.available<-1",)}, "eviction.hard[memory.available]", "must be positive"),
        ({"hard": ("memory.available<101%",)}, "eviction.hard[memory.available]", "between 0% and 100%"),
        ({"hard": ("memory.available<nan%",)}, "eviction.hard[memory.available]", "between 0% and 100%"),
        ({"hard": ("pid.available<1", "pid.available<2")}, "eviction.hard", "given twice"),
        ({"soft": ("memory.available<1Gi",)}, "eviction.soft", "grace period must be specified"),
        ({"soft_grace_period": ("memory.available=soon",)}, "eviction.soft_grace_period", "invalid duration"),
        ({"soft_grace_period": ("memory.available=0s",)}, "eviction.soft_grace_period", "must be a positive value"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_path(settings: Any, path: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        thresholds_of(EvictionSettings(**settings))
    assert path in str(refused.value)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"capacity": {"cpu": "many"}}, "capacity[cpu]"),
        ({"system_reserved": {"memory": "-1Gi"}}, "system_reserved[memory]"),
        ({"eviction": EvictionSettings(hard=("x<1",))}, "eviction.hard"),
    ],
)
def test_the_agents_settings_are_checked(settings: Any, path: str) -> None:
    with pytest.raises(ConfigError, match=path.replace("[", r"\[").replace("]", r"\]")):
        AgentConfig(runtime="simulated", **settings).check()


def test_what_hard_thresholds_keep_from_pods() -> None:
    kept = reserved_by(thresholds_of(EvictionSettings()), {"memory": 8 * GI, "ephemeral-storage": 100 * GI})
    assert kept == {"memory": 100 << 20, "ephemeral-storage": 10 * GI}
