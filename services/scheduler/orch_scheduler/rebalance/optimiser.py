"""Finds moves. Pack: empty as many nodes as possible. Spread: even out what nodes have requested.

Every move is tried on the columns with the engine, so that all rules hold at every step, in the order of the moves.
Packing is greedy: a node is emptied when all its pods find room on those that stay in use; which node is tried first
decides much, so several orders are tried and the best is kept: most nodes freed, then fewest moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from orch.objects.cluster import Node
from orch_scheduler.columns import CPU_COLUMN, MEMORY_COLUMN, Columns
from orch_scheduler.demand import Demand
from orch_scheduler.engine import Engine
from orch_scheduler.rebalance.movable import Mobility

_EVEN_ENOUGH: Final = 0.01
"""A move must bring the fullest node at least so much nearer to the emptiest."""


class Move(msgspec.Struct, frozen=True):
    """A pod that leaves a node for another."""

    uid: str
    source: str
    target: str


class Found(msgspec.Struct, frozen=True):
    """A plan: `emptied` are the nodes that it frees; `empty` those that were empty of movable pods before."""

    moves: tuple[Move, ...] = ()
    emptied: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    stays: Mapping[str, str] = {}
    """Why nodes cannot be emptied, by name."""


def joined(moves: Sequence[Move]) -> tuple[Move, ...]:
    """Return moves of which none moves a pod again: it goes at once where it ends.

    That asks for no more room: what a node has free only becomes less until the node itself is emptied.
    """
    ends: dict[str, Move] = {}
    for move in moves:
        first = ends.get(move.uid)
        ends[move.uid] = move if first is None else Move(move.uid, first.source, move.target)
    return tuple(ends.values())


class _Resident(msgspec.Struct, frozen=True):
    uid: str
    demand: Demand
    size: float


class Optimiser:
    """Looks for moves on columns of its own; when a method returns, they are as the plan leaves them.

    `engine` decides where pods go: one that prefers full nodes for packing, the profile's own for spreading.
    """

    def __init__(
        self,
        columns: Columns,
        engine: Engine,
        nodes: Mapping[str, Node],
        pods: Mapping[str, Mobility],
        *,
        most_moves: int,
        chosen: Callable[[Node], bool] = lambda _: True,
    ) -> None:
        self._columns = columns
        self._engine = engine
        self._nodes = nodes
        self._pods = pods
        self._most_moves = most_moves
        self._chosen = {name for name, node in nodes.items() if chosen(node)}
        self._shut: set[str] = set()

    def pack(self) -> Found:
        """Return the moves that free the most nodes, of all orders that were tried."""
        residents, stays, empty = self._residents()
        for name in empty:
            self._shut_node(name)
        candidates = [name for name in residents if name not in stays and residents[name]]
        best, moved = Found(empty=tuple(empty), stays=stays), 0
        for order in self._orders(candidates, residents):
            moves, emptied, why = self._empty(order, residents)
            better = (len(emptied), -len(moves)) > (len(best.emptied), -moved)
            if better:
                moved = len(moves)
                best = Found(joined(moves), tuple(emptied), tuple(empty), {**stays, **why})
            elif not best.moves:
                best = msgspec.structs.replace(best, stays={**stays, **why})
            self._undo(moves, emptied, residents)
        for name in best.emptied:
            self._shut_node(name)
        for move in best.moves:
            self._apply(move, residents)
        return best

    def spread(self) -> Found:
        """Return the moves that bring the fullest nodes nearer to the emptiest, the most effective first."""
        residents, _, _ = self._residents()
        moves: list[Move] = []
        tried: set[str] = set()
        while len(moves) < self._most_moves:
            used = {name: share for name, share in self.shares().items() if name in self._chosen}
            fullest = max((name for name in used if name not in tried), key=lambda name: used[name], default=None)
            if fullest is None or len(used) < 2:
                break
            move = self._relieve(fullest, used, residents)
            if move is None:
                tried.add(fullest)
                continue
            tried.clear()
            moves.append(move)
        return Found(tuple(moves))

    def shares(self) -> dict[str, float]:
        """Return, for every node, the part of cpu or memory that is requested, whichever is more."""
        snapshot = self._columns.snapshot()
        columns = [CPU_COLUMN, MEMORY_COLUMN]
        capacity = np.maximum(snapshot.allocatable[:, columns], 1)
        used = (snapshot.requested[:, columns] / capacity).max(axis=1)
        return {name: float(used[row]) for name, row in snapshot.rows.items()}

    def _residents(self) -> tuple[dict[str, list[_Resident]], dict[str, str], list[str]]:
        """Return each node's movable pods, the largest first; why nodes cannot be emptied; which ones are empty."""
        snapshot = self._columns.snapshot()
        residents: dict[str, list[_Resident]] = {}
        stays: dict[str, str] = {}
        empty: list[str] = []
        for name, row in snapshot.rows.items():
            if name not in self._chosen:
                continue
            found: list[_Resident] = []
            for placed in snapshot.pods_on(row):
                known = self._pods.get(placed.uid)
                if known is not None and known.ignored:
                    continue
                if known is None:
                    stays.setdefault(name, "has a pod that came just now")
                elif known.stays:
                    stays.setdefault(name, f"{known.pod.full_name} {known.stays}")
                else:
                    found.append(_Resident(placed.uid, placed.demand, self._size(placed.demand, row)))
            residents[name] = sorted(found, key=lambda one: (-one.size, one.uid))
            if not found and name not in stays:
                empty.append(name)
        return residents, stays, empty

    def _size(self, demand: Demand, row: int) -> float:
        snapshot = self._columns.snapshot()
        vector = snapshot.vector(demand)
        if vector is None:
            return 1.0
        columns = [CPU_COLUMN, MEMORY_COLUMN]
        return float((vector[columns] / np.maximum(snapshot.allocatable[row, columns], 1)).max())

    def _orders(self, names: Sequence[str], residents: Mapping[str, Sequence[_Resident]]) -> list[list[str]]:
        """Return the orders in which nodes are tried: few pods first, little load first, small pods first."""
        used = self.shares()
        keys: tuple[Callable[[str], tuple[float, ...]], ...] = (
            lambda name: (len(residents[name]), used[name]),
            lambda name: (used[name], len(residents[name])),
            lambda name: (residents[name][0].size, used[name]),
            lambda name: (sum(one.size for one in residents[name]), len(residents[name])),
        )
        orders: list[list[str]] = []
        for key in keys:
            order = sorted(sorted(names), key=key)
            if order not in orders:
                orders.append(order)
        return orders

    def _empty(
        self, order: Sequence[str], residents: Mapping[str, Sequence[_Resident]]
    ) -> tuple[list[Move], list[str], dict[str, str]]:
        """Empty nodes one after another, as far as that goes."""
        moves: list[Move] = []
        emptied: list[str] = []
        why: dict[str, str] = {}
        arrived: dict[str, list[_Resident]] = {}
        for name in order:
            pods = sorted([*residents[name], *arrived.get(name, ())], key=lambda one: (-one.size, one.uid))
            if len(moves) + len(pods) > self._most_moves:
                why[name] = f"its {len(pods)} pods are more moves than are allowed"
                continue
            self._shut_node(name)
            made, left = self._move_all(name, pods)
            if left is not None:
                others = self._chosen - self._shut
                problem = "fits on no other node in use" if others else "has no other node to go to"
                why[name] = f"{self._pods[left.uid].pod.full_name} {problem}"
                self._take_back(made, pods)
                self._open_node(name)
                continue
            arrived.pop(name, None)
            for move, pod in zip(made, pods, strict=True):
                arrived.setdefault(move.target, []).append(pod)
            moves += made
            emptied.append(name)
        return moves, emptied, why

    def _move_all(self, source: str, pods: Sequence[_Resident]) -> tuple[list[Move], _Resident | None]:
        """Move pods off a node; return the moves, and the pod that found no place."""
        made: list[Move] = []
        for pod in pods:
            self._columns.remove(pod.uid)
            target = self._engine.plan(self._columns.snapshot(), [pod.demand])[0].node
            if not target or target in self._shut or target not in self._chosen:
                self._columns.place(pod.uid, source, pod.demand)
                return made, pod
            self._columns.place(pod.uid, target, pod.demand)
            made.append(Move(pod.uid, source, target))
        return made, None

    def _take_back(self, moves: Sequence[Move], pods: Sequence[_Resident]) -> None:
        demands = {pod.uid: pod.demand for pod in pods}
        for move in reversed(moves):
            self._columns.place(move.uid, move.source, demands[move.uid])

    def _undo(
        self, moves: Sequence[Move], emptied: Sequence[str], residents: Mapping[str, Sequence[_Resident]]
    ) -> None:
        self._take_back(moves, [pod for pods in residents.values() for pod in pods])
        for name in emptied:
            self._open_node(name)

    def _apply(self, move: Move, residents: Mapping[str, Sequence[_Resident]]) -> None:
        demand = next(pod.demand for pods in residents.values() for pod in pods if pod.uid == move.uid)
        self._columns.place(move.uid, move.target, demand)

    def _relieve(self, fullest: str, used: Mapping[str, float], residents: dict[str, list[_Resident]]) -> Move | None:
        """Move the pod off a node that evens out most; None when none does."""
        self._shut_node(fullest)
        try:
            best: tuple[float, _Resident, str] | None = None
            for pod in residents[fullest]:
                if best is not None and pod.size <= best[0]:
                    break  # smaller ones even out less
                self._columns.remove(pod.uid)
                target = self._engine.plan(self._columns.snapshot(), [pod.demand])[0].node
                self._columns.place(pod.uid, fullest, pod.demand)
                if not target or target not in self._chosen:
                    continue
                gain = min(used[fullest] - (used[target] + pod.size), pod.size)
                if gain > max(best[0] if best is not None else 0.0, _EVEN_ENOUGH):
                    best = gain, pod, target
        finally:
            self._open_node(fullest)
        if best is None:
            return None
        _, pod, target = best
        residents[fullest].remove(pod)
        residents[target].append(pod)
        residents[target].sort(key=lambda one: (-one.size, one.uid))
        self._columns.place(pod.uid, target, pod.demand)
        return Move(pod.uid, fullest, target)

    def _shut_node(self, name: str) -> None:
        """Cordon a node, in the columns only."""
        self._shut.add(name)
        node = self._nodes[name]
        self._columns.set_node(
            msgspec.structs.replace(node, spec=msgspec.structs.replace(node.spec, unschedulable=True))
        )

    def _open_node(self, name: str) -> None:
        self._shut.discard(name)
        self._columns.set_node(self._nodes[name])
