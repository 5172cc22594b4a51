"""`orch rebalance`: fewer nodes for the same pods, or evener ones; planned on a copy, carried out by evictions."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

import msgspec

from orch.clock import SystemClock
from orch.errors import OrchError
from orch_cli.answers import add_output, fields, show, table
from orch_cli.layout import Layout
from orch_cli.rebalance_apply import MoveLimits, Mover, PodMove
from orch_cli.replay import recorded_chunks
from orch_cli.session import Session, open_session
from orch_pb.v1.journal_pb2 import Recording

Goal = Literal["pack", "spread"]

_PLAN_SECONDS: Final = 600.0


class Load(msgspec.Struct, frozen=True):
    """What is requested of a node: the parts of cpu and memory, and how many pods."""

    cpu: float
    memory: float
    pods: int

    def words(self) -> tuple[str, str, int]:
        """Return it for a table."""
        return f"{self.cpu:.0%}", f"{self.memory:.0%}", self.pods


class NodeChange(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
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

    def text(self) -> str:
        """Return it for a person to read."""
        uneven = f"by {_gap(self.nodes, after=False):.0%}; by {_gap(self.nodes, after=True):.0%} after"
        freed = f"{len(self.emptied)} of {len(self.nodes)} nodes" if self.goal == "pack" else ""
        lines = fields(
            (
                ("Goal", "pack: as few nodes as possible" if self.goal == "pack" else "spread: nodes used alike"),
                ("Moves", str(len(self.moves))),
                ("Frees", f"{freed} ({', '.join(self.emptied)})" if self.emptied else freed),
                ("Uneven", uneven if self.goal == "spread" else ""),
            )
        )
        if self.moves:
            rows = [(f"{each.namespace}/{each.name}", each.owner, each.source, each.target) for each in self.moves]
            lines += ["", *table(("POD", "OWNER", "FROM", "TO"), rows)]
        headers = ("NODE", "CPU", "MEMORY", "PODS", "", "CPU AFTER", "MEMORY AFTER", "PODS AFTER", "")
        rows = [
            (each.name, *each.before.words(), "→", *each.after.words(), "emptied" if each.emptied else each.stays)
            for each in self.nodes
        ]
        return "\n".join([*lines, "", *table(headers, rows)])


def add_rebalance(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    how = command.add_mutually_exclusive_group(required=True)
    how.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    how.add_argument("--apply", action="store_true", help="carry the plan out, a pod at a time")
    command.add_argument("--goal", choices=("pack", "spread"), default="pack", help="default: pack")
    command.add_argument("--max-moves", type=_number, default=1000, metavar="N", help="default: %(default)s")
    command.add_argument("-l", "--selector", default="", help="only among nodes with these labels")
    command.add_argument(
        "--delete-emptydir-data", action="store_true", help="move pods with emptyDir volumes as well; those are lost"
    )
    command.add_argument("--grace-period", type=int, default=None, metavar="SECONDS", help="default: each pod's own")
    command.add_argument(
        "--move-timeout", type=float, default=120.0, metavar="SECONDS", help="for one pod (default: %(default)g)"
    )
    command.add_argument("--uncordon", action="store_true", help="let nodes that were emptied take pods again")
    add_output(command)


def rebalance(parsed: argparse.Namespace, layout: Layout) -> int:
    """Plan, and carry out if asked; return 0 when all moves were made, else 1."""

    async def run() -> bool:
        async with open_session(layout, parsed.timeout) as session:
            proposal = await plan(session, parsed)
            show(proposal, parsed.output)
            if parsed.dry_run or not proposal.moves:
                return True
            limits = MoveLimits(parsed.move_timeout, parsed.grace_period)
            mover = Mover(session, lambda line: print(line, flush=True), limits, SystemClock())
            if proposal.goal == "pack":
                return await mover.pack(proposal.moves, proposal.shut, uncordon=parsed.uncordon)
            return await mover.spread(proposal.moves)

    return 0 if asyncio.run(run()) else 1


async def plan(session: Session, parsed: argparse.Namespace) -> Proposal:
    """Return a plan for the cluster as it is now."""
    chunks = await recorded_chunks(session.bus, 1 << 62)
    if not chunks:
        raise OrchError("the scheduler has recorded no state yet; is it leading?")
    pods = await session.api.get("/api/v1/pods", _Listed)
    budgets = await session.api.get("/apis/policy/v1/poddisruptionbudgets", _Listed)
    request = {
        "goal": parsed.goal,
        "mostMoves": parsed.max_moves,
        "selector": parsed.selector,
        "deleteLocal": parsed.delete_emptydir_data,
        "pods": pods.items,
        "budgets": budgets.items,
    }
    return await asyncio.to_thread(_propose, Recording(chunks=chunks), msgspec.json.encode(request))


class _Listed(msgspec.Struct, frozen=True):
    items: tuple[msgspec.Raw, ...] = ()


def _propose(recording: Recording, request: bytes) -> Proposal:
    """Have the scheduler's own code make the plan, in a process of its own."""
    with tempfile.NamedTemporaryFile(prefix="orch-rebalance-") as file:
        Path(file.name).write_bytes(recording.SerializeToString())
        argv = (sys.executable, "-m", "orch_scheduler.rebalance", file.name)
        try:
            done = subprocess.run(argv, input=request, capture_output=True, timeout=_PLAN_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise OrchError(f"planning took longer than {_PLAN_SECONDS:g} s; choose nodes with --selector") from error
    if done.returncode != 0:
        raise OrchError(f"planning failed: {done.stderr.decode(errors='replace').strip()}")
    return msgspec.json.decode(done.stdout, type=Proposal)


def _gap(nodes: tuple[NodeChange, ...], *, after: bool) -> float:
    """Return how much more the fullest node has than the emptiest."""
    loads = [each.after if after else each.before for each in nodes]
    shares = [max(load.cpu, load.memory) for load in loads]
    return max(shares, default=0.0) - min(shares, default=0.0)


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one move must be allowed")
    return number
