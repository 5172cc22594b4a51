"""NodeUnschedulable: a cordoned node takes only pods that tolerate its taint."""

from __future__ import annotations

from typing import Final

from orch.objects.cluster import Taint
from orch.objects.taints import tolerates
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Plain, Ruling, Wake
from orch_scheduler.snapshot import Snapshot

_TAINT: Final = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable:
    """Refuses nodes with spec.unschedulable."""

    name = "NodeUnschedulable"
    wake = Wake.NODE_ADDED | Wake.NODE_TAINTS

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes that are not cordoned."""
        if not snapshot.unschedulable.any() or tolerates(demand.tolerations, _TAINT):
            return None
        return Plain(~snapshot.unschedulable, "node(s) were unschedulable")
