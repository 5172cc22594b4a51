"""NodeAffinity, before all else: terms that all name their nodes leave no others to be looked at.

This is how a DaemonSet's pods reach their nodes; kube-scheduler counts the rest apart, whatever else they refuse.
"""

from __future__ import annotations

import numpy as np

from orch.objects.pods import NodeSelector, NodeSelectorTerm
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Plain, Ruling, Wake, Whole
from orch_scheduler.snapshot import Snapshot


class NamedNodes:
    """Refuses the nodes that required node affinity does not name, where it names any in all of its terms."""

    name = "NodeAffinity"
    wake = Wake.NODE_ADDED

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes that are named."""
        if demand.required is None:
            return None
        names = _names(demand.required)
        if names is None:
            return None
        if not names:
            return Whole(snapshot.size, "pod affinity terms conflict")
        allowed = np.zeros(snapshot.size, np.bool_)
        for name in names:
            row = snapshot.rows.get(name)
            if row is not None:
                allowed[row] = True
        return Plain(allowed, "node(s) didn't satisfy plugin(s) [NodeAffinity]")


def _names(required: NodeSelector) -> tuple[str, ...] | None:
    """Return the names of the nodes that terms allow; None when a term names none."""
    found: dict[str, None] = {}
    for term in required.node_selector_terms:
        named = _named(term)
        if named is None:
            return None
        found.update(dict.fromkeys(named))
    return tuple(found) if required.node_selector_terms else None


def _named(term: NodeSelectorTerm) -> tuple[str, ...] | None:
    named: tuple[str, ...] | None = None
    for requirement in term.match_fields:
        if requirement.key == "metadata.name" and requirement.operator == "In":
            values = requirement.values
            named = values if named is None else tuple(name for name in named if name in values)
    return named
