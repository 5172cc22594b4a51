"""InterPodAffinity: the pods that must, and those that must not, be in a node's neighbourhood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.index import Domains, Mask, Rows
from orch_scheduler.neighbours import Counted
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.terms import Group, Held, Hold


class InterPodAffinity:
    """Holds required pod affinity and anti-affinity, the pod's own and that of the pods which are there.

    The rules are kube-scheduler's (k8s.io/kubernetes pkg/scheduler/framework/plugins/interpodaffinity).
    """

    name = "InterPodAffinity"
    wake = Wake.NODE_ADDED | Wake.NODE_REMOVED | Wake.NODE_LABELS | Wake.POD_ADDED | Wake.POD_REMOVED

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes whose neighbourhoods suit the pod, and are suited by it."""
        unwelcoming = [held for held in snapshot.neighbours.holders(demand) if held.hold is Hold.AWAY]
        if not demand.near and not demand.away and not unwelcoming:
            return None
        return _Neighbourhoods(snapshot, demand, unwelcoming)


class _Count:
    """How many pods that matter each domain of a label has."""

    __slots__ = ("counted", "counts", "domains", "own", "sizes")

    def __init__(self, snapshot: Snapshot, key: str, counted: Counted, own: bool) -> None:
        topology = snapshot.topologies.of(key)
        self.counted = counted
        self.own = own
        self.domains: Domains = topology.domains[: snapshot.size]
        self.sizes = topology.sizes
        weights = snapshot.neighbours.counts(counted)[: snapshot.size]
        found = np.bincount(self.domains, weights=weights, minlength=len(topology))
        self.counts: NDArray[np.int64] = found.astype(np.int64)
        self.counts[0] = 0

    def some(self) -> Mask:
        """Return the rows in whose domain there is one."""
        mask: Mask = (self.counts > 0)[self.domains]
        return mask

    def none(self) -> Mask:
        """Return the rows in whose domain there is none, or that are in no domain."""
        return ~self.some()

    def left(self, row: int, gone: Sequence[Demand], snapshot: Snapshot) -> int:
        """Return how many the row's domain would have without some pods of that row."""
        key = self.counted
        if isinstance(key, Held):
            less = sum(key in each.held for each in gone)
        else:
            less = sum(key.means(each, snapshot.namespaces) for each in gone)
        domain = int(self.domains[row])
        return int(self.counts[domain]) - less if domain else 0


class _Neighbourhoods(Ruling):
    __slots__ = ("_against", "_away", "_away_ok", "_first", "_near", "_near_ok", "_snapshot", "_welcome")

    def __init__(self, snapshot: Snapshot, demand: Demand, unwelcoming: Sequence[Held]) -> None:
        self._snapshot = snapshot

        def own(group: Group) -> bool:
            return group.means(demand, snapshot.namespaces)

        together = demand.together
        among = together is not None and own(together)
        self._near = [] if together is None else [_Count(snapshot, term.key, together, among) for term in demand.near]
        self._away = [_Count(snapshot, term.key, term.group, own(term.group)) for term in demand.away]
        self._against = [_Count(snapshot, held.term.key, held, own=False) for held in unwelcoming]
        self._first = among and not any(count.counts.any() for count in self._near)
        everywhere = np.ones(snapshot.size, np.bool_)
        self._near_ok = self._find_near()
        self._away_ok: Mask = reduce(np.logical_and, (count.none() for count in self._away), everywhere)
        self._welcome: Mask = reduce(np.logical_and, (count.none() for count in self._against), everywhere)
        super().__init__(self._near_ok & self._away_ok & self._welcome)

    def _find_near(self) -> Mask:
        """Every term needs a pod that all terms mean; the first of pods that mean one another may go anywhere."""
        mask = np.ones(self._snapshot.size, np.bool_)
        for count in self._near:
            mask &= count.domains != 0 if self._first else count.some()
        return mask

    def placed(self, row: int) -> bool:
        """Count the pod where it is meant; the first one decides where the others go."""
        changed = False
        if self._first:
            self._first = False
            for count in self._near:
                count.counts[count.domains[row]] += 1
                count.counts[0] = 0
            self._near_ok = self._find_near()
            changed = True
        for count in self._away:
            domain = int(count.domains[row])
            if count.own and domain:
                count.counts[domain] += 1
                if count.sizes[domain] == 1:
                    self._away_ok[row] = self.allowed[row] = False
                else:
                    self._away_ok &= count.domains != domain
                    changed = True
        if changed:
            self.allowed = self._near_ok & self._away_ok & self._welcome
        return changed

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return the words for the first part that each row fails."""
        for mask, words in (
            (self._near_ok, "node(s) didn't match pod affinity rules"),
            (self._away_ok, "node(s) didn't match pod anti-affinity rules"),
            (self._welcome, "node(s) didn't satisfy existing pods anti-affinity rules"),
        ):
            failed = ~mask[rows]
            if failed.any():
                yield words, rows[failed]
                rows = rows[~failed]

    def curable(self) -> Mask | None:
        """Return the rows where only pods that are there stand in the way."""
        return self._near_ok

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether the row's neighbourhoods would suit."""
        snapshot = self._snapshot
        if any(count.left(row, gone, snapshot) > 0 for count in (*self._away, *self._against)):
            return False
        if not self._near:
            return True
        if not all(count.domains[row] for count in self._near):
            return False
        if all(count.left(row, gone, snapshot) > 0 for count in self._near):
            return True
        return all(
            count.own
            and int(count.counts.sum()) == int(count.counts[count.domains[row]]) - count.left(row, gone, snapshot)
            for count in self._near
        )
