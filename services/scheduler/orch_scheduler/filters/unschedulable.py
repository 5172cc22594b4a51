"""NodeUnschedulable: a cordoned node takes only pods that tolerate its taint."""

from __future__ import annotations

from typing import Final

from orch.objects.cluster import Taint
from orch.objects.taints import tolerates
from orch_scheduler.columns import Mask, Rows, Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake

_TAINT: Final = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable:
    """Refuses nodes with spec.unschedulable."""

    name = "NodeUnschedulable"
    wake = Wake.NODE_ADDED | Wake.NODE_TAINTS

    def allowed(self, snapshot: Snapshot, demand: Demand) -> Mask | None:
        """Return the nodes that are not cordoned."""
        if not snapshot.unschedulable.any() or tolerates(demand.tolerations, _TAINT):
            return None
        return ~snapshot.unschedulable

    def reasons(self, snapshot: Snapshot, demand: Demand, rows: Rows) -> dict[str, int]:
        """Return kube-scheduler's words."""
        del snapshot, demand
        return {"node(s) were unschedulable": len(rows)}
