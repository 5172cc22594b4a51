"""InterPodAffinity: the pods that must, and those that must not, be in a node's neighbourhood."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from orch_scheduler.columns import Mask, Rows, Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.terms import Term


class InterPodAffinity:
    """Holds required pod affinity and anti-affinity, the pod's own and that of the pods which are there.

    The rules are kube-scheduler's (k8s.io/kubernetes pkg/scheduler/framework/plugins/interpodaffinity).
    """

    name = "InterPodAffinity"
    wake = Wake.NODE_ADDED | Wake.NODE_LABELS | Wake.POD_ADDED | Wake.POD_REMOVED

    def allowed(self, snapshot: Snapshot, demand: Demand) -> Mask | None:
        """Return the nodes whose neighbourhoods suit the pod, and are suited by it."""
        mask: Mask | None = None
        for part in (_near(snapshot, demand), _away(snapshot, demand), _unwelcome(snapshot, demand)):
            if part is not None:
                mask = part if mask is None else mask & part
        return mask

    def reasons(self, snapshot: Snapshot, demand: Demand, rows: Rows) -> dict[str, int]:
        """Return the words for the first part that each row fails."""
        counted: dict[str, int] = {}
        for part, reason in (
            (_near(snapshot, demand), "node(s) didn't match pod affinity rules"),
            (_away(snapshot, demand), "node(s) didn't match pod anti-affinity rules"),
            (_unwelcome(snapshot, demand), "node(s) didn't satisfy existing pods anti-affinity rules"),
        ):
            if part is not None and not part[rows].all():
                counted[reason] = int((~part[rows]).sum())
                rows = rows[part[rows]]
        return counted


def concerned(snapshot: Snapshot, demand: Demand) -> bool:
    """Return whether the rule asks anything of the demand; if so, every placement may change what it allows."""
    return bool(demand.near or demand.away) or any(True for _ in _unwelcoming(snapshot, demand))


def _near(snapshot: Snapshot, demand: Demand) -> Mask | None:
    """Every term needs a pod that all terms mean; the first of pods that mean one another may go anywhere."""
    if not demand.near:
        return None
    meant = [
        rows
        for other, rows in snapshot.neighbours.classes()
        if all(term.means(other.namespace, other.labels, snapshot.namespaces) for term in demand.near)
    ]
    domains = [_domains(snapshot, term.key, meant) for term in demand.near]
    if not any(domains) and all(
        term.means(demand.namespace, demand.labels, snapshot.namespaces) for term in demand.near
    ):
        return _all(snapshot.keys.mask(term.key, snapshot.size) for term in demand.near)
    return _all(_in(snapshot, term.key, found) for term, found in zip(demand.near, domains, strict=True))


def _away(snapshot: Snapshot, demand: Demand) -> Mask | None:
    """No neighbourhood with a pod that one of the terms means."""
    if not demand.away:
        return None
    parts: list[Mask] = []
    for term in demand.away:
        meant = [
            rows
            for other, rows in snapshot.neighbours.classes()
            if term.means(other.namespace, other.labels, snapshot.namespaces)
        ]
        parts.append(~_in(snapshot, term.key, _domains(snapshot, term.key, meant)))
    return _all(parts)


def _unwelcome(snapshot: Snapshot, demand: Demand) -> Mask | None:
    """No neighbourhood of a pod that refuses this one."""
    parts = [
        ~_in(snapshot, term.key, _domains(snapshot, term.key, [rows])) for term, rows in _unwelcoming(snapshot, demand)
    ]
    return _all(parts) if parts else None


def _unwelcoming(snapshot: Snapshot, demand: Demand) -> Iterable[tuple[Term, Iterable[int]]]:
    for other, rows in snapshot.neighbours.guarded():
        for term in other.away:
            if term.means(demand.namespace, demand.labels, snapshot.namespaces):
                yield term, rows


def _domains(snapshot: Snapshot, key: str, groups: Iterable[Iterable[int]]) -> set[str]:
    """Return the values that a label of nodes has on rows."""
    labels = snapshot.node_labels
    return {labels[row][key] for rows in groups for row in rows if key in labels[row]}


def _in(snapshot: Snapshot, key: str, values: set[str]) -> Mask:
    """Return the rows whose label has one of the values."""
    mask = np.zeros(snapshot.size, np.bool_)
    for value in values:
        mask |= snapshot.labels.mask((key, value), snapshot.size)
    return mask


def _all(parts: Iterable[Mask]) -> Mask:
    return np.logical_and.reduce(list(parts))
