"""What simulated containers use, scripted by annotations of their pods, so that autoscaling can be tried without load.

    simulated.orch.dev/cpu: 250m                       processors, for each container
    simulated.orch.dev/memory: 64Mi                    working set
    simulated.orch.dev/cpu: 0s=100m,30s=1500m,90s=50m  by seconds since the container started
    simulated.orch.dev/cpu.sidecar: 10m                of the container `sidecar` alone
    simulated.orch.dev/disk: 0s=1Mi,60s=2Gi            what it has written into its root
    simulated.orch.dev/logs: 10Mi                      what its logs take
    simulated.orch.dev/processes: 12                   how many processes it has

The annotations may be changed while the pod runs: the new script then begins at that moment.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from orch import quantity
from orch.objects.pods import Pod
from orch.runtime.informer import Change

_LOG: Final = logging.getLogger(__name__)
PREFIX: Final = "simulated.orch.dev/"
_CPU: Final = "cpu"
_MEMORY: Final = "memory"
_DISK: Final = "disk"
_LOGS: Final = "logs"
_PROCESSES: Final = "processes"
_STEP: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?=(.+)")
_USUAL_CPU: Final = 10
_USUAL_MEMORY: Final = 16 << 20
_MOST_STEPS: Final = 256
_MILLI: Final = 1_000_000


class Curve(msgspec.Struct, frozen=True):
    """An amount that changes in steps: (seconds since the beginning, amount), the first at 0."""

    steps: tuple[tuple[float, int], ...]

    def at(self, seconds: float) -> int:
        """Return the amount at a moment."""
        return next(amount for begun, amount in reversed(self.steps) if begun <= seconds or begun == 0)

    def total(self, seconds: float) -> float:
        """Return the amount times the seconds it lasted, from the beginning to a moment."""
        ends = [*(begun for begun, _ in self.steps[1:]), float("inf")]
        lasted = (
            max(min(end, seconds) - begun, 0) * amount for (begun, amount), end in zip(self.steps, ends, strict=True)
        )
        return sum(lasted)


def parse_curve(text: str, *, milli: bool) -> Curve:
    """Return the curve that an annotation writes, its amounts in thousandths or whole. Raises ValueError."""
    read = quantity.milli if milli else quantity.value
    if "=" not in text:
        return Curve(((0.0, _amount(read(text.strip()), text)),))
    steps: list[tuple[float, int]] = []
    for part in text.split(","):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no step such as 30s=500m")
        steps.append((float(match[1]), _amount(read(match[2]), part)))
    if len(steps) > _MOST_STEPS:
        raise ValueError(f"{len(steps)} steps are more than {_MOST_STEPS}")
    if steps[0][0] != 0 or any(one[0] >= other[0] for one, other in itertools.pairwise(steps)):
        raise ValueError("the steps must begin at 0s and follow one another")
    return Curve(tuple(steps))


def _amount(number: int, text: str) -> int:
    if number < 0:
        raise ValueError(f"{text.strip()!r} is negative")
    return number


_USUAL: Final = {
    _CPU: Curve(((0.0, _USUAL_CPU),)),
    _MEMORY: Curve(((0.0, _USUAL_MEMORY),)),
    _DISK: Curve(((0.0, 0),)),
    _LOGS: Curve(((0.0, 0),)),
    _PROCESSES: Curve(((0.0, 1),)),
}


class Script(msgspec.Struct, frozen=True):
    """What the annotations of a pod say about use."""

    curves: Mapping[str, Curve]

    def curve(self, what: str, container: str) -> Curve:
        """Return the curve of a container's processors, memory, disk, logs or processes."""
        return self.curves.get(f"{what}.{container}") or self.curves.get(what) or _USUAL[what]


_UNSCRIPTED: Final = Script({})


class Meter:
    """What one container has used so far."""

    def __init__(self, container: str, started: datetime, script: Script) -> None:
        self._container = container
        self._since = started
        self._spent = 0.0
        self._script = script

    def rewrite(self, script: Script, now: datetime) -> None:
        """Go on by another script from now on."""
        self._spent = self._used(now)
        self._since = now
        self._script = script

    def read(self, now: datetime) -> tuple[int, int]:
        """Return the processor time so far in nanoseconds, and the memory in use."""
        seconds = (now - self._since).total_seconds()
        return int(self._used(now) * _MILLI), self._script.curve(_MEMORY, self._container).at(seconds)

    def processes(self, now: datetime) -> int:
        """Return how many processes there are."""
        return self._script.curve(_PROCESSES, self._container).at((now - self._since).total_seconds())

    def disk(self, now: datetime) -> tuple[int, int]:
        """Return what was written, in bytes: into the container's root, and as its logs."""
        seconds = (now - self._since).total_seconds()
        layer, logs = (self._script.curve(kind, self._container).at(seconds) for kind in (_DISK, _LOGS))
        return layer, logs

    def _used(self, now: datetime) -> float:
        """Return thousandths of a processor times seconds."""
        seconds = max((now - self._since).total_seconds(), 0)
        return self._spent + self._script.curve(_CPU, self._container).total(seconds)


class UsageScripts:
    """The scripts of a node's pods, by their uids, and the meters of their containers."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._meters: dict[str, dict[str, Meter]] = {}
        self._moved = True

    def take(self, change: Change[Pod], now: datetime) -> None:
        """Take the annotations of a pod that came, changed or went."""
        if change.new is None:
            self._scripts.pop(change.item.uid, None)
            return
        uid, annotations = change.new.uid, change.new.object.metadata.annotations
        script = _read(change.new.object) if annotations else _UNSCRIPTED
        if script == self._scripts.get(uid, _UNSCRIPTED):
            return
        self._moved = True
        self._scripts[uid] = script
        for meter in self._meters.get(uid, {}).values():
            meter.rewrite(script, now)

    def start(self, uid: str, runtime_id: str, container: str, now: datetime) -> None:
        """Begin to measure a container."""
        self._moved = True
        meter = Meter(container, now, self._scripts.get(uid, _UNSCRIPTED))
        self._meters.setdefault(uid, {})[runtime_id] = meter

    def end(self, uid: str, runtime_id: str) -> None:
        """Measure a container no longer."""
        self._moved = True
        meters = self._meters.get(uid, {})
        meters.pop(runtime_id, None)
        if not meters:
            self._meters.pop(uid, None)

    def read(self, uid: str, runtime_id: str, now: datetime) -> tuple[int, int]:
        """Return the processor time of a container in nanoseconds, and its memory in bytes."""
        meter = self._meters.get(uid, {}).get(runtime_id)
        return meter.read(now) if meter is not None else (0, 0)

    def meter(self, uid: str, runtime_id: str) -> Meter | None:
        """Return what measures a running container."""
        return self._meters.get(uid, {}).get(runtime_id)

    @property
    def any(self) -> bool:
        """Whether anything is scripted."""
        return bool(self._scripts)

    def moves(self) -> bool:
        """Return whether use may have changed since this was asked last: nothing scripted uses always the same."""
        moved, self._moved = self._moved, False
        return moved or bool(self._scripts)


def _read(pod: Pod) -> Script:
    """Return the script of a pod. What cannot be read is left out, and said."""
    curves: dict[str, Curve] = {}
    for name, text in pod.metadata.annotations.items():
        if not name.startswith(PREFIX):
            continue
        what = name.removeprefix(PREFIX)
        kind = what.partition(".")[0]
        if kind not in _USUAL:
            continue
        try:
            curves[what] = parse_curve(text, milli=kind == _CPU)
        except ValueError as error:
            meta = pod.metadata
            _LOG.warning("annotation %s of pod %s/%s is left out: %s", name, meta.namespace, meta.name, error)
    return Script(curves) if curves else _UNSCRIPTED
