"""PodTopologySpread: how uneven the pods of a group may lie over the values of a label of nodes.

The rules are kube-scheduler's (k8s.io/kubernetes pkg/scheduler/framework/plugins/podtopologyspread).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.filters.affinity import selected
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.filters.taints import untainted
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.spreading import Defaults, constraints
from orch_scheduler.terms import Spread

_NO_DOMAIN: Final = 2**31 - 1
"""The least count where no node counts: then nothing is too much (kube-scheduler's own value)."""
_WORDS: Final = "node(s) didn't match pod topology spread constraints"


class PodTopologySpread:
    """Refuses nodes on which the pod would break a constraint that says DoNotSchedule."""

    name = "PodTopologySpread"
    wake = Wake.NODE_ADDED | Wake.NODE_REMOVED | Wake.NODE_LABELS | Wake.NODE_TAINTS | Wake.POD_ADDED | Wake.POD_REMOVED

    def __init__(self, defaults: Defaults | None = None) -> None:
        self._defaults = defaults or Defaults()

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes on which all constraints hold with the pod."""
        hard = constraints(snapshot, demand, self._defaults, hard=True)
        return _Even(snapshot, demand, hard) if hard else None


class _Constraint:
    """One constraint's counts by domain, over the rows that count for it."""

    __slots__ = ("counts", "domains", "eligible", "least", "present", "sizes", "spread")

    def __init__(self, snapshot: Snapshot, spread: Spread, eligible: Mask) -> None:
        topology = snapshot.topologies.of(spread.key)
        self.spread = spread
        self.eligible = eligible
        self.domains = topology.domains[: snapshot.size]
        self.sizes = topology.sizes
        here = self.domains[eligible]
        counts = snapshot.neighbours.counts(spread.group)[: snapshot.size][eligible]
        self.counts: NDArray[np.int64] = np.bincount(here, weights=counts, minlength=len(topology)).astype(np.int64)
        self.present: Rows = np.flatnonzero(np.bincount(here, minlength=len(topology)))
        self.least = self.find_least()

    def find_least(self) -> int:
        """Return the count to compare with: 0 while there are fewer domains than there shall be."""
        if len(self.present) < self.spread.min_domains:
            return 0
        return int(self.counts[self.present].min()) if len(self.present) else _NO_DOMAIN

    def even(self) -> Mask:
        """Return the domains that may have one more."""
        mask: Mask = self.counts + (int(self.spread.own) - self.least) <= self.spread.max_skew
        mask[0] = False
        return mask

    def without(self, row: int, gone: Sequence[Demand], snapshot: Snapshot) -> bool:
        """Return whether the row's domain may have one more were these pods gone."""
        domain = int(self.domains[row])
        if not domain:
            return False
        count, least = int(self.counts[domain]), self.least
        if self.eligible[row]:
            count -= sum(self.spread.group.means(each, snapshot.namespaces) for each in gone)
            least = min(least, count)
        return count + int(self.spread.own) - least <= self.spread.max_skew


class _Even(Ruling):
    __slots__ = ("_constraints", "_labelled", "_snapshot")

    def __init__(self, snapshot: Snapshot, demand: Demand, spreads: Sequence[Spread]) -> None:
        self._snapshot = snapshot
        labelled = snapshot.live
        for spread in spreads:
            labelled = labelled & (snapshot.topologies.of(spread.key).domains[: snapshot.size] != 0)
        self._labelled = labelled
        self._constraints = [
            _Constraint(snapshot, spread, counted_rows(snapshot, demand, spread, labelled)) for spread in spreads
        ]
        super().__init__(self._find())

    def _find(self) -> Mask:
        mask = self._labelled
        for constraint in self._constraints:
            mask = mask & constraint.even()[constraint.domains]
        return mask

    def placed(self, row: int) -> bool:
        """Count the pod; a domain may have become full, or the least of them greater."""
        changed = risen = False
        for constraint in self._constraints:
            if not constraint.spread.own or not constraint.eligible[row]:
                continue
            domain = int(constraint.domains[row])
            constraint.counts[domain] += 1
            if constraint.counts[domain] == constraint.least + 1:
                least = constraint.find_least()
                risen |= least != constraint.least
                constraint.least = least
            if constraint.counts[domain] + 1 - constraint.least > constraint.spread.max_skew:
                if constraint.sizes[domain] == 1:
                    self.allowed[row] = False
                else:
                    self.allowed &= constraint.domains != domain
                    changed = True
        if risen:
            self.allowed = self._find()
        return changed or risen

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return kube-scheduler's words; the first constraint that a node fails decides."""
        missing: list[Rows] = []
        uneven: list[Rows] = []
        for constraint in self._constraints:
            unlabelled = constraint.domains[rows] == 0
            missing.append(rows[unlabelled])
            rows = rows[~unlabelled]
            full = ~constraint.even()[constraint.domains[rows]]
            uneven.append(rows[full])
            rows = rows[~full]
        for found, words in ((uneven, _WORDS), (missing, f"{_WORDS} (missing required label)")):
            joined = np.sort(np.concatenate(found))
            if len(joined):
                yield words, joined

    def curable(self) -> Mask | None:
        """Return the rows that have the labels."""
        return self._labelled

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether all constraints would hold."""
        return all(constraint.without(row, gone, self._snapshot) for constraint in self._constraints)


def counted_rows(snapshot: Snapshot, demand: Demand, spread: Spread, rows: Mask) -> Mask:
    """Return those of `rows` whose pods count for a constraint, by its policies about affinity and taints."""
    if spread.honors_affinity:
        chosen = selected(snapshot, demand)
        if chosen is not None:
            rows = rows & chosen
    if spread.honors_taints:
        tolerated = untainted(snapshot, demand)
        if tolerated is not None:
            rows = rows & tolerated
    return rows
