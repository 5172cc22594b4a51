"""What the pods of autoscaled workloads use, from the samples that nodes push every second.

The last two samples of every node are kept as they came; they are read only for nodes with pods that somebody tracks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.bus.protocol import Bus, Message
from orch.bus.subjects import METRICS, METRICS_OF_ALL, metrics_subject
from orch.clock import Clock
from orch.errors import BusError, UnavailableError
from orch_controllers.autoscaling.smoothing import NANO, Rate, Rates
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

log = logging.getLogger(__name__)

_UNUSABLE: Final = Counter("orch_usage_unusable_samples", "Samples of use that could not be read.")
_RESTARTS: Final = Counter("orch_usage_restarts", "Times that following the samples of use failed and was begun anew.")

_STALE: Final = 30.0
"""Seconds without a sample after which a pod's use is unknown; nodes speak every ten at least."""
_FORGOTTEN: Final = 600.0
_RETRY: Final = 1.0
_MESSAGES_PER_TURN: Final = 128
_SHARE: Final = 0.02
_LEAST_CPU: Final = 0.002 * NANO
_LEAST_MEMORY: Final = 1 << 20


class ContainerReading(msgspec.Struct, frozen=True, gc=False):
    """What a container uses: nanoseconds of processor time a second, and bytes."""

    cpu: float
    memory: int


class PodUse(msgspec.Struct, frozen=True):
    """What the containers of a pod use, and when and over what time that was measured, in nanoseconds."""

    containers: dict[str, ContainerReading]
    at: int
    window: int


class _Container:
    __slots__ = ("counted", "memory", "rates")

    def __init__(self, usage: ContainerUsage) -> None:
        self.counted = usage.cpu_nanos
        self.memory = usage.memory_bytes
        self.rates = Rates()


class _Pod:
    __slots__ = ("at", "containers", "heard", "node", "told")

    def __init__(self, node: str) -> None:
        self.node = node
        self.at = 0
        self.heard = 0.0
        self.containers: dict[str, _Container] = {}
        self.told: dict[str, ContainerReading] = {}


class UsageTable:
    """The use of tracked pods. `on_move` is called with the uid of a pod whose reading is not the one told before."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._samples: dict[str, tuple[float, bytes, bytes]] = {}
        self._pods: dict[str, _Pod] = {}
        self._by_node: dict[str, set[str]] = {}
        self.on_move: Callable[[str], None] = _ignore

    async def run(self) -> None:
        """Follow the samples for ever."""
        while True:
            try:
                await self._follow()
            except (UnavailableError, BusError) as error:
                log.warning("samples of use cannot be followed: %s", error)
            _RESTARTS.inc()
            await self._clock.sleep(_RETRY)

    async def _follow(self) -> None:
        taken = 0
        async with aclosing(self._bus.follow(METRICS.name, [METRICS_OF_ALL])) as messages:
            async for message in messages:
                if isinstance(message, Message):
                    self.take(message.subject, message.data)
                    taken += 1
                    if taken % _MESSAGES_PER_TURN == 0:
                        await asyncio.sleep(0)

    def take(self, subject: str, data: bytes) -> None:
        """Take a sample as it came."""
        now = self._clock.monotonic()
        _, _, before = self._samples.pop(subject, (0.0, b"", b""))
        self._samples[subject] = (now, before, data)
        self._forget_silent(now)
        uids = self._by_node.get(subject)
        if uids:
            self._read(data, uids, now)

    def newest(self, node: str) -> bytes:
        """Return a node's newest sample as it came, b"" when there is none."""
        _, _, last = self._samples.get(metrics_subject(node), (0.0, b"", b""))
        return last

    def track(self, uid: str, node: str) -> None:
        """Measure a pod from now on, beginning with what its node said last."""
        subject = metrics_subject(node)
        known = self._pods.get(uid)
        if known is not None and known.node == subject:
            return
        self.untrack(uid)
        self._pods[uid] = _Pod(subject)
        self._by_node.setdefault(subject, set()).add(uid)
        heard, before, last = self._samples.get(subject, (0.0, b"", b""))
        for data in (before, last):
            if data:
                self._read(data, {uid}, heard)

    def untrack(self, uid: str) -> None:
        """Measure a pod no longer."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        others = self._by_node[pod.node]
        others.discard(uid)
        if not others:
            del self._by_node[pod.node]

    def use(self, uid: str, since: int = 0) -> PodUse | None:
        """Return what a pod uses, if possible since a moment in nanoseconds; None when that is not known."""
        pod = self._pods.get(uid)
        if pod is None or not pod.containers or self._clock.monotonic() - pod.heard > _STALE:
            return None
        containers: dict[str, ContainerReading] = {}
        window = 0
        for name, container in pod.containers.items():
            reading = container.rates.reading(since)
            if reading is None:
                return None
            containers[name] = ContainerReading(reading.amount, container.memory)
            window = max(window, reading.window)
        return PodUse(containers, pod.at, window)

    def _forget_silent(self, now: float) -> None:
        """Drop nodes that have said nothing for long; the one that was silent longest comes first."""
        while self._samples:
            subject, (heard, _, _) = next(iter(self._samples.items()))
            if now - heard < _FORGOTTEN:
                return
            del self._samples[subject]

    def _read(self, data: bytes, uids: set[str], now: float) -> None:
        try:
            sample = UsageSample.FromString(data)
        except DecodeError as error:
            _UNUSABLE.inc()
            log.warning("a sample of use is left out: %s", error)
            return
        for usage in sample.pods:
            if usage.uid in uids:
                self._measure(self._pods[usage.uid], usage, sample.unix_nanos, now)

    def _measure(self, pod: _Pod, usage: PodUsage, at: int, now: float) -> None:
        if at <= pod.at:
            return
        begun, pod.at, pod.heard = pod.at, at, now
        containers: dict[str, _Container] = {}
        for each in usage.containers:
            known = pod.containers.get(each.container)
            if known is None:
                containers[each.container] = _Container(each)
                continue
            containers[each.container] = known
            # A counter that went back is a new container's, which began at 0.
            used = each.cpu_nanos - known.counted if each.cpu_nanos >= known.counted else each.cpu_nanos
            known.rates.add(Rate(begun, at, used * NANO / (at - begun)))
            known.counted, known.memory = each.cpu_nanos, each.memory_bytes
        pod.containers = containers
        self._tell(usage.uid, pod)

    def _tell(self, uid: str, pod: _Pod) -> None:
        use = self.use(uid)
        if use is None:
            return
        told = pod.told
        if told.keys() != use.containers.keys() or any(
            _differs(told[name], reading) for name, reading in use.containers.items()
        ):
            pod.told = use.containers
            self.on_move(uid)


def _differs(one: ContainerReading, other: ContainerReading) -> bool:
    return (
        abs(one.cpu - other.cpu) > max(_SHARE * one.cpu, _LEAST_CPU)
        or abs(one.memory - other.memory) > max(_SHARE * one.memory, _LEAST_MEMORY)
    )  # fmt: skip


def _ignore(_uid: str) -> None:
    """Stand in until somebody wants to know."""
