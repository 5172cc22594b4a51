"""Which rows carry something: taints, images, and the values of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

KeyT = TypeVar("KeyT")

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
Domains = NDArray[np.int32]

_REMEMBERED: Final = 1024
"""Labels of nodes whose values are kept as columns."""


class RowIndex(Generic[KeyT]):
    """Which rows carry a taint or an image: sparse, since most are on few nodes, or asked for rarely."""

    def __init__(self) -> None:
        self._rows: dict[KeyT, set[int]] = {}
        self._arrays: dict[KeyT, Rows] = {}

    def __iter__(self) -> Iterator[KeyT]:
        return iter(self._rows)

    def rows(self, key: KeyT) -> Rows:
        """Return the rows that carry `key`, in order."""
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = np.asarray(sorted(self._rows.get(key, ())), np.int64)
        return found

    def mask(self, key: KeyT, size: int) -> Mask:
        """Return the rows that carry `key` as a mask of `size` rows."""
        mask = np.zeros(size, np.bool_)
        if key in self._rows:
            mask[self.rows(key)] = True
        return mask

    def count(self, key: KeyT) -> int:
        """Return how many rows carry `key`."""
        return len(self._rows.get(key, ()))

    def add(self, key: KeyT, row: int) -> None:
        """Say that a row carries `key`."""
        self._rows.setdefault(key, set()).add(row)
        self._arrays.pop(key, None)

    def discard(self, key: KeyT, row: int) -> None:
        """Say that a row no longer carries `key`."""
        rows = self._rows.get(key)
        if rows is not None:
            rows.discard(row)
            self._arrays.pop(key, None)
            if not rows:
                del self._rows[key]


class Topology:
    """A label of nodes as a column: rows with the same value are one domain.

    `domains`: [row] → the domain, 0 where the label is missing. `sizes`: [domain] → how many rows it has.
    """

    def __init__(self, key: str, labels: Sequence[Mapping[str, str]], capacity: int) -> None:
        self.key = key
        self.domains: Domains = np.zeros(capacity, np.int32)
        self.sizes: list[int] = [0]
        self._values: dict[str, int] = {}
        self._names: list[str] = [""]
        self._free: list[int] = []
        for row, found in enumerate(labels):
            self.set(row, found.get(key))

    def __len__(self) -> int:
        """One more than the greatest domain."""
        return len(self.sizes)

    @property
    def values(self) -> Mapping[str, int]:
        """The domain of each value that a node has."""
        return self._values

    def domain(self, value: str) -> int:
        """Return the domain of a value, -1 when no node has it."""
        return self._values.get(value, -1)

    def set(self, row: int, value: str | None) -> None:
        """Take over a row's value, None when it has none."""
        old = int(self.domains[row])
        new = self._enter(value) if value is not None else 0
        if old == new:
            return
        self.domains[row] = new
        if new:
            self.sizes[new] += 1
        if old:
            self.sizes[old] -= 1
            if not self.sizes[old]:
                del self._values[self._names[old]]
                self._free.append(old)

    def grow(self, capacity: int) -> None:
        """Make room for more rows."""
        self.domains = np.pad(self.domains, (0, capacity - len(self.domains)))

    def _enter(self, value: str) -> int:
        found = self._values.get(value)
        if found is None:
            if self._free:
                found = self._free.pop()
                self._names[found] = value
            else:
                found = len(self.sizes)
                self.sizes.append(0)
                self._names.append(value)
            self._values[value] = found
        return found


class Topologies:
    """The columns of labels that rules asked for; of very many, those that were asked for last."""

    def __init__(self, labels: Sequence[Mapping[str, str]]) -> None:
        self._labels = labels
        self._capacity = 0
        self._known: dict[str, Topology] = {}

    def of(self, key: str) -> Topology:
        """Return the label's column."""
        found = self._known.pop(key, None)
        if found is None:
            found = Topology(key, self._labels, self._capacity)
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
        self._known[key] = found
        return found

    def set(self, row: int, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Take over a row's labels."""
        for key, topology in self._known.items():
            value = new.get(key)
            if value != old.get(key):
                topology.set(row, value)

    def grow(self, capacity: int) -> None:
        """Make room for more rows."""
        self._capacity = capacity
        for topology in self._known.values():
            topology.grow(capacity)
