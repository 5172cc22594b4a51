"""NodeAffinity: the pod's nodeSelector and its required node affinity."""

from __future__ import annotations

import numpy as np

from orch.objects.pods import NodeSelectorRequirement, NodeSelectorTerm
from orch_scheduler.columns import Mask, Rows, Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake


class NodeAffinity:
    """Refuses nodes whose labels the pod does not select."""

    name = "NodeAffinity"
    wake = Wake.NODE_ADDED | Wake.NODE_LABELS

    def allowed(self, snapshot: Snapshot, demand: Demand) -> Mask | None:
        """Return the nodes that nodeSelector and one of the required terms select."""
        mask: Mask | None = None
        for pair in demand.node_selector:
            selected = snapshot.labels.mask(pair, snapshot.size)
            mask = selected if mask is None else mask & selected
        affinity = demand.affinity.node_affinity if demand.affinity else None
        required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
        if required is not None:
            selected = np.zeros(snapshot.size, np.bool_)
            for term in required.node_selector_terms:
                selected |= term_mask(snapshot, term)
            mask = selected if mask is None else mask & selected
        return mask

    def reasons(self, snapshot: Snapshot, demand: Demand, rows: Rows) -> dict[str, int]:
        """Return kube-scheduler's words."""
        del snapshot, demand
        return {"node(s) didn't match Pod's node affinity/selector": len(rows)}


def term_mask(snapshot: Snapshot, term: NodeSelectorTerm) -> Mask:
    """Return the nodes for which all of a term holds; a term that says nothing selects none."""
    if not term.match_expressions and not term.match_fields:
        return np.zeros(snapshot.size, np.bool_)
    mask = np.ones(snapshot.size, np.bool_)
    for requirement in term.match_expressions:
        mask &= _label_mask(snapshot, requirement)
    for requirement in term.match_fields:
        mask &= _field_mask(snapshot, requirement)
    return mask


def _label_mask(snapshot: Snapshot, requirement: NodeSelectorRequirement) -> Mask:
    key, operator, size = requirement.key, requirement.operator, snapshot.size
    if operator == "Exists":
        return snapshot.keys.mask(key, size)
    if operator == "DoesNotExist":
        return ~snapshot.keys.mask(key, size)
    if operator in {"Gt", "Lt"}:
        return _compared(snapshot, requirement)
    chosen = np.zeros(size, np.bool_)
    for value in requirement.values:
        chosen |= snapshot.labels.mask((key, value), size)
    return chosen if operator == "In" else ~chosen


def _compared(snapshot: Snapshot, requirement: NodeSelectorRequirement) -> Mask:
    bound = _integer(requirement.values[0]) if requirement.values else None
    mask = np.zeros(snapshot.size, np.bool_)
    if bound is None:
        return mask
    for row in np.flatnonzero(snapshot.keys.mask(requirement.key, snapshot.size)).tolist():
        value = _integer(snapshot.node_labels[row][requirement.key])
        if value is not None:
            mask[row] = value > bound if requirement.operator == "Gt" else value < bound
    return mask


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _field_mask(snapshot: Snapshot, requirement: NodeSelectorRequirement) -> Mask:
    """Return the nodes whose metadata.name is (In) or is not (NotIn) among the values."""
    mask = np.zeros(snapshot.size, np.bool_)
    if requirement.key != "metadata.name":
        return mask
    for value in requirement.values:
        row = snapshot.rows.get(value)
        if row is not None:
            mask[row] = True
    return mask if requirement.operator == "In" else ~mask
