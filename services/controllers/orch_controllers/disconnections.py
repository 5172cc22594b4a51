"""Hears at once of nodes whose connection to the bus has ended, from the server itself.

A connection that is lost is a suspicion; that the node is lost, only its silence confirms. The server tells it in its
system account, of which `witness` is a user. Without one, or while he cannot connect, silence alone makes suspicions.

A connection's name is what its client says. Whoever is on the bus at all could name another node, and make it
suspected until its next heartbeat; where a node's key is known (of those that joined) it has to be that key's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.bus.node_users import ANNOTATION
from orch.bus.permissions import NODE_PREFIX
from orch.bus.protocol import Bus, Message
from orch.bus.subjects import DISCONNECTS
from orch.clock import Clock
from orch.errors import OrchError
from orch.objects.scheme import NODES
from orch.runtime.informer import Informers
from orch_controllers.heartbeats import Heartbeats

log = logging.getLogger(__name__)

_UNUSABLE: Final = Counter("orch_disconnections_unusable", "Ends of connections that were told and were not believed.")
_FAILURES: Final = Counter("orch_disconnections_failures", "Times that ends of connections could not be followed.")

_FIRST_BACKOFF: Final = 1.0
_LAST_BACKOFF: Final = 60.0


class _Client(msgspec.Struct, frozen=True):
    """Whose connection it was: the name that it gave itself, and the key that it showed."""

    name: str = ""
    user: str = ""


class _Disconnect(msgspec.Struct, frozen=True):
    """io.nats.server.advisory.v1.client_disconnect, as far as it is read."""

    client: _Client = _Client()


_decode = msgspec.json.Decoder(_Disconnect).decode


class Disconnections:
    """Tells `heartbeats` of nodes that have hung up. `connect` makes the witness's connection, if there is one."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Bus]] | None,
        informers: Informers,
        heartbeats: Heartbeats,
        clock: Clock,
    ) -> None:
        self._connect = connect
        self._nodes = informers.of(NODES)
        self._heartbeats = heartbeats
        self._clock = clock

    async def run(self) -> None:
        """Listen until cancelled; return at once when there is no witness."""
        if self._connect is None:
            return
        backoff = _FIRST_BACKOFF
        while True:
            begun = self._clock.monotonic()
            try:
                await self._listen(await self._connect())
            except OrchError as error:
                _FAILURES.inc()
                log.warning("lost connections are not heard of, next try in %.0f s: %s", backoff, error)
            await self._clock.sleep(backoff)
            held = self._clock.monotonic() - begun > 2 * _LAST_BACKOFF
            backoff = _FIRST_BACKOFF if held else min(backoff * 2, _LAST_BACKOFF)

    async def _listen(self, bus: Bus) -> None:
        try:
            async with bus.subscribe(DISCONNECTS) as messages, aclosing(messages):
                async for message in messages:
                    self._take(message)
        finally:
            await bus.close()

    def _take(self, message: Message) -> None:
        try:
            client = _decode(message.data).client
        except msgspec.DecodeError as error:
            _UNUSABLE.inc()
            log.warning("the end of a connection cannot be read: %s", error)
            return
        if not client.name.startswith(NODE_PREFIX):
            return
        node = client.name.removeprefix(NODE_PREFIX)
        item = self._nodes.get("", node)
        if item is None:
            return
        key = item.object.metadata.annotations.get(ANNOTATION, "")
        if key and key != client.user:
            _UNUSABLE.inc()
            log.warning("somebody else than node %s ended a connection in its name", node)
            return
        log.info("node %s has lost its connection", node)
        self._heartbeats.hang_up(node)
