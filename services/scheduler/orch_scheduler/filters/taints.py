"""TaintToleration: a node's NoSchedule and NoExecute taints must be tolerated."""

from __future__ import annotations

from typing import Final

import numpy as np

from orch.objects.taints import tolerates
from orch_scheduler.columns import Mask, Rows, Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake

_KEEPS_OFF: Final = frozenset({"NoSchedule", "NoExecute"})


class TaintToleration:
    """Refuses nodes with a taint that the pod does not tolerate."""

    name = "TaintToleration"
    wake = Wake.NODE_ADDED | Wake.NODE_TAINTS

    def allowed(self, snapshot: Snapshot, demand: Demand) -> Mask | None:
        """Return the nodes without an intolerable taint."""
        refused: Mask | None = None
        for taint in snapshot.taints:
            if taint.effect in _KEEPS_OFF and not tolerates(demand.tolerations, taint):
                mask = snapshot.taints.mask(taint, snapshot.size)
                refused = mask if refused is None else refused | mask
        return None if refused is None else np.logical_not(refused)

    def reasons(self, snapshot: Snapshot, demand: Demand, rows: Rows) -> dict[str, int]:
        """Return the words for each row's first taint, by key, that is not tolerated."""
        counted: dict[str, int] = {}
        for taint in sorted(snapshot.taints, key=lambda taint: (taint.key, taint.value)):
            if taint.effect not in _KEEPS_OFF or tolerates(demand.tolerations, taint):
                continue
            tainted = snapshot.taints.mask(taint, snapshot.size)[rows]
            if tainted.any():
                reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
                counted[reason] = counted.get(reason, 0) + int(tainted.sum())
                rows = rows[~tainted]
        return counted
