"""Which nodes are lost: silent ones, unless all are, which speaks of the network rather than of the nodes.

When no node at all is healthy, Kubernetes stops evicting (k8s.io/kubernetes pkg/controller/nodelifecycle, "full
disruption"): pods that run where nobody sees them are better than no pods. Once a node is healthy again the others
get a grace period to come back, too.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable
from typing import Final

from orch.clock import Clock
from orch.objects.cluster import Node
from orch_controllers.heartbeats import Heartbeats

log = logging.getLogger(__name__)

_KEPT: Final = 0.2
"""Seconds for which a judgement on the whole cluster is not made again."""


class Evictions(enum.Enum):
    """What may be done to the pods of lost nodes."""

    ALLOWED = "allowed"
    HELD = "held"
    """None is begun; those that are under way go on."""
    STOPPED = "stopped"


class Health:
    """Judges nodes, one and all."""

    def __init__(self, heartbeats: Heartbeats, clock: Clock, grace: float) -> None:
        self._heartbeats = heartbeats
        self._clock = clock
        self._grace = grace
        self._disrupted = False
        self._calm_since: float | None = None
        self._judged_at: float | None = None

    def is_lost(self, node: str) -> bool:
        """Return whether the node has been silent for longer than its grace period."""
        return self._heartbeats.silence(node) > self._grace

    def is_back(self, node: str) -> bool:
        """Return whether the node is heard, not merely not known to be silent."""
        return self._heartbeats.heard(node) and not self.is_lost(node)

    def until_lost(self, node: str) -> float:
        """Return in how many seconds the node is lost, should it stay silent."""
        return self._grace - self._heartbeats.silence(node)

    def evictions(self, nodes: Iterable[Node]) -> Evictions:
        """Judge the cluster: with no healthy node evictions stop, and a grace period later they may begin again.

        A node counts as healthy when it was heard within half of the grace period: nodes that fall silent together
        would else be lost one after the other, the first of them while the last is still believed to be there.
        """
        now = self._clock.monotonic()
        if self._judged_at is None or now - self._judged_at >= _KEPT:
            self._judged_at = now
            self._note(disrupted=not any(self._is_healthy(node) for node in nodes), now=now)
        if self._disrupted:
            return Evictions.STOPPED
        if self._calm_since is not None and now - self._calm_since < self._grace:
            return Evictions.HELD
        return Evictions.ALLOWED

    def _is_healthy(self, node: Node) -> bool:
        ready = node.status.condition("Ready")
        if ready is None or ready.status != "True":
            return False
        return self._heartbeats.silence(node.metadata.name) <= self._grace / 2

    def _note(self, *, disrupted: bool, now: float) -> None:
        if disrupted and not self._disrupted:
            log.warning("no node is healthy: nothing is evicted until one is")
        elif self._disrupted and not disrupted:
            log.warning("some nodes are healthy again: evictions may begin in %g s", self._grace)
            self._calm_since = now
        self._disrupted = disrupted
