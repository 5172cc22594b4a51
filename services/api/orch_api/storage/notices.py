"""Tells nodes that an object which their pods' volumes show has changed: on each node's own subject, its name alone.

Nodes must not read others' Secrets, so they follow none of them: they are told that something of theirs changed, and
ask for it under their own rights. Who is to be told is known from the pods: an index that the same changes feed, in
their order, so that a node knows of every change after a pod of it was bound. What is lost on the way (a node was not
connected, the relay moved) a node finds out by comparing versions now and then.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Iterable, Sequence

import msgspec
from prometheus_client import Counter

from orch.bus import subjects
from orch.bus.protocol import Bus
from orch.objects.scheme import CONFIG_MAPS, PODS, SECRETS
from orch.objects.volumes import Volume
from orch.store.keys import ObjectKey
from orch_api.storage.history import CacheEvent
from orch_api.storage.objects import Cached
from orch_pb.v1.node_pb2 import ObjectChanged, ObjectsChanged

TOLD = Counter("orch_relay_notices", "Messages to nodes that objects of their pods have changed")

_FOLLOWED = frozenset({CONFIG_MAPS.resource, SECRETS.resource})


class _Spec(msgspec.Struct, frozen=True, gc=False):
    volumes: tuple[Volume, ...] = ()


class _Pod(msgspec.Struct, frozen=True, gc=False):
    spec: _Spec = _Spec()


_decode = msgspec.json.Decoder(_Pod).decode


class ReferenceIndex:
    """Which nodes have pods whose volumes show an object, and how many."""

    def __init__(self) -> None:
        self._nodes: dict[ObjectKey, Multiset[str]] = {}

    def add(self, pod: Cached) -> None:
        """Take in a pod that is bound to a node."""
        for key in shown_by(pod):
            self._nodes.setdefault(key, Multiset())[pod.node] += 1

    def remove(self, pod: Cached) -> None:
        """Take out a pod that was added in the state given."""
        for key in shown_by(pod):
            nodes = self._nodes.get(key)
            if nodes is None:
                continue
            nodes[pod.node] -= 1
            if nodes[pod.node] <= 0:
                del nodes[pod.node]
            if not nodes:
                del self._nodes[key]

    def nodes_of(self, key: ObjectKey) -> Sequence[str]:
        """Return the nodes to be told of a change."""
        return tuple(self._nodes.get(key, ()))


class Notices:
    """What is told to nodes by the one relay."""

    def __init__(self, bus: Bus, pods: Iterable[Cached]) -> None:
        self._bus = bus
        self._index = ReferenceIndex()
        for pod in pods:
            if pod.node:
                self._index.add(pod)

    async def follow(self, events: Sequence[CacheEvent]) -> None:
        """Take in changes in their order, and tell of those that concern nodes. Raises UnavailableError, BusError."""
        told: dict[str, ObjectsChanged] = {}
        for event in events:
            item, previous = event.item, event.previous
            if item.key.group or item.key.resource not in _FOLLOWED:
                if item.key.resource == PODS.resource and not item.key.group:
                    self._place(item, previous)
            else:
                self._gather(told, item)
        await self._send(told)

    async def tell(self, items: Iterable[Cached]) -> None:
        """Tell of objects that may have changed while nobody did."""
        told: dict[str, ObjectsChanged] = {}
        for item in items:
            if not item.key.group and item.key.resource in _FOLLOWED:
                self._gather(told, item)
        await self._send(told)

    def _place(self, pod: Cached, previous: Cached | None) -> None:
        """Keep the index: a bound pod's volumes never change, so only its coming and going counts."""
        before = previous is not None and bool(previous.node)
        same = before and previous is not None and previous.node == pod.node and previous.uid == pod.uid
        if same and not pod.deleted:
            return
        if before and previous is not None:
            self._index.remove(previous)
        if pod.node and not pod.deleted:
            self._index.add(pod)

    def _gather(self, told: dict[str, ObjectsChanged], item: Cached) -> None:
        key = item.key
        for node in self._index.nodes_of(key):
            change = ObjectChanged(resource=key.resource, namespace=key.namespace, name=key.name, revision=item.version)
            told.setdefault(node, ObjectsChanged()).objects.append(change)

    async def _send(self, told: dict[str, ObjectsChanged]) -> None:
        for node, message in told.items():
            TOLD.inc()
            await self._bus.publish(subjects.node_changes(node), message.SerializeToString())


def shown_by(pod: Cached) -> frozenset[ObjectKey]:
    """Return the ConfigMaps and Secrets that a pod's volumes show."""
    if b'"volumes"' not in pod.json:
        return frozenset()
    try:
        volumes = _decode(pod.json).spec.volumes
    except msgspec.DecodeError:  # no pod of ours: it came into the store in another way, and no node can run it
        return frozenset()
    namespace = pod.key.namespace
    config_maps: list[str] = []
    secrets: list[str] = []
    for volume in volumes:
        if volume.config_map is not None:
            config_maps.append(volume.config_map.name)
        if volume.secret is not None:
            secrets.append(volume.secret.secret_name)
        for part in volume.projected.sources if volume.projected is not None else ():
            if part.config_map is not None:
                config_maps.append(part.config_map.name)
            if part.secret is not None:
                secrets.append(part.secret.name)
    return frozenset(
        (
            *(ObjectKey("", CONFIG_MAPS.resource, namespace, name) for name in config_maps),
            *(ObjectKey("", SECRETS.resource, namespace, name) for name in secrets),
        )
    )
