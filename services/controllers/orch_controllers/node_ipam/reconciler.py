"""Gives each node that has none a range of pod addresses; an agent that brings its own range keeps it.

What is in use is what the nodes' objects say, so a range is free again once its node is deleted.
"""

from __future__ import annotations

import logging
from typing import Final

from orch.errors import NotFoundError
from orch.objects.cluster import Node
from orch.objects.scheme import NODES
from orch.runtime.events import reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.node_ipam.ranges import PodRanges

log = logging.getLogger(__name__)

_AGAIN: Final = 30.0
"""Seconds after which a node is looked at again that there was no range for."""


class NodeIpamReconciler:
    """Reconciles nodes, one at a time: so no range is given twice."""

    def __init__(self, context: Context) -> None:
        config = context.config
        self._client = context.client
        self._recorder = context.recorders.of("cidrAllocator")
        self._nodes = context.informers.of(NODES)
        self._ranges = PodRanges(config.cluster_cidr, config.node_cidr_mask_size) if config.cluster_cidr else None
        self._given: dict[str, str] = {}
        """What nodes were given that was not seen yet on their objects."""
        self._nodes.on_change(self._take)

    async def reconcile(self, key: Key) -> Result:
        """Give one node a range if it needs one."""
        item = self._nodes.get("", key.name)
        if item is None or self._ranges is None or item.object.spec.pod_cidr:
            return DONE
        chosen = self._given.get(key.name) or self._ranges.pick()
        if not chosen:
            message = f"Node {key.name} status is now: CIDRNotAvailable"
            self._recorder.event(reference(NODES, item), "Normal", "CIDRNotAvailable", message)
            return Result(_AGAIN)
        self._given[key.name] = chosen
        self._ranges.hold(key.name, chosen)
        version = {"uid": item.uid, "resourceVersion": str(item.revision)}
        patch = {"metadata": version, "spec": {"podCIDR": chosen, "podCIDRs": [chosen]}}
        try:
            await self._client.patch(NODES, "", key.name, patch)
        except NotFoundError:
            self._let_go(key.name)
            return DONE
        log.info("node %s has pods in %s", key.name, chosen)
        return DONE

    def _take(self, change: Change[Node]) -> None:
        name = change.item.name
        if self._ranges is None:
            return
        if change.new is None:
            self._let_go(name)
        elif cidr := change.new.object.spec.pod_cidr:
            self._given.pop(name, None)
            self._ranges.hold(name, cidr)
        elif name not in self._given:
            self._ranges.release(name)

    def _let_go(self, name: str) -> None:
        self._given.pop(name, None)
        if self._ranges is not None:
            self._ranges.release(name)
