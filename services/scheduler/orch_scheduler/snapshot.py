"""The cluster at one moment, as the engine decides on it; nothing writes to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from orch.objects.cluster import Taint
from orch_scheduler.demand import Demand
from orch_scheduler.index import Mask, RowIndex, Topologies
from orch_scheduler.neighbours import Neighbours, Planned
from orch_scheduler.storage import Storage
from orch_scheduler.terms import NamespaceLabels
from orch_scheduler.workloads import Workloads

Amounts = NDArray[np.int64]


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A pod that is counted on a node. `started`: status.startTime, empty while it has not begun."""

    uid: str
    demand: Demand
    priority: int
    started: str


class Snapshot(msgspec.Struct, frozen=True):
    """The cluster at one moment. Arrays have one entry (or row) a node; rows without a node are not `live`.

    `allocatable` and `requested`: [row, resource] in the units of `requests.amount`; `non_zero`: [row, (cpu, memory)]
    with defaults assumed; `marks`: a number a node, by its name. Everything that is not an array or a tuple is the live
    one: a plan is made without yielding to the event loop, so it stands still while it is.
    """

    names: tuple[str, ...]
    live: Mask
    unschedulable: Mask
    marks: NDArray[np.uint64]
    allocatable: Amounts
    requested: Amounts
    non_zero: Amounts
    resources: Mapping[str, int]
    topologies: Topologies
    taints: RowIndex[Taint]
    images: RowIndex[str]
    image_sizes: Mapping[str, int]
    rows: Mapping[str, int]
    node_labels: Sequence[Mapping[str, str]]
    neighbours: Neighbours | Planned
    namespaces: NamespaceLabels
    workloads: Workloads
    storage: Storage
    placed: Sequence[Mapping[str, Placed]]
    nodes: int
    revision: int

    def pods_on(self, row: int) -> tuple[Placed, ...]:
        """Return the pods that are counted on a row, in the order in which they came."""
        return tuple(self.placed[row].values())

    @property
    def size(self) -> int:
        """How many rows there are, live or not."""
        return len(self.names)

    def vector(self, demand: Demand) -> Amounts | None:
        """Return the demand as one row of `allocatable`; None when no node has a resource that it asks for."""
        vector = np.zeros(self.allocatable.shape[1], np.int64)
        for resource, value in demand.requests.items():
            column = self.resources.get(resource)
            if column is None:
                return None
            vector[column] = value
        return vector

    def planned(self) -> Snapshot:
        """Return a copy in which placements can be counted."""
        return msgspec.structs.replace(
            self,
            requested=self.requested.copy(),
            non_zero=self.non_zero.copy(),
            neighbours=self.neighbours.planned(),
        )

    def count(self, demand: Demand, row: int, count: int = 1) -> None:
        """Count pods more, or fewer, on a row of what `planned` returned."""
        for resource, value in demand.requests.items():
            column = self.resources.get(resource)
            if column is not None:
                self.requested[row, column] += count * value
        self.non_zero[row, 0] += count * demand.non_zero[0]
        self.non_zero[row, 1] += count * demand.non_zero[1]
        self.neighbours.add(demand, row, count)

    def less(self, row: int, uids: Collection[str]) -> Snapshot:
        """Return the snapshot as it would be were these pods of a row gone."""
        left = self.planned()
        for pod in self.pods_on(row):
            if pod.uid in uids:
                left.count(pod.demand, row, -1)
        return left
