"""TaintToleration: a node's NoSchedule and NoExecute taints must be tolerated."""

from __future__ import annotations

from typing import Final

import numpy as np

from orch.objects.taints import tolerates
from orch_scheduler.columns import Mask, Snapshot
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

    def reasons(self, snapshot: Snapshot, demand: Demand, row: int) -> tuple[str, ...]:
        """Return the words for the first taint, by key, that is not tolerated."""
        for taint in sorted(snapshot.taints, key=lambda taint: (taint.key, taint.value)):
            if taint.effect not in _KEEPS_OFF or tolerates(demand.tolerations, taint):
                continue
            if snapshot.taints.mask(taint, snapshot.size)[row]:
                return (f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",)
        return ()
