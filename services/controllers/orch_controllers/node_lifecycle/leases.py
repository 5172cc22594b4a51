"""Writes a Lease for each node that is heard, in kube-node-lease, for those who look there (`kubectl get leases`).

What counts are the heartbeats on the bus. So that thousands of nodes cost no more than a few writes a second, each
node's lease is renewed the less often the more there are.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from orch.clock import rfc3339_micro
from orch.errors import AlreadyExistsError, NotFoundError
from orch.objects.meta import Object
from orch.objects.scheme import LEASES, NODES
from orch.runtime.informer import Change
from orch.runtime.reconcile import Key, Result
from orch_controllers.context import Context
from orch_controllers.fanout import for_each

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-node-lease"
ALL: Final = Key(NAMESPACE, "all-nodes")

_INTERVAL: Final = 10.0
_PERIOD: Final = 1.0
_MOST_A_PERIOD: Final = 20
_DURATION: Final = 40
"""Seconds that a lease says it holds, at the least (kubelet's nodeLeaseDurationSeconds)."""


class NodeLeases:
    """Reconciles the leases of all nodes at once."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._heartbeats = context.heartbeats
        self._clock = context.clock
        self._grace = context.config.node_grace_period
        self._nodes = context.informers.of(NODES)
        self._written: OrderedDict[str, float] = OrderedDict()
        """When each node's lease was written, the oldest first; new nodes have waited for ever."""

    def keys_of_node(self, change: Change[Any]) -> Iterable[Key]:
        """Return the one key there is when a node comes."""
        name = change.item.name
        if change.new is None:
            self._written.pop(name, None)
        elif name not in self._written:
            self._written[name] = -math.inf
            self._written.move_to_end(name, last=False)
        return (ALL,) if change.old is None or change.old is change.new else ()

    async def reconcile(self, key: Key) -> Result:
        """Renew the leases that are due, the oldest first."""
        _ = key
        now = self._clock.monotonic()
        interval = max(_INTERVAL, len(self._written) / _MOST_A_PERIOD * _PERIOD)
        due = self._due(now - interval)

        async def renew(name: str) -> None:
            await self._renew(name, max(_DURATION, math.ceil(interval * 4)))
            if name in self._written:
                self._written[name] = now
                self._written.move_to_end(name)

        await for_each(due, renew)
        return Result(_PERIOD)

    def _due(self, limit: float) -> list[str]:
        """Return the nodes that are heard and whose lease was written before a moment, as many as a turn writes."""
        due: list[str] = []
        for name, written in self._written.items():
            if written > limit or len(due) == _MOST_A_PERIOD:
                break
            if self._heartbeats.heard(name) and self._heartbeats.silence(name) <= self._grace:
                due.append(name)
        return due

    async def _renew(self, node: str, duration: int) -> None:
        spec = {
            "holderIdentity": node,
            "leaseDurationSeconds": duration,
            "renewTime": rfc3339_micro(self._clock.now()),
        }
        kind = LEASES.with_view(Object)
        try:
            await self._client.patch(kind, NAMESPACE, node, {"spec": spec})
        except NotFoundError:
            await self._create(node, spec)

    async def _create(self, node: str, spec: dict[str, Any]) -> None:
        item = self._nodes.get("", node)
        if item is None:
            return
        owner = {"apiVersion": NODES.api_version, "kind": NODES.name, "name": node, "uid": item.uid}
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.name,
            "metadata": {"name": node, "ownerReferences": [owner]},
            "spec": spec,
        }
        try:
            await self._client.create(LEASES.with_view(Object), NAMESPACE, body)
        except AlreadyExistsError:
            log.debug("the lease of node %s came meanwhile", node)
