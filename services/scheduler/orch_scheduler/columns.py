"""The cluster as columns of numbers: one row a node, one column a resource, a label or a taint.

Informer events update the columns in place; a `Snapshot` is what the engine decides on, and nothing writes to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from orch.objects.cluster import Node, Taint
from orch_scheduler.demand import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Demand, amount
from orch_scheduler.neighbours import Neighbours
from orch_scheduler.terms import NamespaceLabels

KeyT = TypeVar("KeyT")


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A pod that is counted on a node. `started`: status.startTime, empty while it has not begun."""

    uid: str
    demand: Demand
    priority: int
    started: str


Amounts = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

FIRST_RESOURCES: Final = (CPU, MEMORY, EPHEMERAL_STORAGE, PODS)
CPU_COLUMN, MEMORY_COLUMN = 0, 1

_FIRST_ROWS: Final = 64


class RowIndex(Generic[KeyT]):
    """Which rows carry a label, a label's key or a taint: sparse, since most labels are on few nodes."""

    def __init__(self) -> None:
        self._rows: dict[KeyT, set[int]] = {}

    def __iter__(self) -> Iterator[KeyT]:
        return iter(self._rows)

    def mask(self, key: KeyT, size: int) -> Mask:
        """Return the rows that carry `key` as a mask of `size` rows."""
        mask = np.zeros(size, np.bool_)
        rows = self._rows.get(key)
        if rows:
            mask[np.fromiter(rows, np.int64, len(rows))] = True
        return mask

    def add(self, key: KeyT, row: int) -> None:
        """Say that a row carries `key`."""
        self._rows.setdefault(key, set()).add(row)

    def discard(self, key: KeyT, row: int) -> None:
        """Say that a row no longer carries `key`."""
        rows = self._rows.get(key)
        if rows is not None:
            rows.discard(row)
            if not rows:
                del self._rows[key]


class Snapshot(msgspec.Struct, frozen=True):
    """The cluster at one moment. Arrays have one entry (or row) a node; rows without a node are not `live`.

    `allocatable` and `requested`: [row, resource] in the units of `demand.amount`; `non_zero`: [row, (cpu, memory)]
    with defaults assumed. The indexes are the live ones: a plan is made without yielding to the event loop, so they
    stand still while it is.
    """

    names: tuple[str, ...]
    live: Mask
    unschedulable: Mask
    allocatable: Amounts
    requested: Amounts
    non_zero: Amounts
    resources: Mapping[str, int]
    labels: RowIndex[tuple[str, str]]
    keys: RowIndex[str]
    taints: RowIndex[Taint]
    rows: Mapping[str, int]
    node_labels: Sequence[Mapping[str, str]]
    neighbours: Neighbours
    namespaces: NamespaceLabels
    placed: Sequence[Mapping[str, Placed]]
    revision: int

    def pods_on(self, row: int) -> tuple[Placed, ...]:
        """Return the pods that are counted on a row, in the order in which they came."""
        return tuple(self.placed[row].values())

    def less(self, row: int, uids: Collection[str]) -> Snapshot:
        """Return the snapshot as it would be were these pods of a row gone."""
        requested, non_zero, neighbours = self.requested.copy(), self.non_zero.copy(), self.neighbours.copied()
        for pod in self.pods_on(row):
            if pod.uid in uids:
                vector = self.vector(pod.demand)
                if vector is not None:
                    requested[row] -= vector
                non_zero[row] -= pod.demand.non_zero
                neighbours.remove(pod.demand, row)
        return msgspec.structs.replace(self, requested=requested, non_zero=non_zero, neighbours=neighbours)

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


class Columns:
    """The live columns. Not safe for threads; the scheduler's loop owns them."""

    def __init__(self) -> None:
        self._resources: dict[str, int] = {name: column for column, name in enumerate(FIRST_RESOURCES)}
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        self._live = np.zeros(_FIRST_ROWS, np.bool_)
        self._unschedulable = np.zeros(_FIRST_ROWS, np.bool_)
        self._allocatable = np.zeros((_FIRST_ROWS, len(FIRST_RESOURCES)), np.int64)
        self._requested = np.zeros((_FIRST_ROWS, len(FIRST_RESOURCES)), np.int64)
        self._non_zero = np.zeros((_FIRST_ROWS, 2), np.int64)
        self._labels: RowIndex[tuple[str, str]] = RowIndex()
        self._keys: RowIndex[str] = RowIndex()
        self._taints: RowIndex[Taint] = RowIndex()
        self._row_labels: list[Mapping[str, str]] = []
        self._row_taints: list[tuple[Taint, ...]] = []
        self._nodes_of: dict[str, str] = {}  # uid → node
        self._placed: list[dict[str, Placed]] = []
        self._waiting: dict[str, dict[str, Placed]] = {}  # node not known yet → uid → pod
        self._revision = 0
        self._neighbours = Neighbours()
        self._namespaces: dict[str, Mapping[str, str]] = {}

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._rows)

    def set_node(self, node: Node) -> None:
        """Add a node or take over its new state. Raises ValueError for a quantity that cannot be read."""
        name = node.metadata.name
        amounts = {r: amount(r, text) for r, text in node.status.allocatable.items()}
        row = self._rows.get(name)
        if row is None:
            row = self._new_row(name)
        for resource in amounts:
            self._column(resource)
        self._allocatable[row] = 0
        for resource, value in amounts.items():
            self._allocatable[row, self._resources[resource]] = value
        self._live[row] = True
        self._unschedulable[row] = node.spec.unschedulable
        self._set_labels(row, node.metadata.labels)
        self._set_taints(row, node.spec.taints)
        for uid, pod in self._waiting.pop(name, {}).items():
            self._count(pod, row)
            self._nodes_of[uid] = name

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods count again if it returns before they are gone."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        self._set_labels(row, {})
        self._set_taints(row, ())
        self._live[row] = False
        self._allocatable[row] = 0
        self._requested[row] = 0
        self._non_zero[row] = 0
        self._names[row] = ""
        self._free.append(row)
        pods, self._placed[row] = self._placed[row], {}
        for uid, pod in pods.items():
            del self._nodes_of[uid]
            self._neighbours.remove(pod.demand, row)
            self._waiting.setdefault(name, {})[uid] = pod

    def place(self, uid: str, node: str, demand: Demand, started: str = "") -> None:
        """Count a pod on a node; placing it again as it is where it is changes nothing."""
        pod = Placed(uid, demand, demand.priority, started)
        known = self._nodes_of.get(uid)
        row = self._rows.get(node)
        if known is not None:
            if known == node and row is not None and self._placed[row][uid].demand is demand:
                self._placed[row][uid] = pod
                return
            self.remove(uid)
        if row is None:
            self._waiting.setdefault(node, {})[uid] = pod
            return
        self._nodes_of[uid] = node
        self._count(pod, row)

    def remove(self, uid: str) -> bool:
        """Stop counting a pod; return whether it was counted."""
        known = self._nodes_of.pop(uid, None)
        if known is None:
            for node, pods in self._waiting.items():
                if pods.pop(uid, None) is not None:
                    if not pods:
                        del self._waiting[node]
                    break
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

    def _count(self, pod: Placed, row: int) -> None:
        self._placed[row][pod.uid] = pod
        self._add(row, pod.demand, 1)

    def snapshot(self) -> Snapshot:
        """Return the columns as they are now."""
        size = len(self._names)
        return Snapshot(
            names=tuple(self._names),
            live=self._live[:size].copy(),
            unschedulable=self._unschedulable[:size].copy(),
            allocatable=self._allocatable[:size].copy(),
            requested=self._requested[:size].copy(),
            non_zero=self._non_zero[:size].copy(),
            resources=dict(self._resources),
            labels=self._labels,
            keys=self._keys,
            taints=self._taints,
            rows=self._rows,
            node_labels=self._row_labels,
            neighbours=self._neighbours,
            namespaces=self._namespaces,
            placed=self._placed,
            revision=self._revision,
        )

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Remember a namespace's labels; None when it is gone."""
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels

    def _add(self, row: int, demand: Demand, sign: int) -> None:
        for resource, value in demand.requests.items():
            column = self._column(resource)
            self._requested[row, column] += sign * value
        self._non_zero[row, 0] += sign * demand.non_zero[0]
        self._non_zero[row, 1] += sign * demand.non_zero[1]
        if sign > 0:
            self._neighbours.add(demand, row)
        else:
            self._neighbours.remove(demand, row)

    def _column(self, resource: str) -> int:
        column = self._resources.get(resource)
        if column is None:
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
            self._placed.append({})
            if row == len(self._live):
                self._grow()
        self._rows[name] = row
        return row

    def _grow(self) -> None:
        more = len(self._live)
        self._live = np.pad(self._live, (0, more))
        self._unschedulable = np.pad(self._unschedulable, (0, more))
        self._allocatable = np.pad(self._allocatable, ((0, more), (0, 0)))
        self._requested = np.pad(self._requested, ((0, more), (0, 0)))
        self._non_zero = np.pad(self._non_zero, ((0, more), (0, 0)))

    def _set_labels(self, row: int, labels: Mapping[str, str]) -> None:
        old = self._row_labels[row]
        if old == labels:
            return
        for pair in old.items() - labels.items():
            self._labels.discard(pair, row)
        for pair in labels.items() - old.items():
            self._labels.add(pair, row)
        for key in old.keys() - labels.keys():
            self._keys.discard(key, row)
        for key in labels.keys() - old.keys():
            self._keys.add(key, row)
        self._row_labels[row] = labels

    def _set_taints(self, row: int, taints: tuple[Taint, ...]) -> None:
        plain = tuple(Taint(key=taint.key, value=taint.value, effect=taint.effect) for taint in taints)
        if plain == self._row_taints[row]:
            return
        for taint in set(self._row_taints[row]) - set(plain):
            self._taints.discard(taint, row)
        for taint in set(plain) - set(self._row_taints[row]):
            self._taints.add(taint, row)
        self._row_taints[row] = plain
