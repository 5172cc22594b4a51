"""`orch replay autoscaling`: computes the autoscaler's recorded decisions again and compares them byte for byte."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from orch.autoscaling.recommend import recommend
from orch.bus.subjects import JOURNAL, journal_of
from orch.clock import rfc3339
from orch.errors import OrchError
from orch_cli.answers import fields, show
from orch_cli.layout import Layout
from orch_cli.session import newest, open_session
from orch_pb.v1.autoscaling_pb2 import AutoscalingDecision, AutoscalingRecording

_MICRO: Final = 1_000_000
_NANO_OF_MICRO: Final = 1000


class AutoscalingReplay(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What replaying came to. `different`: the first decision that came out otherwise. Times in microseconds."""

    decisions: int = 0
    autoscalers: int = 0
    rescales: int = 0
    first: int = 0
    last: int = 0
    different: str = ""
    recorded: str = ""
    computed: str = ""

    def text(self) -> str:
        """Return it for a person to read."""
        span = f"{_moment(self.first)} to {_moment(self.last)}" if self.decisions else ""
        lines = fields(
            (
                ("Replayed", f"{self.decisions} decisions about {self.autoscalers} autoscalers"),
                ("Rescales", str(self.rescales)),
                ("Between", span),
                ("Result", f"DIFFERENT for {self.different}" if self.different else "identical, byte for byte"),
            )
        )
        if self.different:
            lines += ["", "Recorded:", self.recorded, "Computed:", self.computed]
        return "\n".join(lines)


def replay_autoscaling(parsed: argparse.Namespace, layout: Layout) -> int:
    """Replay what was recorded between two moments; return 0 when all came out as recorded, else 1."""
    decisions = read(parsed.file) if parsed.file is not None else asyncio.run(_fetch(layout, parsed.timeout))
    chosen = [one for one in decisions if parsed.since <= one.inputs.at // _NANO_OF_MICRO <= parsed.until]
    if parsed.save is not None:
        parsed.save.write_bytes(AutoscalingRecording(decisions=chosen).SerializeToString(deterministic=True))
    report = recompute(chosen)
    show(report, parsed.output)
    return 1 if report.different else 0


def read(file: Path) -> list[AutoscalingDecision]:
    """Return the decisions of a file. Raises OrchError."""
    try:
        return list(AutoscalingRecording.FromString(file.read_bytes()).decisions)
    except (OSError, DecodeError) as error:
        raise OrchError(f"{file} cannot be read: {error}") from error


def recompute(decisions: Iterable[AutoscalingDecision]) -> AutoscalingReplay:
    """Compute every decision again, up to the first that comes out otherwise."""
    count = rescales = first = last = 0
    names: set[tuple[str, str]] = set()
    for decision in decisions:
        at = decision.inputs.at // _NANO_OF_MICRO
        count, first, last = count + 1, first or at, at
        rescales += decision.outcome.rescale
        names.add((decision.namespace, decision.name))
        computed = recommend(decision.inputs)
        if computed.SerializeToString(deterministic=True) != decision.outcome.SerializeToString(deterministic=True):
            which = f"{decision.namespace}/{decision.name} at {_moment(at)}"
            told = str(decision.outcome), str(computed)
            return AutoscalingReplay(count, len(names), rescales, first, last, which, *told)
    return AutoscalingReplay(count, len(names), rescales, first, last)


async def _fetch(layout: Layout, timeout: float) -> list[AutoscalingDecision]:
    async with open_session(layout, timeout) as session:
        messages = await newest(session.bus, JOURNAL.name, journal_of("autoscaler"))
    try:
        return [AutoscalingDecision.FromString(message.data) for message in messages]
    except DecodeError as error:
        raise OrchError(f"the journal cannot be read: {error}") from error


def _moment(microseconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(microseconds / _MICRO, UTC))
