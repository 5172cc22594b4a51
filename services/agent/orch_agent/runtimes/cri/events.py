"""Which pods' containers changed: by the runtime's events, or, where it has none, by asking again and again.

Events came to CRI late (containerd 1.7); a runtime without them is asked quickly while something is under way, and
once a second, as kubelet asks, while nothing is.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from orch.clock import Clock
from orch.errors import UnavailableError
from orch_agent.runtimes.cri.connection import (
    GET_CONTAINER_EVENTS,
    LIST_CONTAINERS,
    Connection,
    UnsupportedError,
)
from orch_agent.runtimes.protocol import LABEL_NODE, LABEL_UID, ChangeHandler, ContainerError
from orch_pb.cri import api_pb2

_LOG: Final = logging.getLogger(__name__)
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 5.0
_BUSY_INTERVAL: Final = 0.1
_QUIET_INTERVAL: Final = 1.0
_BUSY_SECONDS: Final = 10.0
_TELLING: Final = frozenset({api_pb2.CONTAINER_STOPPED_EVENT, api_pb2.CONTAINER_DELETED_EVENT})


class ContainerEvents:
    """The changes of one node's containers."""

    def __init__(self, connection: Connection, node: str, clock: Clock) -> None:
        self._connection = connection
        self._node = node
        self._clock = clock
        self._busy_until = 0.0
        self._streams = True

    def expect(self) -> None:
        """Look closely for a while: a container was told to do something."""
        self._busy_until = self._clock.monotonic() + _BUSY_SECONDS

    async def run(self, on_change: ChangeHandler) -> None:
        """Tell changes for ever; whenever that had to begin anew, any container may have changed."""
        delay = _FIRST_RETRY
        while True:
            begun = self._clock.monotonic()
            try:
                await (self._follow(on_change) if self._streams else self._poll(on_change))
            except UnsupportedError:
                _LOG.info("the runtime has no events: it is asked for its containers instead")
                self._streams = False
                continue
            except (UnavailableError, ContainerError) as error:
                _LOG.warning("following the runtime's containers failed, again in %.1f s: %s", delay, error)
            if self._clock.monotonic() - begun > _LONGEST_RETRY:
                delay = _FIRST_RETRY
            await self._clock.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY)

    async def _follow(self, on_change: ChangeHandler) -> None:
        on_change("")
        again = asyncio.create_task(self._look_again(on_change), name="containers looked at again")
        try:
            async with aclosing(self._connection.follow(GET_CONTAINER_EVENTS, api_pb2.GetEventsRequest())) as events:
                async for event in events:
                    if event.container_event_type in _TELLING:
                        on_change(event.pod_sandbox_status.metadata.uid)
        finally:
            again.cancel()
            await asyncio.gather(again, return_exceptions=True)

    async def _look_again(self, on_change: ChangeHandler) -> None:
        """Have all looked at once more: nothing tells when the stream of events stands, and what came before that."""
        await self._clock.sleep(_QUIET_INTERVAL)
        on_change("")

    async def _poll(self, on_change: ChangeHandler) -> None:
        known = await self._states()
        on_change("")
        while True:
            busy = self._clock.monotonic() < self._busy_until
            await self._clock.sleep(_BUSY_INTERVAL if busy else _QUIET_INTERVAL)
            found = await self._states()
            if found != known:
                self.expect()
                for uid in {uid for uid, *_ in found.symmetric_difference(known)}:
                    on_change(uid)
                known = found

    async def _states(self) -> frozenset[tuple[str, str, int]]:
        """Return (pod's uid, id, state) of the node's containers."""
        labels = {LABEL_NODE: self._node}
        request = api_pb2.ListContainersRequest(filter=api_pb2.ContainerFilter(label_selector=labels))
        answer = await self._connection.call(LIST_CONTAINERS, request)
        return frozenset((each.labels.get(LABEL_UID, ""), each.id, each.state) for each in answer.containers)
