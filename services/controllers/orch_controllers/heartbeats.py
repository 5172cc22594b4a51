"""When each node was last heard of, by this process's own clock: nodes' clocks are not trusted.

Silence says something about a node only while this process would have heard it. So the stream of heartbeats is asked
every second for its newest message: when it cannot be reached, or when this process has not been delivered a message
that was there a second ago, nobody is judged, and all nodes get their whole grace period anew once that is over. The
same holds when this process itself stood still.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Final

from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import HEARTBEATS, HEARTBEATS_OF_ALL, parse_heartbeat
from orch.clock import Clock
from orch.errors import BusError, UnavailableError
from orch_pb.v1 import node_pb2

log = logging.getLogger(__name__)

_BLIND: Final = Counter("orch_heartbeats_blind", "Times that heartbeats could not have been heard.")

_UNREADABLE: Final = Counter("orch_heartbeats_unreadable", "Heartbeats that could not be read.")

_PULSE: Final = 1.0
"""Seconds between two looks at the stream, at most."""
_LEASE_MARGIN: Final = 5.0
"""Seconds that a node has to stop pods once its lease is over, before that is relied upon."""
_STALE: Final = 2.5
"""Looks that are missing when nothing is known any more; with five in a grace period nobody is lost by then."""


class Heartbeats:
    """Follows the heartbeats of all nodes, who are given `grace` seconds."""

    def __init__(self, bus: Bus, clock: Clock, grace: float) -> None:
        self._bus = bus
        self._clock = clock
        self._pulse = min(_PULSE, grace / 5)
        self._stale = self._pulse * _STALE
        self._heard: OrderedDict[str, float] = OrderedDict()
        """When each node was heard last, the longest silent first."""
        self._unheard: dict[str, float] = {}
        """Since when nodes are expected that were never heard, the longest first."""
        self._hung_up: set[str] = set()
        self._promised: dict[str, float] = {}
        self._listening_since = clock.monotonic()
        self._looked: float | None = None
        self._delivered = 0
        self._awaited = 0
        self._live = False

    async def run(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="heartbeats")
            tasks.create_task(self._watch_stream(), name="heartbeats' stream")

    @property
    def reliable(self) -> bool:
        """Whether a node that sends heartbeats is heard now."""
        return self._looked is not None and self._clock.monotonic() - self._looked <= self._stale

    def silence(self, node: str) -> float:
        """Return for how many seconds the node has been silent for certain, 0 when that is not known."""
        if not self.reliable:
            return 0.0
        return self._clock.monotonic() - max(self._last_sign(node), self._listening_since)

    def _last_sign(self, node: str) -> float:
        heard = self._heard.get(node)
        return self._unheard.get(node, 0.0) if heard is None else heard

    def expect(self, node: str) -> None:
        """Note that there is a node, so that it has its grace period to be heard for the first time."""
        if node not in self._heard:
            self._unheard.setdefault(node, self._clock.monotonic())

    def forget(self, node: str) -> None:
        """Drop a node that is no more."""
        self._heard.pop(node, None)
        self._unheard.pop(node, None)
        self._promised.pop(node, None)
        self._hung_up.discard(node)

    def silent_for(self, seconds: float) -> list[str]:
        """Return the nodes that have been silent for longer, at the cost of those alone, not of all that there are."""
        limit = self._clock.monotonic() - seconds
        if not self.reliable or self._listening_since >= limit:
            return []
        return [*_before(limit, self._unheard), *_before(limit, self._heard)]

    def hang_up(self, node: str) -> None:
        """Note that a node's connection has ended: it is suspected until it is heard again."""
        if node in self._heard and self.reliable:
            self._hung_up.add(node)

    @property
    def hung_up(self) -> frozenset[str]:
        """The nodes whose connection has ended and that were not heard since."""
        return frozenset(self._hung_up)

    def heard(self, node: str) -> bool:
        """Return whether the node was heard since this process has listened without interruption."""
        last = self._heard.get(node)
        return last is not None and self.reliable and last >= self._listening_since

    def lease_is_over(self, node: str) -> bool:
        """Return whether the node has stopped, as it promised, the pods that live by its lease.

        It stops them when none of its heartbeats was acknowledged for as long as it said itself. Acknowledged is only
        what the stream has, and whatever the stream has would have been heard: so the silence here is longer than its
        own. A node that promised nothing never has.
        """
        promised = self._promised.get(node, 0.0)
        return promised > 0 and self.silence(node) > promised + _LEASE_MARGIN

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except UnavailableError as error:
                log.warning("heartbeats cannot be followed: %s", error)
            self._go_blind()
            await self._clock.sleep(self._pulse)

    async def _follow(self) -> None:
        """Take heartbeats as they come. What the stream held before tells nothing about the present."""
        async with aclosing(self._bus.follow(HEARTBEATS.name, [HEARTBEATS_OF_ALL])) as items:
            async for item in items:
                if isinstance(item, Message):
                    self._delivered = item.sequence
                    self._take(item)
                elif item is Signal.RESET:
                    self._delivered = self._awaited = 0
                    self._live = False
                    self._go_blind()
                else:
                    self._live = True

    def _take(self, message: Message) -> None:
        node = parse_heartbeat(message.subject)
        if self._live:
            self._heard[node] = self._clock.monotonic()
            self._heard.move_to_end(node)
            self._unheard.pop(node, None)
            self._hung_up.discard(node)
        try:
            self._promised[node] = node_pb2.Heartbeat.FromString(message.data).lease_seconds
        except DecodeError as error:
            _UNREADABLE.inc()
            self._promised.pop(node, None)
            log.warning("a heartbeat of node %s cannot be read: %s", node, error)

    async def _watch_stream(self) -> None:
        """Look every second whether heartbeats reach this process."""
        while True:
            try:
                async with asyncio.timeout(_STALE):
                    newest = await self._bus.last_message(HEARTBEATS.name)
            except (UnavailableError, BusError, TimeoutError) as error:
                log.debug("the stream of heartbeats cannot be read: %s", error)
                self._go_blind()
            else:
                self._look(newest.sequence if newest is not None else 0)
            await self._clock.sleep(self._pulse)

    def _look(self, newest: int) -> None:
        now = self._clock.monotonic()
        overslept = self._looked is not None and now - self._looked > self._stale
        behind = self._delivered < self._awaited
        if overslept or behind or not self._live:
            self._go_blind()
        if self._live and not behind:
            self._looked = now
        self._awaited = newest

    def _go_blind(self) -> None:
        if self._looked is not None:
            _BLIND.inc()
            log.info("heartbeats may have been missed; every node is given its grace period anew")
        self._looked = None
        self._hung_up.clear()
        self._listening_since = self._clock.monotonic()


def _before(limit: float, moments: Mapping[str, float]) -> Iterator[str]:
    """Yield the nodes whose moment was before a limit, of moments in their order."""
    for node, moment in moments.items():
        if moment >= limit:
            return
        yield node
