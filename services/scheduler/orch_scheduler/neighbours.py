"""Who is where: the classes of pods that the nodes have, and a column of counts for each group that is asked for.

A column is made when a rule first asks for it and kept up to date from then on; of very many, those are kept that were
asked for last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.terms import Anchor, Group, Held, NamespaceLabels, anchors

Counts = NDArray[np.int32]
Counted = Group | Held
"""What has a column: the pods of a group, or those that hold a term."""

KeyT = TypeVar("KeyT")
MemberT = TypeVar("MemberT")

_ANYWHERE: Final = ""
_NONE: Final[Mapping[Held, None]] = {}
_COLUMN_BYTES: Final = 64 * 1024 * 1024
"""How much memory the columns take at most; 64 are kept in any case."""
_REMEMBERED: Final = 16384


class _Column:
    """How many pods of a group each row has."""

    __slots__ = ("counts", "key", "members")

    def __init__(self, key: Counted, capacity: int) -> None:
        self.key = key
        self.counts: Counts = np.zeros(capacity, np.int32)
        self.members: dict[Demand, None] = {}


class _Class:
    """Where the pods of a class are, and the columns that count them."""

    __slots__ = ("columns", "rows")

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.columns: dict[_Column, None] = {}


class Neighbours:
    """How many pods of which class the rows have."""

    def __init__(self, namespaces: NamespaceLabels) -> None:
        self._namespaces = namespaces
        self._capacity = 0
        self._classes: dict[Demand, _Class] = {}
        self._classes_in: dict[str, dict[Demand, None]] = {}
        self._classes_at: dict[Anchor, dict[Demand, None]] = {}
        self._columns: dict[Counted, _Column] = {}
        self._anchored: dict[Anchor, dict[_Column, None]] = {}
        self._loose: dict[_Column, None] = {}
        self._held: dict[Held, dict[Demand, None]] = {}
        self._held_in: dict[Anchor | str, dict[Held, None]] = {}
        self._ports: dict[int, dict[Demand, None]] = {}
        self._claims: dict[tuple[str, str], dict[Demand, None]] = {}
        self._version = 0
        self._holders: dict[Demand, tuple[int, tuple[Held, ...]]] = {}

    def add(self, demand: Demand, row: int, count: int = 1) -> None:
        """Count pods more, or less when `count` is negative."""
        found = self._classes.get(demand)
        if found is None:
            found = self._enter(demand)
        rows = found.rows
        rows[row] = rows.get(row, 0) + count
        for column in found.columns:
            column.counts[row] += count
        if not rows[row]:
            del rows[row]
            if not rows:
                self._leave(demand)

    def counts(self, key: Counted) -> Counts:
        """Return how many pods of a group, or with a term, each row has. Not to be written to."""
        column = self._columns.pop(key, None)
        if column is None:
            column = self._build(key)
            if len(self._columns) >= max(64, _COLUMN_BYTES // (4 * max(1, self._capacity))):
                self._drop(next(iter(self._columns)))
        self._columns[key] = column
        return column.counts

    def holders(self, demand: Demand) -> tuple[Held, ...]:
        """Return what pods hold that means the demand."""
        known = self._holders.get(demand)
        if known is not None and known[0] == self._version:
            return known[1]
        if len(self._holders) >= _REMEMBERED:
            self._holders.clear()
        found: tuple[Held, ...] = ()
        if self._held_in:
            found = tuple(
                held
                for place in (demand.namespace, _ANYWHERE, *anchors(demand))
                for held in self._held_in.get(place, _NONE)
                if held.term.group.means(demand, self._namespaces)
            )
        self._holders[demand] = (self._version, found)
        return found

    def takers(self, port: int) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield the classes that take a port of that number, with their rows."""
        for demand in self._ports.get(port, ()):
            yield demand, self._classes[demand].rows

    def users(self, namespace: str, claim: str) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield the classes that use a claim, with their rows."""
        for demand in self._claims.get((namespace, claim), ()):
            yield demand, self._classes[demand].rows

    def any(self, key: Counted) -> bool:
        """Return whether a group has members, or a term is held, at all."""
        self.counts(key)
        return bool(self._columns[key].members)

    def classes(self) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield every class with how many pods of it the rows have."""
        for demand, found in self._classes.items():
            yield demand, found.rows

    def planned(self) -> Planned:
        """Return what can be added to without changing this one."""
        return Planned(self, self._namespaces, self._capacity)

    def grow(self, capacity: int) -> None:
        """Make room for more rows."""
        self._capacity = capacity
        for column in self._columns.values():
            column.counts = np.pad(column.counts, (0, capacity - len(column.counts)))

    def relabelled(self) -> None:
        """Forget what depends on the labels of namespaces: some have changed."""
        for key in [key for key in self._columns if isinstance(key, Group) and key.open]:
            self._drop(key)
        self._version += 1

    def _enter(self, demand: Demand) -> _Class:
        found = self._classes[demand] = _Class()
        self._classes_in.setdefault(demand.namespace, {})[demand] = None
        columns = [self._loose]
        for anchor in anchors(demand):
            self._classes_at.setdefault(anchor, {})[demand] = None
            if anchor in self._anchored:
                columns.append(self._anchored[anchor])
        for column in (column for some in columns for column in some):
            if self._counts(column.key, demand):
                self._join(column, demand, found)
        for held in demand.held:
            holding = self._held.get(held)
            if holding is None:
                holding = self._held[held] = {}
                self._version += 1
                for place in _places(held):
                    self._held_in.setdefault(place, {})[held] = None
            holding[demand] = None
            if held in self._columns:
                self._join(self._columns[held], demand, found)
        for port in demand.ports:
            self._ports.setdefault(port.number, {})[demand] = None
        for claim in demand.claims:
            self._claims.setdefault((demand.namespace, claim.name), {})[demand] = None
        return found

    def _join(self, column: _Column, demand: Demand, found: _Class) -> None:
        found.columns[column] = None
        column.members[demand] = None

    def _leave(self, demand: Demand) -> None:
        found = self._classes.pop(demand)
        _discard(self._classes_in, demand.namespace, demand)
        for anchor in anchors(demand):
            _discard(self._classes_at, anchor, demand)
        for column in found.columns:
            del column.members[demand]
        for held in dict.fromkeys(demand.held):
            _discard(self._held, held, demand)
            if held not in self._held:
                self._version += 1
                for place in _places(held):
                    _discard(self._held_in, place, held)
        for port in demand.ports:
            _discard(self._ports, port.number, demand)
        for claim in demand.claims:
            _discard(self._claims, (demand.namespace, claim.name), demand)

    def _counts(self, key: Counted, demand: Demand) -> bool:
        if isinstance(key, Held):
            return key in demand.held
        closed = key.closed
        return (closed is None or demand.namespace in closed) and key.means(demand, self._namespaces)

    def _build(self, key: Counted) -> _Column:
        column = _Column(key, self._capacity)
        if isinstance(key, Group):
            if key.anchor is not None:
                self._anchored.setdefault(key.anchor, {})[column] = None
            else:
                self._loose[column] = None
        for demand in self._candidates(key):
            if self._counts(key, demand):
                found = self._classes[demand]
                self._join(column, demand, found)
                for row, count in found.rows.items():
                    column.counts[row] += count
        return column

    def _candidates(self, key: Counted) -> Iterator[Demand]:
        if isinstance(key, Held):
            yield from self._held.get(key, ())
            return
        if key.anchor is not None:
            yield from self._classes_at.get(key.anchor, ())
            return
        closed = key.closed
        if closed is None:
            yield from self._classes
            return
        for namespace in sorted(closed):
            yield from self._classes_in.get(namespace, ())

    def _drop(self, key: Counted) -> None:
        column = self._columns.pop(key)
        if isinstance(key, Group):
            if key.anchor is not None:
                _discard(self._anchored, key.anchor, column)
            else:
                del self._loose[column]
        for demand in column.members:
            del self._classes[demand].columns[column]


class Planned:
    """The neighbours as they would be with the placements of a plan; the ones below stay as they are."""

    def __init__(self, base: Neighbours | Planned, namespaces: NamespaceLabels, capacity: int) -> None:
        self._base = base
        self._namespaces = namespaces
        self._capacity = capacity
        self._more = Neighbours(namespaces)
        self._more.grow(capacity)

    def add(self, demand: Demand, row: int, count: int = 1) -> None:
        """Count pods more, or less when `count` is negative."""
        self._more.add(demand, row, count)

    def counts(self, key: Counted) -> Counts:
        """Return how many pods of a group, or with a term, each row has. Not to be written to."""
        counts = self._base.counts(key)
        return counts + self._more.counts(key) if self._more.any(key) else counts

    def holders(self, demand: Demand) -> tuple[Held, ...]:
        """Return what pods hold that means the demand."""
        below, more = self._base.holders(demand), self._more.holders(demand)
        return tuple(dict.fromkeys((*below, *more))) if more else below

    def takers(self, port: int) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield the classes that take a port of that number, with their rows."""
        return _joined(self._base.takers(port), self._more.takers(port))

    def users(self, namespace: str, claim: str) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield the classes that use a claim, with their rows."""
        return _joined(self._base.users(namespace, claim), self._more.users(namespace, claim))

    def changes(self) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield the classes of the plan, with how many more, or less, the rows have."""
        if isinstance(self._base, Planned):
            yield from self._base.changes()
        yield from self._more.classes()

    def planned(self) -> Planned:
        """Return what can be added to without changing this one."""
        return Planned(self, self._namespaces, self._capacity)


def _joined(
    below: Iterable[tuple[Demand, Mapping[int, int]]], more: Iterable[tuple[Demand, Mapping[int, int]]]
) -> Iterator[tuple[Demand, Mapping[int, int]]]:
    """Yield every class once, with the rows that have some of it."""
    above = dict(more)
    for demand, rows in below:
        changed = above.pop(demand, None)
        if changed is None:
            yield demand, rows
            continue
        left = {row: rows.get(row, 0) + changed.get(row, 0) for row in (*rows, *changed)}
        yield demand, {row: count for row, count in left.items() if count > 0}
    for demand, rows in above.items():
        yield demand, {row: count for row, count in rows.items() if count > 0}


def _places(held: Held) -> Iterable[Anchor | str]:
    """Return where a term is looked for by those whom it may mean: by a label, a namespace, or anywhere."""
    group = held.term.group
    return (group.anchor,) if group.anchor is not None else group.closed or (_ANYWHERE,)


def _discard(members: dict[KeyT, dict[MemberT, None]], key: KeyT, member: MemberT) -> None:
    """Take a member out; a key without members goes as well."""
    found = members.get(key)
    if found is not None:
        found.pop(member, None)
        if not found:
            del members[key]
