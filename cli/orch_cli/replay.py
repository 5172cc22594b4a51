"""`orch replay decisions`: fetches what the scheduler recorded and has it computed again, byte for byte."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import DECISIONS, JOURNAL, decisions_of, journal_of
from orch.clock import rfc3339
from orch.config import parse_duration
from orch.errors import BusError, OrchError
from orch_cli.answers import add_output, fields, show, table
from orch_cli.layout import Layout
from orch_cli.session import newest, open_session
from orch_pb.v1.journal_pb2 import JournalChunk, Recording

_REPLAY_SECONDS = 600.0


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """The first decision that came out otherwise."""

    term: int
    batch: int
    place: int
    namespace: str
    name: str
    recorded: str
    computed: str


class RoomMade(msgspec.Struct, frozen=True, rename="camel"):
    """Room that was made for a pod, and who had to go for it. `time`: microseconds since 1970."""

    time: int
    namespace: str
    name: str
    priority: int
    node: str
    violations: int
    victims: tuple[str, ...]


class ReplayReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What replaying came to. Times are microseconds since 1970."""

    decisions: int = 0
    batches: int = 0
    terms: int = 0
    checkpoints: int = 0
    preemptions: int = 0
    rooms: tuple[RoomMade, ...] = ()
    published: int = 0
    first: int = 0
    last: int = 0
    gaps: tuple[str, ...] = ()
    difference: Difference | None = None

    def text(self) -> str:
        """Return it for a person to read."""
        found = self.difference
        published = f", {self.published} of them also as they were published" if self.published else ""
        span = f"{_moment(self.first)} to {_moment(self.last)}" if self.decisions else ""
        lines = fields(
            (
                ("Replayed", f"{self.decisions} decisions in {self.batches} batches{published}"),
                (
                    "Preempted",
                    f"room at the cost of others was looked for {_times(self.preemptions)}" * bool(self.preemptions),
                ),
                ("Between", span),
                ("Gaps", "\n".join(self.gaps)),
                ("Result", "identical, byte for byte" if found is None else "DIFFERENT"),
            )
        )
        if self.rooms:
            rows = [
                (
                    _moment(one.time),
                    f"{one.namespace}/{one.name}",
                    one.priority,
                    one.node,
                    ", ".join(one.victims) or "-",
                    one.violations,
                )
                for one in self.rooms
            ]
            lines += ["", *table(("TIME", "POD", "PRIORITY", "NODE", "VICTIMS", "BUDGETS VIOLATED"), rows)]
        if found is not None:
            # What preemption came to is between batches.
            place = f"place {found.place} of batch {found.batch}" if found.batch else "preemption"
            where = f"{found.namespace}/{found.name}, {place}, term {found.term}"
            lines += ["", f"The first difference is {where}.", "", "Recorded:", _indented(found.recorded)]
            lines += ["Computed:", _indented(found.computed)]
        return "\n".join(lines)


def add_replay(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument("what", choices=("decisions", "autoscaling"))
    moment = "a time (2026-01-02T15:04:05Z) or how long ago (10m)"
    command.add_argument("--from", dest="since", type=_time, default=0, metavar="TIME", help=moment)
    command.add_argument("--to", dest="until", type=_time, default=1 << 62, metavar="TIME", help=moment)
    command.add_argument("--file", type=Path, metavar="FILE", help="replay what --save wrote, not what the bus has")
    command.add_argument("--save", type=Path, metavar="FILE", help="keep what was recorded in a file")
    command.add_argument(
        "--preemptions", action="store_true", help="say as well for whom room was made, and who had to go"
    )
    add_output(command)


def replay(parsed: argparse.Namespace, layout: Layout) -> int:
    """Replay, print the report and return 0 when all came out as recorded, else 1."""
    with tempfile.TemporaryDirectory(prefix="orch-replay-") as scratch:
        file = parsed.file
        if file is None:
            file = parsed.save or Path(scratch) / "recording"
            recording = asyncio.run(_fetch(layout, parsed.timeout, parsed.since))
            file.write_bytes(recording.SerializeToString())
        report = _recompute(file, parsed.since, parsed.until, preemptions=parsed.preemptions)
    show(report, parsed.output)
    return 0 if report.difference is None else 1


async def _fetch(layout: Layout, timeout: float, since: int) -> Recording:
    async with open_session(layout, timeout) as session:
        chunks = await recorded_chunks(session.bus, since)
        if not chunks:
            raise OrchError("nothing is recorded yet: a scheduler writes its first checkpoint when it begins to lead")
        decisions = await newest(session.bus, DECISIONS.name, decisions_of("scheduler"))
    return Recording(chunks=chunks, decisions=[message.data for message in decisions])


async def recorded_chunks(bus: Bus, since: int) -> list[JournalChunk]:
    """Return the journal from the last checkpoint at or before `since` on, or from the first that there is."""
    found: list[JournalChunk] = []
    async with aclosing(bus.follow(JOURNAL.name, [journal_of("scheduler")])) as messages:
        async for message in messages:
            if isinstance(message, Message):
                chunk = _chunk(message)
                if chunk.checkpoint and chunk.time <= since:
                    found = [each for each in found if each.term != chunk.term]
                found.append(chunk)
            elif message is Signal.SYNCED:
                break
    return found


def _chunk(message: Message) -> JournalChunk:
    try:
        return JournalChunk.FromString(message.data)
    except DecodeError as error:
        raise BusError(f"the journal's chunk on {message.subject} cannot be read: {error}") from error


def _recompute(file: Path, since: int, until: int, *, preemptions: bool = False) -> ReplayReport:
    """Have the scheduler's own code compute a recording again, in a process of its own."""
    argv = (sys.executable, "-m", "orch_scheduler.replay", str(file), f"--since={since}", f"--until={until}")
    argv += ("--preemptions",) * preemptions
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_REPLAY_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OrchError(
            f"replaying took longer than {_REPLAY_SECONDS:g} s; choose less with --from and --to"
        ) from error
    if done.returncode not in (0, 1) or not done.stdout:
        raise OrchError(f"replaying failed: {done.stderr.decode(errors='replace').strip()}")
    return msgspec.json.decode(done.stdout, type=ReplayReport)


def _time(text: str) -> int:
    """Return microseconds since 1970."""
    try:
        return round((time.time() - parse_duration(text)) * 1e6)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time like 2026-01-02T15:04:05Z nor a duration like 10m"
        ) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _moment(microseconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(microseconds / 1e6, UTC))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
