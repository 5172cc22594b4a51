"""NodeName: a pod that names its node may be nowhere else."""

from __future__ import annotations

import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Plain, Ruling, Wake
from orch_scheduler.snapshot import Snapshot


class NodeName:
    """Refuses all nodes but the one of spec.nodeName."""

    name = "NodeName"
    wake = Wake.NODE_ADDED

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the one node."""
        if not demand.node_name:
            return None
        allowed = np.zeros(snapshot.size, np.bool_)
        row = snapshot.rows.get(demand.node_name)
        if row is not None:
            allowed[row] = True
        return Plain(allowed, "node(s) didn't match the requested node name")
