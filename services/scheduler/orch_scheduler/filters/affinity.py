"""NodeAffinity: the pod's nodeSelector and its required node affinity, and what the profile adds to them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import numpy as np

from orch.objects.pods import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")


class NodeAffinity:
    """Refuses nodes that the pod does not select, or that the profile's affinity does not."""

    name = "NodeAffinity"
    wake = Wake.NODE_ADDED | Wake.NODE_LABELS

    def __init__(self, added: NodeSelector | None = None) -> None:
        self._added = added

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes that nodeSelector and one of the required terms select."""
        own = selected(snapshot, demand)
        added = None if self._added is None else any_term(snapshot, self._added)
        if own is None and added is None:
            return None
        return _Selected(snapshot.size, own, added)


class _Selected(Ruling):
    __slots__ = ("_added",)

    def __init__(self, size: int, own: Mask | None, added: Mask | None) -> None:
        allowed = np.ones(size, np.bool_) if own is None else own
        super().__init__(allowed if added is None else allowed & added)
        self._added = added

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return kube-scheduler's words; what the profile adds is looked at first."""
        enforced = rows[:0] if self._added is None else rows[~self._added[rows]]
        if len(enforced):
            yield "node(s) didn't match scheduler-enforced node affinity", enforced
        own = rows if self._added is None else rows[self._added[rows]]
        if len(own):
            yield "node(s) didn't match Pod's node affinity/selector", own


def selected(snapshot: Snapshot, demand: Demand) -> Mask | None:
    """Return the rows that the pod's nodeSelector and required node affinity select; None: it has neither."""
    mask: Mask | None = None
    for key, value in demand.node_selector:
        chosen = holding(snapshot, key, (value,))
        mask = chosen if mask is None else mask & chosen
    if demand.required is not None:
        chosen = any_term(snapshot, demand.required)
        mask = chosen if mask is None else mask & chosen
    return mask


def any_term(snapshot: Snapshot, selector: NodeSelector) -> Mask:
    """Return the rows that one of the terms selects."""
    mask = np.zeros(snapshot.size, np.bool_)
    for term in selector.node_selector_terms:
        mask |= term_mask(snapshot, term)
    return mask


def term_mask(snapshot: Snapshot, term: NodeSelectorTerm) -> Mask:
    """Return the rows for which all of a term holds; a term that says nothing selects none."""
    if not term.match_expressions and not term.match_fields:
        return np.zeros(snapshot.size, np.bool_)
    mask = np.ones(snapshot.size, np.bool_)
    for requirement in term.match_expressions:
        mask &= _label_mask(snapshot, requirement)
    for requirement in term.match_fields:
        mask &= _field_mask(snapshot, requirement)
    return mask


def _label_mask(snapshot: Snapshot, requirement: NodeSelectorRequirement) -> Mask:
    match requirement.operator:
        case "Exists":
            return snapshot.topologies.of(requirement.key).domains[: snapshot.size] != 0
        case "DoesNotExist":
            return snapshot.topologies.of(requirement.key).domains[: snapshot.size] == 0
        case "In":
            return holding(snapshot, requirement.key, requirement.values)
        case "NotIn":
            return ~holding(snapshot, requirement.key, requirement.values)
        case "Gt" | "Lt":
            return _compared(snapshot, requirement)
        case _:
            return np.zeros(snapshot.size, np.bool_)


def holding(snapshot: Snapshot, key: str, values: Iterable[str]) -> Mask:
    """Return the rows whose label has one of the values."""
    topology = snapshot.topologies.of(key)
    chosen = np.zeros(len(topology), np.bool_)
    for value in values:
        domain = topology.domain(value)
        if domain > 0:
            chosen[domain] = True
    return chosen[topology.domains[: snapshot.size]]


def _compared(snapshot: Snapshot, requirement: NodeSelectorRequirement) -> Mask:
    topology = snapshot.topologies.of(requirement.key)
    chosen = np.zeros(len(topology), np.bool_)
    bound = _integer(requirement.values[0]) if len(requirement.values) == 1 else None
    if bound is not None:
        for text, domain in topology.values.items():
            value = _integer(text)
            if value is not None:
                chosen[domain] = value > bound if requirement.operator == "Gt" else value < bound
    return chosen[topology.domains[: snapshot.size]]


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _field_mask(snapshot: Snapshot, requirement: NodeSelectorRequirement) -> Mask:
    """Return the rows whose metadata.name is (In) or is not (NotIn) among the values."""
    mask = np.zeros(snapshot.size, np.bool_)
    if requirement.key != "metadata.name" or requirement.operator not in {"In", "NotIn"}:
        return mask
    for value in requirement.values:
        row = snapshot.rows.get(value)
        if row is not None:
            mask[row] = True
    return mask if requirement.operator == "In" else ~mask
