"""When each node was last heard of, by this process's own clock: nodes' clocks are not trusted."""

from __future__ import annotations

from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import HEARTBEATS, HEARTBEATS_OF_ALL, parse_heartbeat
from orch.clock import Clock


class Heartbeats:
    """Follows the heartbeats of all nodes."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._since = clock.monotonic()

    async def run(self) -> None:
        """Listen until cancelled. While the bus is away no node is judged: silence then says nothing about them."""
        self._since = self._clock.monotonic()
        async for item in self._bus.follow(HEARTBEATS.name, [HEARTBEATS_OF_ALL]):
            if isinstance(item, Message):
                self._heard[parse_heartbeat(item.subject)] = self._clock.monotonic()
            elif item is Signal.RESET:
                self._heard.clear()
                self._since = self._clock.monotonic()

    def silence(self, node: str) -> float:
        """Return for how many seconds the node was not heard of, at most since listening began."""
        return self._clock.monotonic() - self._heard.get(node, self._since)

    def newest(self) -> float:
        """Return for how many seconds no node at all was heard of."""
        return self._clock.monotonic() - max(self._heard.values(), default=self._since)
