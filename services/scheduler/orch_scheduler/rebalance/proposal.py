"""A plan as `orch rebalance` shows and carries it out, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from orch.objects.meta import View
from orch.objects.policy import DisruptionBudget
from orch.selectors import parse_label_selector
from orch_scheduler.columns import CPU_COLUMN, MEMORY_COLUMN, Columns
from orch_scheduler.engine import Engine
from orch_scheduler.rebalance.movable import Budgets, MovingPod, mobility
from orch_scheduler.rebalance.optimiser import Found, Optimiser
from orch_scheduler.replay.recompute import JournalError, Replay
from orch_scheduler.scores.fit import MostAllocated

Goal = Literal["pack", "spread"]


class Request(View, frozen=True):
    """What to plan. `selector` chooses the nodes that take part; `delete_local` lets emptyDir volumes be lost."""

    goal: Goal = "pack"
    most_moves: int = 1_000
    selector: str = ""
    delete_local: bool = False
    pods: tuple[MovingPod, ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()


class PodMove(msgspec.Struct, frozen=True, rename="camel"):
    """A pod to evict, and where its successor is expected."""

    namespace: str
    name: str
    uid: str
    owner: str
    source: str
    target: str


class Load(msgspec.Struct, frozen=True):
    """What is requested of a node: the parts of cpu and memory, and how many pods."""

    cpu: float
    memory: float
    pods: int


class NodeChange(msgspec.Struct, frozen=True, rename="camel"):
    """A node before and after. `stays`: why it cannot be emptied."""

    name: str
    before: Load
    after: Load
    emptied: bool = False
    stays: str = ""


class Proposal(msgspec.Struct, frozen=True, rename="camel"):
    """Moves in the order in which they are made. `shut`: nodes to cordon, so that they become and stay empty."""

    goal: Goal
    moves: tuple[PodMove, ...]
    emptied: tuple[str, ...]
    shut: tuple[str, ...]
    nodes: tuple[NodeChange, ...]


def propose(replay: Replay, request: Request) -> Proposal:
    """Return a plan for the state at the end of a journal. Raises JournalError when there is no state."""
    term = replay.newest
    columns = term.columns if term is not None else None
    if term is None or columns is None:
        raise JournalError("the journal has no checkpoint")
    budgets = Budgets(request.budgets)
    pods = {pod.metadata.uid: mobility(pod, budgets, delete_local=request.delete_local) for pod in request.pods}
    selector = parse_label_selector(request.selector)
    before = _loads(columns)
    engine = term.engine()
    if request.goal == "pack":
        engine = Engine(engine.filters, (MostAllocated(),))
    optimiser = Optimiser(
        columns,
        engine,
        term.nodes,
        pods,
        most_moves=request.most_moves,
        chosen=lambda node: selector.matches(node.metadata.labels) and not node.spec.unschedulable,
    )
    found = optimiser.pack() if request.goal == "pack" else optimiser.spread()
    after = _loads(columns)
    moves: list[PodMove] = []
    for move in found.moves:
        pod = pods[move.uid].pod
        metadata = pod.metadata
        moves.append(PodMove(metadata.namespace, metadata.name, move.uid, pod.owner, move.source, move.target))
    return Proposal(
        goal=request.goal,
        moves=tuple(moves),
        emptied=found.emptied,
        shut=(*found.emptied, *found.empty),
        nodes=tuple(_change(name, before, after, found) for name in sorted(before)),
    )


def _change(name: str, before: Mapping[str, Load], after: Mapping[str, Load], found: Found) -> NodeChange:
    emptied = name in found.emptied
    return NodeChange(name, before[name], after[name], emptied, "" if emptied else found.stays.get(name, ""))


def _loads(columns: Columns) -> dict[str, Load]:
    snapshot = columns.snapshot()
    loads: dict[str, Load] = {}
    for name, row in snapshot.rows.items():
        parts = [
            float(snapshot.requested[row, column] / max(int(snapshot.allocatable[row, column]), 1))
            for column in (CPU_COLUMN, MEMORY_COLUMN)
        ]
        loads[name] = Load(parts[0], parts[1], len(snapshot.pods_on(row)))
    return loads
