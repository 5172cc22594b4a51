"""Gives a node its volumes, and learns which of the objects that they show have changed.

The relay says so on the node's own subject, within milliseconds. That is sent once: what gets lost while the node or
the relay is not connected is found by asking, each minute, which versions all the objects have.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.bus import rpc, subjects
from orch.bus.protocol import Bus
from orch.clock import Clock
from orch.errors import ApiError, BusError, UnavailableError
from orch_agent.volumes.image import ImageFinder, ImageStore
from orch_agent.volumes.kinds import ApiClient, all_kinds
from orch_agent.volumes.mounts import Mounts
from orch_agent.volumes.node import NodeVolumes
from orch_agent.volumes.objects import ReferredObjects
from orch_agent.volumes.protocol import NodeFacts, Outlet, Reference
from orch_pb.v1 import rpc_pb2
from orch_pb.v1.node_pb2 import ObjectsChanged

_LOG: Final = logging.getLogger(__name__)
_MISSED: Final = Counter("orch_agent_missed_changes_total", "Changes of objects that were found by asking, not told.")

_PERIOD: Final = 60.0
_SPREAD: Final = 0.25
"""The share of the period by which nodes ask earlier or later, so that not all do at once."""
_AT_ONCE: Final = 500
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 10.0


class NodeParts(Protocol):
    """The parts of a node that its volumes are made with: the pods' host has them."""

    @property
    def node(self) -> str:
        """The node's name."""
        ...

    @property
    def allocatable(self) -> Mapping[str, str]:
        """What pods may request together."""
        ...

    @property
    def runtime(self) -> ImageFinder:
        """What runs the containers."""
        ...

    @property
    def images(self) -> ImageStore:
        """The images that are here."""
        ...

    @property
    def outlet(self) -> Outlet:
        """Where events go."""
        ...

    @property
    def clock(self) -> Clock:
        """The node's time."""
        ...


def volumes_of(parts: NodeParts, folder: Path, client: ApiClient, mounts: Mounts) -> NodeVolumes:
    """Return the volumes of a node, kept under `folder`."""
    objects = ReferredObjects(client)
    facts = NodeFacts(allocatable=parts.allocatable, node=parts.node)
    plugins = all_kinds(client, objects, parts.images, parts.runtime, mounts, parts.outlet, facts, parts.clock)
    return NodeVolumes(folder, plugins, objects, mounts, parts.outlet, parts.clock)


class VolumeUpkeep:
    """Keeps one node's volumes current."""

    def __init__(self, bus: Bus, node: str, volumes: NodeVolumes, clock: Clock) -> None:
        self._bus = bus
        self._node = node
        self._volumes = volumes
        self._clock = clock

    async def run(self) -> None:
        """Listen, compare and renew for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._volumes.run(), name="volumes")
            tasks.create_task(self._listen(), name="changes of objects")
            tasks.create_task(self._compare_for_ever(), name="versions of objects")

    async def compare(self) -> None:
        """Ask which versions the objects have that volumes show. Raises ApiError, BusError, UnavailableError."""
        known = sorted(self._volumes.followed().items())
        for first in range(0, len(known), _AT_ONCE):
            await self._compare(known[first : first + _AT_ONCE])

    async def _listen(self) -> None:
        delay = _FIRST_RETRY
        while True:
            try:
                async with self._bus.subscribe(subjects.node_changes(self._node)) as messages:
                    async for message in messages:
                        delay = _FIRST_RETRY
                        self._take(message.data)
            except (BusError, UnavailableError) as error:
                _LOG.warning("changes of objects are not heard of, again in %.1f s: %s", delay, error)
            await self._clock.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY)
            await self._try_to_compare()

    def _take(self, data: bytes) -> None:
        try:
            changed = ObjectsChanged.FromString(data)
        except DecodeError:
            _LOG.error("a message on %s names no objects", subjects.node_changes(self._node))
            return
        for each in changed.objects:
            self._volumes.changed(Reference(each.resource, each.namespace, each.name), each.revision)

    async def _compare_for_ever(self) -> None:
        while True:
            await self._clock.sleep(_PERIOD * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 - no secret
            await self._try_to_compare()

    async def _try_to_compare(self) -> None:
        try:
            await self.compare()
        except (ApiError, BusError, UnavailableError) as error:
            _LOG.warning("which versions the pods' objects have is not known now: %s", error)

    async def _compare(self, known: Sequence[tuple[Reference, int]]) -> None:
        refs = [
            rpc_pb2.ObjectRef(version="v1", resource=each.resource, namespace=each.namespace, name=each.name)
            for each, _ in known
        ]
        request = rpc_pb2.VersionsRequest(refs=refs)
        reply = await rpc.call(self._bus, "versions", request, rpc_pb2.VersionsReply)
        if reply.status:
            raise ApiError.decode(reply.status)
        if len(reply.revisions) != len(known):
            raise BusError(f"the api answered {len(reply.revisions)} versions for {len(known)} objects")
        for (reference, held), version in zip(known, reply.revisions, strict=True):
            if version > held or (held and not version):
                _MISSED.inc()
                self._volumes.changed(reference, version)
