"""Nominated pods: those for which room is being made on a node; for pods of lower priority they count there already.

A nominated pod is in the columns as a guest of its node, under a uid of its own. While a pod is planned, the guests of
lower priority and its own are put aside.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from typing import Final

import msgspec

from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demand
from orch_scheduler.waiting import Waiting

_GUEST: Final = "nominated/"


def guest_uid(uid: str) -> str:
    """Return the uid under which the columns count a pod before it is bound."""
    return _GUEST + uid


def is_guest(uid: str) -> bool:
    """Return whether this is no pod but a place kept for one."""
    return uid.startswith(_GUEST)


class Nomination(msgspec.Struct):
    """Room for a pod on a node. `awaited`: the uids of the pods that have yet to go from there."""

    uid: str
    node: str
    demand: Demand
    awaited: set[str]

    @property
    def priority(self) -> int:
        """The nominated pod's priority."""
        return self.demand.priority


class Nominations:
    """Who is nominated where; the columns are kept in step."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._by_uid: dict[str, Nomination] = {}
        self._by_node: dict[str, dict[str, Nomination]] = {}
        self._awaiting: dict[str, set[str]] = {}  # a pod that is to go → who waits for it

    def __len__(self) -> int:
        return len(self._by_uid)

    def get(self, uid: str) -> Nomination | None:
        """Return a pod's nomination."""
        return self._by_uid.get(uid)

    def on(self, node: str) -> Collection[Nomination]:
        """Return who is nominated on a node."""
        return self._by_node.get(node, {}).values()

    def add(self, uid: str, node: str, demand: Demand, awaited: Iterable[str]) -> Nomination:
        """Nominate a pod, instead of where it was nominated before."""
        self.drop(uid)
        made = Nomination(uid, node, demand, set(awaited))
        self._by_uid[uid] = made
        self._by_node.setdefault(node, {})[uid] = made
        for victim in made.awaited:
            self._awaiting.setdefault(victim, set()).add(uid)
        self._columns.place(guest_uid(uid), node, demand)
        return made

    def drop(self, uid: str) -> Nomination | None:
        """Take a pod's nomination from it, as when it is bound, gone, or displaced."""
        found = self._by_uid.pop(uid, None)
        if found is None:
            return None
        here = self._by_node[found.node]
        del here[uid]
        if not here:
            del self._by_node[found.node]
        for victim in found.awaited:
            self._forget_awaited(victim, uid)
        self._columns.remove(guest_uid(uid))
        return found

    def gone(self, victim: str) -> list[str]:
        """Take note that a pod has gone; return who was waiting for it and for no other any more."""
        free: list[str] = []
        for uid in self._awaiting.pop(victim, ()):
            waits = self._by_uid[uid]
            waits.awaited.discard(victim)
            if not waits.awaited:
                free.append(uid)
        return free

    @contextmanager
    def aside(self, pods: Iterable[Waiting], priority: int) -> Generator[None]:
        """Put these pods' own guests, and those of lower priority, aside within the context."""
        own = {pod.uid for pod in pods}
        hidden = [one for one in self._by_uid.values() if one.uid in own or one.priority < priority]
        for one in hidden:
            self._columns.remove(guest_uid(one.uid))
        try:
            yield
        finally:
            for one in hidden:
                if self._by_uid.get(one.uid) is one:
                    self._columns.place(guest_uid(one.uid), one.node, one.demand)

    def _forget_awaited(self, victim: str, uid: str) -> None:
        waiting = self._awaiting.get(victim)
        if waiting is not None:
            waiting.discard(uid)
            if not waiting:
                del self._awaiting[victim]
