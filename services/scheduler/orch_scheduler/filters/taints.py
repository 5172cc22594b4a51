"""TaintToleration: a node's NoSchedule and NoExecute taints must be tolerated."""

from __future__ import annotations

from typing import Final

import numpy as np

from orch.objects.taints import tolerates
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Plain, Ruling, Wake
from orch_scheduler.index import Mask
from orch_scheduler.snapshot import Snapshot

_KEEPS_OFF: Final = frozenset({"NoSchedule", "NoExecute"})


class TaintToleration:
    """Refuses nodes with a taint that the pod does not tolerate."""

    name = "TaintToleration"
    wake = Wake.NODE_ADDED | Wake.NODE_TAINTS

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes without an intolerable taint."""
        tolerated = untainted(snapshot, demand)
        return None if tolerated is None else Plain(tolerated, "node(s) had untolerated taint(s)")


def untainted(snapshot: Snapshot, demand: Demand) -> Mask | None:
    """Return the rows whose taints the pod tolerates; None: all."""
    mask: Mask | None = None
    for taint in snapshot.taints:
        if taint.effect in _KEEPS_OFF and not tolerates(demand.tolerations, taint):
            if mask is None:
                mask = np.ones(snapshot.size, np.bool_)
            mask[snapshot.taints.rows(taint)] = False
    return mask
