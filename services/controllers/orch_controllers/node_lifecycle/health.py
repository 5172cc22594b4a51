"""Which nodes are lost, and what may be done to their pods: silence of many at once speaks of the network, not of them.

When no zone has a healthy node, Kubernetes stops evicting (k8s.io/kubernetes pkg/controller/nodelifecycle, "full
disruption" everywhere): pods that run where nobody sees them are better than no pods. Once a node is healthy again the
others get a grace period to come back, too.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping
from typing import Final

import msgspec
from prometheus_client import Gauge

from orch.clock import Clock
from orch.objects.cluster import Node
from orch.objects.scheme import NODES
from orch.runtime.informer import Change, Informers
from orch_controllers.config import ControllersConfig
from orch_controllers.heartbeats import Heartbeats
from orch_controllers.node_lifecycle.zones import Admissions, Count, ZoneState, rate_of, state_of, zone_of

log = logging.getLogger(__name__)

LAST_REPORTED: Final = "orch.dev/last-reported-conditions"
"""The annotation that holds what the node said of itself before it fell silent."""
SUSPICION: Final = 1.7
"""Seconds of silence, with a heartbeat every second, after which a node is suspected to be lost."""

_SIZE: Final = Gauge("node_collector_zone_size", "Nodes of a zone.", ["zone"])
_HEALTH: Final = Gauge(
    "node_collector_zone_health", "The share of a zone's nodes that are healthy, in percent.", ["zone"]
)
_UNHEALTHY: Final = Gauge("node_collector_unhealthy_nodes_in_zone", "Nodes of a zone that are not healthy.", ["zone"])
_SUSPECTED: Final = Gauge("orch_nodes_suspected", "Nodes that are silent, and not lost yet.")


class Evictions(enum.Enum):
    """What may be done to the pods of lost nodes."""

    ALLOWED = "allowed"
    HELD = "held"
    """None is begun; those that are under way go on."""
    STOPPED = "stopped"


class Member(msgspec.Struct, frozen=True):
    """What is remembered of a node. `ready`: it says so itself; `marked`: it was found silent and has an annotation."""

    zone: str
    ready: bool
    marked: bool


class Health:
    """Judges nodes, one and all. `survey` is called again and again; the rest answers by the last one."""

    def __init__(self, heartbeats: Heartbeats, informers: Informers, clock: Clock, config: ControllersConfig) -> None:
        self._heartbeats = heartbeats
        self._clock = clock
        self._config = config
        self._grace = config.node_grace_period
        self._members: dict[str, Member] = {}
        self._known: dict[str, Count] = {}
        """The nodes of each zone, by what they say of themselves."""
        self._attention: dict[str, None] = {}
        """Nodes that are not ready, or are marked."""
        self._admissions = Admissions(config.node_eviction_burst)
        self._states: dict[str, ZoneState] = {}
        self._counts: dict[str, Count] = {}
        self._suspected: set[str] = set()
        self._disrupted = False
        self._calm_since: float | None = None
        self._surveyed = False
        informers.of(NODES).on_change(self._take)

    def _take(self, change: Change[Node]) -> None:
        name = change.item.name
        self._leave(name)
        if change.new is None:
            self._admissions.forget(name)
            self._heartbeats.forget(name)
            return
        node = change.new.object
        ready = node.status.condition("Ready")
        member = Member(
            zone_of(change.new.labels),
            ready is not None and ready.status == "True",
            LAST_REPORTED in node.metadata.annotations,
        )
        self._members[name] = member
        count = self._known.setdefault(member.zone, Count())
        if member.ready:
            count.healthy += 1
        else:
            count.unhealthy += 1
        if member.marked or not member.ready:
            self._attention[name] = None
        self._heartbeats.expect(name)

    def _leave(self, name: str) -> None:
        """Take out what is known of a node; something else is known of it now, if anything."""
        before = self._members.pop(name, None)
        self._attention.pop(name, None)
        if before is None:
            return
        count = self._known[before.zone]
        if before.ready:
            count.healthy -= 1
        else:
            count.unhealthy -= 1
        if not count.size:
            del self._known[before.zone]

    @property
    def members(self) -> Mapping[str, Member]:
        """All nodes, by name."""
        return self._members

    def is_lost(self, node: str) -> bool:
        """Return whether the node has been silent for longer than its grace period."""
        return self._heartbeats.silence(node) > self._grace

    def is_back(self, node: str) -> bool:
        """Return whether the node is heard, not merely not known to be silent."""
        return self._heartbeats.heard(node) and not self.is_lost(node)

    def has_hung_up(self, node: str) -> bool:
        """Return whether the node's connection has ended and it was not heard since."""
        return node in self._heartbeats.hung_up

    def survey(self) -> tuple[list[str], list[str]]:
        """Return the nodes that something has to be done about, and those newly suspected.

        What it costs follows the nodes that are silent or not well: the others are looked at when they change.

        A node counts as healthy when it was heard within half of the grace period: nodes that fall silent together
        would else be lost one after the other, the first of them while the last is still believed to be there.
        """
        members, heartbeats = self._members, self._heartbeats
        counts = {zone: Count(count.healthy, count.unhealthy) for zone, count in self._known.items()}
        for name in heartbeats.silent_for(self._grace / 2):
            member = members.get(name)
            if member is not None and member.ready:
                counts[member.zone].healthy -= 1
                counts[member.zone].unhealthy += 1
        lost = {name for name in heartbeats.silent_for(self._grace) if name in members}
        due = [*self._attention, *(lost - self._attention.keys())]
        silent = {*heartbeats.silent_for(SUSPICION), *heartbeats.hung_up}
        suspected = {name for name in silent if name in members} - lost - self._attention.keys()
        new = sorted(suspected - self._suspected)
        self._suspected = suspected
        _SUSPECTED.set(len(suspected))
        self._judge(counts)
        return due, new

    def _judge(self, counts: dict[str, Count]) -> None:
        """Take in how many nodes of each zone are healthy."""
        states = {zone: state_of(count, self._config.unhealthy_zone_threshold) for zone, count in counts.items()}
        for zone, count in counts.items():
            if (state := states[zone]) is not self._states.get(zone, ZoneState.NORMAL):
                log.warning("zone %s: %s, %d of %d nodes are healthy", zone, state.value, count.healthy, count.size)
            _SIZE.labels(zone).set(count.size)
            _HEALTH.labels(zone).set(100 * count.healthy / count.size)
            _UNHEALTHY.labels(zone).set(count.unhealthy)
        self._states, self._counts, self._surveyed = states, counts, True
        disrupted = bool(states) and all(state is ZoneState.FULL for state in states.values())
        if disrupted and not self._disrupted:
            log.warning("no node is healthy: nothing is evicted until one is")
        elif self._disrupted and not disrupted:
            log.warning("some nodes are healthy again: evictions may begin in %g s", self._grace)
            self._calm_since = self._clock.monotonic()
        self._disrupted = disrupted

    def evictions(self, node: str) -> Evictions:
        """Return what may be done to the pods of a node that is lost."""
        member = self._members.get(node)
        if self._disrupted or member is None:
            return Evictions.STOPPED
        now = self._clock.monotonic()
        if not self._surveyed or (self._calm_since is not None and now - self._calm_since < self._grace):
            return Evictions.HELD
        zone = member.zone
        state = self._states.get(zone, ZoneState.NORMAL)
        rate = rate_of(state, self._counts.get(zone, Count()).size, self._config)
        return Evictions.ALLOWED if self._admissions.admit(node, zone, rate, now) else Evictions.HELD

    def forgive(self, node: str) -> None:
        """Note that a node is not lost."""
        self._admissions.forget(node)
