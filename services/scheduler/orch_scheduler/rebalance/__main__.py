"""`python -m orch_scheduler.rebalance RECORDING`: plans moves on the state at a journal's end.

`orch rebalance` runs it: the settings, the pods and their disruption budgets come as JSON on the standard input; the
plan goes to the standard output. It changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from orch.errors import OrchError
from orch_pb.v1.journal_pb2 import Recording
from orch_scheduler.rebalance.proposal import Request, propose
from orch_scheduler.replay.recompute import JournalError, Replay


def main(arguments: list[str] | None = None) -> None:
    """Print a plan and exit."""
    (file,) = sys.argv[1:] if arguments is None else arguments
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
        replay = Replay(since=1 << 62)
        try:
            replay.run(Recording.FromString(Path(file).read_bytes()).chunks)
        except (OSError, DecodeError) as error:
            raise JournalError(f"{file} is not a recording: {error}") from error
        proposal = propose(replay, request)
    except (OrchError, msgspec.MsgspecError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.stdout.buffer.write(msgspec.json.encode(proposal) + b"\n")


if __name__ == "__main__":
    main()
