"""`python -m orch_scheduler.replay FILE`: computes recorded decisions again; exits with 1 when one differs.

`orch replay decisions` runs it; it prints a report in JSON.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from orch.errors import OrchError
from orch_pb.v1.journal_pb2 import Recording
from orch_scheduler.replay.recompute import JournalError, Replay, core


def main(arguments: list[str] | None = None) -> None:
    """Replay a file and exit."""
    parser = argparse.ArgumentParser(prog="orch_scheduler.replay", description="Compute recorded decisions again.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--since", type=int, default=0, help="microseconds since 1970")
    parser.add_argument("--until", type=int, default=1 << 62, help="microseconds since 1970")
    parser.add_argument("--preemptions", action="store_true", help="say what room was made for whom")
    parsed = parser.parse_args(arguments)
    try:
        recording = _read(parsed.file)
        published = dict(core(decision) for decision in recording.decisions)
        replay = Replay(since=parsed.since, until=parsed.until, published=published, listing=parsed.preemptions)
        report = replay.run(recording.chunks)
    except OrchError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.exit(0 if report.identical else 1)


def _read(file: Path) -> Recording:
    try:
        return Recording.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise JournalError(f"{file} is not a recording: {error}") from error


if __name__ == "__main__":
    main()
