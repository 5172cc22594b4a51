"""Looks several times a second at who is silent: what has to be done about nodes that are lost or back is done.

That costs what those few cost, where one key a node and period would be a reconciliation each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import Counter

from orch.errors import OrchError
from orch.objects.scheme import NODES
from orch.runtime.events import reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import Key, Result
from orch_controllers.context import Context
from orch_controllers.node_lifecycle.health import Health
from orch_controllers.node_lifecycle.reconciler import NodeLifecycleReconciler

log = logging.getLogger(__name__)

ALL: Final = Key("", "all-nodes")

_RETRIES: Final = Counter("orch_node_monitor_retries", "Nodes that could not be written and are looked at again.")
_PERIOD: Final = 0.25
_AT_A_TIME: Final = 32
_MANY: Final = 0.2
"""The share of nodes above which suspicions are not told one by one: then it is this side that is slow."""


class NodeMonitor:
    """Reconciles all nodes at once, for ever."""

    def __init__(self, context: Context, health: Health, lifecycle: NodeLifecycleReconciler) -> None:
        self._recorder = context.recorders.of("node-controller")
        self._nodes = context.informers.of(NODES)
        self._clock = context.clock
        self._health = health
        self._lifecycle = lifecycle
        self._surveyed = -_PERIOD

    def keys_of_node(self, change: Change[Any]) -> Iterable[Key]:
        """Return the one key there is when a node comes."""
        return (ALL,) if change.old is None or change.old is change.new else ()

    async def reconcile(self, key: Key) -> Result:
        """Survey the nodes. One that cannot be written now is found again the next time."""
        _ = key
        wait = _PERIOD - (self._clock.monotonic() - self._surveyed)
        if wait > 0.001:
            return Result(wait)
        begun = self._clock.monotonic()
        due, suspected = self._health.survey()
        self._tell(suspected)
        slots = asyncio.Semaphore(_AT_A_TIME)

        async def attend(name: str) -> None:
            async with slots:
                try:
                    await self._lifecycle.reconcile(Key("", name))
                except OrchError as error:
                    _RETRIES.inc()
                    log.info("node %s is looked at again: %s", name, error)

        await asyncio.gather(*map(attend, due))
        self._surveyed = self._clock.monotonic()
        return Result(max(_PERIOD, self._surveyed - begun))  # however many there are, half of the time is others'

    def _tell(self, suspected: list[str]) -> None:
        """Say which nodes are suspected to be lost."""
        if len(suspected) > max(len(self._health.members) * _MANY, 1):
            log.warning("%d nodes are silent at once", len(suspected))
            return
        for name in suspected:
            why = "has lost its connection" if self._health.has_hung_up(name) else "has not been heard"
            log.warning("node %s %s and is suspected to be lost", name, why)
            item = self._nodes.get("", name)
            if item is not None:
                message = f"Node {name} {why} and is suspected to be lost"
                self._recorder.event(reference(NODES, item), "Warning", "NodeSuspected", message)
