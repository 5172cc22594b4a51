"""At which amounts of what is left a node ends pods, in kubelet's words.

    memory.available<100Mi    nodefs.available<10%    nodefs.inodesFree<5%    imagefs.available<15%    pid.available<5%

A hard threshold acts at once, a soft one after it has been crossed for its grace period. Source:
k8s.io/kubernetes/pkg/kubelet/eviction (helpers.go) and pkg/kubelet/apis/config/v1beta1 (defaults).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from orch import quantity
from orch.config import Duration, parse_duration
from orch.errors import ConfigError


class Signal(enum.Enum):
    """What can run out."""

    MEMORY = "memory.available"
    ALLOCATABLE_MEMORY = "allocatableMemory.available"
    NODE_FS = "nodefs.available"
    NODE_FS_INODES = "nodefs.inodesFree"
    IMAGE_FS = "imagefs.available"
    IMAGE_FS_INODES = "imagefs.inodesFree"
    PIDS = "pid.available"


CONDITIONS: Final[Mapping[Signal, str]] = {
    Signal.MEMORY: "MemoryPressure",
    Signal.ALLOCATABLE_MEMORY: "MemoryPressure",
    Signal.NODE_FS: "DiskPressure",
    Signal.NODE_FS_INODES: "DiskPressure",
    Signal.IMAGE_FS: "DiskPressure",
    Signal.IMAGE_FS_INODES: "DiskPressure",
    Signal.PIDS: "PIDPressure",
}

RESOURCES: Final[Mapping[Signal, str]] = {
    Signal.MEMORY: "memory",
    Signal.ALLOCATABLE_MEMORY: "memory",
    Signal.NODE_FS: "ephemeral-storage",
    Signal.NODE_FS_INODES: "inodes",
    Signal.IMAGE_FS: "ephemeral-storage",
    Signal.IMAGE_FS_INODES: "inodes",
    Signal.PIDS: "pids",
}
"""The starved resource that messages name."""

DEFAULT_HARD: Final = (
    "memory.available<100Mi",
    "nodefs.available<10%",
    "nodefs.inodesFree<5%",
    "imagefs.available<15%",
    "imagefs.inodesFree<5%",
)


class EvictionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When pods are ended for the node's sake.

    `soft_grace_period` and `minimum_reclaim` are written `memory.available=1m30s` and `memory.available=500Mi`.
    `pressure_transition_period`: how long a condition stays after its cause has gone. `max_pod_grace_period`: what pods
    are given at most when a soft threshold ends them. `interval`: how often it is looked at.
    """

    hard: tuple[str, ...] = DEFAULT_HARD
    soft: tuple[str, ...] = ()
    soft_grace_period: tuple[str, ...] = ()
    minimum_reclaim: tuple[str, ...] = ()
    pressure_transition_period: Duration = 300.0
    max_pod_grace_period: int = 0
    interval: Duration = 10.0


class Amount(msgspec.Struct, frozen=True):
    """An amount as it was written: a quantity, or (`share`) a part of the capacity."""

    text: str
    units: int = 0
    share: float | None = None

    def of(self, capacity: int) -> int:
        """Return the amount in units."""
        return self.units if self.share is None else int(capacity * self.share)

    def shown(self, capacity: int) -> str:
        """Return the amount as messages show it."""
        return quantity.canonical(self.text) if self.share is None else binary(self.of(capacity))


class Threshold(msgspec.Struct, frozen=True):
    """A threshold is crossed when less than `amount` is left; `grace` 0 makes it a hard one.

    Once crossed, it holds until `reclaim` more than the amount is left.
    """

    signal: Signal
    amount: Amount
    grace: float = 0.0
    reclaim: Amount | None = None

    @property
    def is_hard(self) -> bool:
        """Whether pods are ended at once, and without their own grace."""
        return self.grace <= 0


def thresholds_of(settings: EvictionSettings, path: str = "eviction") -> tuple[Threshold, ...]:
    """Return the thresholds of all settings. Raises ConfigError with the setting's path below `path`."""
    reclaims = {
        signal: _amount(text, where)
        for signal, text, where in _statements(settings.minimum_reclaim, "=", f"{path}.minimum_reclaim")
    }
    graces: dict[Signal, float] = {}
    for signal, text, where in _statements(settings.soft_grace_period, "=", f"{path}.soft_grace_period"):
        graces[signal] = _grace(text, where)
    found = [
        Threshold(signal, amount, 0.0, reclaims.get(signal))
        for signal, amount in _amounts(settings.hard, f"{path}.hard")
    ]
    # What pods may take together ends where the machine's own memory would: the same amount counts for both.
    found += [
        Threshold(Signal.ALLOCATABLE_MEMORY, each.amount, 0.0, each.reclaim)
        for each in found
        if each.signal is Signal.MEMORY and each.amount.share is None
    ]
    for signal, amount in _amounts(settings.soft, f"{path}.soft"):
        if signal not in graces:
            problem = f"grace period must be specified for the soft eviction threshold {signal.value}"
            raise ConfigError(f"{path}.soft", problem)
        found.append(Threshold(signal, amount, graces[signal], reclaims.get(signal)))
    return tuple(found)


def reserved_by(thresholds: Iterable[Threshold], capacity: Mapping[str, int]) -> dict[str, int]:
    """Return what hard thresholds keep from pods, in units, by resource; `capacity` is the node's."""
    kept: dict[str, int] = {}
    for signal, resource in ((Signal.MEMORY, "memory"), (Signal.NODE_FS, "ephemeral-storage")):
        for each in thresholds:
            if each.signal is signal and each.is_hard:
                kept[resource] = each.amount.of(capacity.get(resource, 0))
    return kept


def binary(units: int) -> str:
    """Return an amount as Kubernetes writes bytes: 1536Mi."""
    return str(quantity.Quantity(units * 10**9, "BinarySI"))


def _amounts(statements: Iterable[str], path: str) -> Iterable[tuple[Signal, Amount]]:
    for signal, text, where in _statements(statements, "<", path):
        amount = _amount(text, where)
        if amount.share not in {0.0, 1.0}:  # such a threshold is off, as kubelet reads it
            yield signal, amount


def _statements(statements: Iterable[str], operator: str, path: str) -> Iterable[tuple[Signal, str, str]]:
    seen: set[Signal] = set()
    for statement in statements:
        name, found, text = (part.strip() for part in statement.partition(operator))
        if not found or not text:
            raise ConfigError(
                path, f"invalid eviction threshold syntax {statement}, expected <signal>{operator}<value>"
            )
        try:
            signal = Signal(name)
        except ValueError as error:
            raise ConfigError(path, f"unsupported eviction signal {name}") from error
        if signal in seen:
            raise ConfigError(path, f"signal {name} is given twice")
        seen.add(signal)
        yield signal, text, f"{path}[{name}]"


def _amount(text: str, path: str) -> Amount:
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if not 0 <= share <= 1:
                raise ConfigError(path, f"eviction percentage threshold {text} must be between 0% and 100%")
            return Amount(text, share=share)
        units = quantity.value(text)
    except ValueError as error:
        raise ConfigError(path, f"{text} is neither a quantity nor a percentage") from error
    if units < 0:
        raise ConfigError(path, f"eviction threshold {text} must be positive")
    return Amount(text, units)


def _grace(text: str, path: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigError(path, str(error)) from error
    if seconds <= 0:
        raise ConfigError(path, f"invalid eviction grace period specified: {text}, must be a positive value")
    return seconds
