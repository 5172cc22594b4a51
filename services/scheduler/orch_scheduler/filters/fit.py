"""NodeResourcesFit: what a pod requests must be free on the node."""

from __future__ import annotations

import numpy as np

from orch_scheduler.columns import Mask, Rows, Snapshot
from orch_scheduler.demand import PODS, Demand
from orch_scheduler.filters.protocol import Wake


class NodeResourcesFit:
    """Refuses nodes with too little of a resource that the pod requests."""

    name = "NodeResourcesFit"
    wake = Wake.NODE_ADDED | Wake.NODE_ALLOCATABLE | Wake.POD_REMOVED

    def allowed(self, snapshot: Snapshot, demand: Demand) -> Mask | None:
        """Return the nodes with room; a resource that is not requested may be overcommitted."""
        vector = snapshot.vector(demand)
        if vector is None:
            return np.zeros(snapshot.size, np.bool_)
        asked = np.flatnonzero(vector)
        free = snapshot.allocatable[:, asked] - snapshot.requested[:, asked]
        fits: Mask = np.all(free >= vector[asked], axis=1)
        return fits

    def reasons(self, snapshot: Snapshot, demand: Demand, rows: Rows) -> dict[str, int]:
        """Return a reason for each resource that is short: "Too many pods", then "Insufficient cpu"."""
        counted: dict[str, int] = {}
        for resource, value in sorted(demand.requests.items(), key=lambda item: (item[0] != PODS, item[0])):
            column = snapshot.resources.get(resource)
            short = len(rows)
            if column is not None:
                free = snapshot.allocatable[rows, column] - snapshot.requested[rows, column]
                short = int((free < value).sum())
            if short:
                counted["Too many pods" if resource == PODS else f"Insufficient {resource}"] = short
        return counted
