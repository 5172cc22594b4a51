"""The cluster as columns of numbers: one row a node, one column a resource, a label or a group of pods.

Informer events update the columns in place; a `Snapshot` is what the engine decides on, and nothing writes to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

import numpy as np

from orch.objects.cluster import ContainerImage, Node, Taint
from orch_scheduler.demand import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Demand
from orch_scheduler.disruptions import Budgets, Departures
from orch_scheduler.index import KeyT, Mask, RowIndex, Rows, Topologies
from orch_scheduler.neighbours import Neighbours
from orch_scheduler.requests import amounts
from orch_scheduler.snapshot import Amounts, Placed, Snapshot
from orch_scheduler.storage import Storage
from orch_scheduler.workloads import Workloads

__all__ = ["CPU_COLUMN", "MEMORY_COLUMN", "Amounts", "Columns", "Mask", "Placed", "Rows", "Snapshot"]

FIRST_RESOURCES: Final = (CPU, MEMORY, EPHEMERAL_STORAGE, PODS)
CPU_COLUMN, MEMORY_COLUMN = 0, 1

_FIRST_ROWS: Final = 64


class Columns:
    """The live columns. Not safe for threads; the scheduler's loop owns them."""

    def __init__(self) -> None:
        self.workloads = Workloads()
        self.storage = Storage()
        self.budgets = Budgets()
        self.departures = Departures()
        self._resources: dict[str, int] = {name: column for column, name in enumerate(FIRST_RESOURCES)}
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        self._live = np.zeros(_FIRST_ROWS, np.bool_)
        self._unschedulable = np.zeros(_FIRST_ROWS, np.bool_)
        self._marks = np.zeros(_FIRST_ROWS, np.uint64)
        self._allocatable = np.zeros((_FIRST_ROWS, len(FIRST_RESOURCES)), np.int64)
        self._requested = np.zeros((_FIRST_ROWS, len(FIRST_RESOURCES)), np.int64)
        self._non_zero = np.zeros((_FIRST_ROWS, 2), np.int64)
        self._shown: Snapshot | None = None  # whose arrays of nodes are these, until a node changes
        self._taints: RowIndex[Taint] = RowIndex()
        self._images: RowIndex[str] = RowIndex()
        self._image_sizes: dict[str, int] = {}
        self._row_labels: list[Mapping[str, str]] = []
        self._row_taints: list[tuple[Taint, ...]] = []
        self._row_images: list[tuple[str, ...]] = []
        self._topologies = Topologies(self._row_labels)
        self._nodes_of: dict[str, str] = {}  # uid → node
        self._placed: list[dict[str, Placed]] = []
        self._versions: list[int] = []
        self._waiting: dict[str, dict[str, Placed]] = {}  # node not known yet → uid → pod
        self._waits_for: dict[str, str] = {}  # uid → that node
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._neighbours = Neighbours(self._namespaces)
        self._revision = 0
        self._topologies.grow(_FIRST_ROWS)
        self._neighbours.grow(_FIRST_ROWS)

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._rows)

    @property
    def rows(self) -> int:
        """How many rows there are, with a node or without."""
        return len(self._names)

    @property
    def revision(self) -> int:
        """Up to which version of the cluster the columns go."""
        return self._revision

    @property
    def width(self) -> int:
        """How many columns of resources there are."""
        return len(self._resources)

    def set_node(self, node: Node) -> None:
        """Add a node or take over its new state. Raises ValueError for a quantity that cannot be read."""
        name = node.metadata.name
        given = amounts(node.status.allocatable)
        self._detach()
        row = self._rows.get(name)
        if row is None:
            row = self._new_row(name)
        for resource in given:
            self._column(resource)
        self._allocatable[row] = 0
        for resource, value in given.items():
            self._allocatable[row, self._resources[resource]] = value
        self._live[row] = True
        self._unschedulable[row] = node.spec.unschedulable
        self._set_labels(row, node.metadata.labels)
        self._set_taints(row, node.spec.taints)
        self._set_images(row, node.status.images)
        for uid, pod in self._waiting.pop(name, {}).items():
            del self._waits_for[uid]
            self._count(pod, row)
            self._nodes_of[uid] = name

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods count again if it returns before they are gone."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        self._detach()
        pods, self._placed[row] = self._placed[row], {}
        self._versions[row] += 1
        for uid, pod in pods.items():
            del self._nodes_of[uid]
            self._neighbours.add(pod.demand, row, -1)
            if pod.demand.claims:
                self.storage.count(row, pod.demand, -1)
            self._wait(pod, name)
        self._set_labels(row, {})
        self._set_taints(row, ())
        self._set_images(row, ())
        self._live[row] = False
        self._unschedulable[row] = False
        self._allocatable[row] = 0
        self._requested[row] = 0
        self._non_zero[row] = 0
        self._names[row] = ""
        self._free.append(row)

    def place(self, uid: str, node: str, demand: Demand, started: str = "") -> None:
        """Count a pod on a node; placing it again as it is where it is changes nothing."""
        pod = Placed(uid, demand, demand.priority, started)
        known = self._nodes_of.get(uid)
        row = self._rows.get(node)
        if known is not None:
            if known == node and row is not None and self._placed[row][uid].demand is demand:
                self._placed[row][uid] = pod
                self._versions[row] += 1
                return
            self.remove(uid)
        if row is None:
            self._wait(pod, node)
            return
        self._unwait(uid)
        self._nodes_of[uid] = node
        self._count(pod, row)

    def remove(self, uid: str) -> bool:
        """Stop counting a pod; return whether it was counted."""
        known = self._nodes_of.pop(uid, None)
        if known is None:
            self._unwait(uid)
            return False
        row = self._rows[known]
        self._add(row, self._placed[row].pop(uid).demand, -1)
        return True

    def pods_on(self, row: int) -> tuple[Placed, ...]:
        """Return the pods that are counted on a row now."""
        return tuple(self._placed[row].values())

    def free(self, row: int) -> tuple[int, ...]:
        """Return what a row has free now, by column; negative where it is overcommitted."""
        left: list[int] = (self._allocatable[row] - self._requested[row]).tolist()
        return tuple(left)

    def free_of(self, rows: Rows) -> Amounts:
        """Return what each of these rows has free now: [row, column]."""
        left: Amounts = self._allocatable[rows] - self._requested[rows]
        return left

    def version(self, row: int) -> int:
        """Return a number that changes whenever the pods of a row do."""
        return self._versions[row]

    def node_of(self, uid: str) -> str:
        """Return the node on which a pod is counted, "" for none."""
        return self._nodes_of.get(uid, "")

    def row_of(self, node: str) -> int | None:
        """Return a node's row."""
        return self._rows.get(node)

    def amounts(self, demand: Demand) -> tuple[int, ...]:
        """Return what such a pod takes, by column."""
        taken = [0] * len(self._resources)
        for resource, value in demand.requests.items():
            column = self._resources.get(resource)
            if column is not None:
                taken[column] = value
        return tuple(taken)

    def needed(self, demand: Demand) -> tuple[tuple[int, int], ...] | None:
        """Return the columns that the demand asks something of, with how much; None: no node has such a resource."""
        asked = [(self._resources.get(resource), value) for resource, value in demand.requests.items() if value]
        found = tuple((column, value) for column, value in asked if column is not None)
        return found if len(found) == len(asked) else None

    def room(self, node: str, demand: Demand) -> bool:
        """Return whether a node has what the demand requests free now."""
        row, needed = self._rows.get(node), self.needed(demand)
        if row is None or needed is None:
            return False
        free = self.free(row)
        return all(free[column] >= value for column, value in needed)

    def seen(self, revision: int) -> None:
        """Remember up to which version of the cluster the columns go."""
        self._revision = max(self._revision, revision)

    def snapshot(self) -> Snapshot:
        """Return the columns as they are now."""
        size = len(self._names)
        shown = self._shown
        self._shown = Snapshot(
            names=shown.names if shown else tuple(self._names),
            live=shown.live if shown else self._live[:size],
            unschedulable=shown.unschedulable if shown else self._unschedulable[:size],
            marks=shown.marks if shown else self._marks[:size],
            allocatable=shown.allocatable if shown else self._allocatable[:size],
            requested=self._requested[:size].copy(),
            non_zero=self._non_zero[:size].copy(),
            resources=shown.resources if shown else dict(self._resources),
            topologies=self._topologies,
            taints=self._taints,
            images=self._images,
            image_sizes=self._image_sizes,
            rows=self._rows,
            node_labels=self._row_labels,
            neighbours=self._neighbours,
            namespaces=self._namespaces,
            workloads=self.workloads,
            storage=self.storage,
            placed=self._placed,
            nodes=len(self._rows),
            revision=self._revision,
        )
        return self._shown

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Remember a namespace's labels; None when it is gone."""
        if self._namespaces.get(name) == labels:
            return
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        self._neighbours.relabelled()

    def _detach(self) -> None:
        """Leave the arrays of nodes to the snapshots that have them, and go on with copies."""
        if self._shown is not None:
            self._live = self._live.copy()
            self._unschedulable = self._unschedulable.copy()
            self._marks = self._marks.copy()
            self._allocatable = self._allocatable.copy()
            self._shown = None

    def _wait(self, pod: Placed, node: str) -> None:
        self._unwait(pod.uid)
        self._waiting.setdefault(node, {})[pod.uid] = pod
        self._waits_for[pod.uid] = node

    def _unwait(self, uid: str) -> None:
        node = self._waits_for.pop(uid, None)
        if node is not None:
            del self._waiting[node][uid]
            if not self._waiting[node]:
                del self._waiting[node]

    def _count(self, pod: Placed, row: int) -> None:
        self._placed[row][pod.uid] = pod
        self._add(row, pod.demand, 1)

    def _add(self, row: int, demand: Demand, sign: int) -> None:
        for resource, value in demand.requests.items():
            column = self._column(resource)
            self._requested[row, column] += sign * value
        self._non_zero[row, 0] += sign * demand.non_zero[0]
        self._non_zero[row, 1] += sign * demand.non_zero[1]
        self._neighbours.add(demand, row, sign)
        if demand.claims:
            self.storage.count(row, demand, sign)
        self._versions[row] += 1

    def _column(self, resource: str) -> int:
        column = self._resources.get(resource)
        if column is None:
            self._detach()
            column = self._resources[resource] = len(self._resources)
            self._allocatable = np.pad(self._allocatable, ((0, 0), (0, 1)))
            self._requested = np.pad(self._requested, ((0, 0), (0, 1)))
        return column

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self._names[row] = name
        else:
            row = len(self._names)
            self._names.append(name)
            self._row_labels.append({})
            self._row_taints.append(())
            self._row_images.append(())
            self._placed.append({})
            self._versions.append(0)
            if row == len(self._live):
                self._grow()
        self._marks[row] = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        self._rows[name] = row
        return row

    def _grow(self) -> None:
        more = len(self._live)
        self._live = np.pad(self._live, (0, more))
        self._unschedulable = np.pad(self._unschedulable, (0, more))
        self._marks = np.pad(self._marks, (0, more))
        self._allocatable = np.pad(self._allocatable, ((0, more), (0, 0)))
        self._requested = np.pad(self._requested, ((0, more), (0, 0)))
        self._non_zero = np.pad(self._non_zero, ((0, more), (0, 0)))
        self._topologies.grow(2 * more)
        self._neighbours.grow(2 * more)

    def _set_labels(self, row: int, labels: Mapping[str, str]) -> None:
        old = self._row_labels[row]
        if old != labels:
            self._row_labels[row] = labels
            self._topologies.set(row, old, labels)

    def _set_taints(self, row: int, taints: tuple[Taint, ...]) -> None:
        plain = tuple(Taint(key=taint.key, value=taint.value, effect=taint.effect) for taint in taints)
        _reindex(self._taints, row, self._row_taints[row], plain)
        self._row_taints[row] = plain

    def _set_images(self, row: int, images: tuple[ContainerImage, ...]) -> None:
        for image in images:
            for name in image.names:
                self._image_sizes.setdefault(name, image.size_bytes)
        names = tuple(name for image in images for name in image.names)
        old, self._row_images[row] = self._row_images[row], names
        _reindex(self._images, row, old, names)
        for name in old:
            if not self._images.count(name):
                self._image_sizes.pop(name, None)


def _reindex(index: RowIndex[KeyT], row: int, old: Iterable[KeyT], new: Iterable[KeyT]) -> None:
    """Say of a row what it carries now and, of what it carried, what it no longer does."""
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    for key in before:
        if key not in after:
            index.discard(key, row)
    for key in after:
        if key not in before:
            index.add(key, row)
