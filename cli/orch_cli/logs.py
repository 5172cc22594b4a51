"""`orch logs [NAMESPACE/]POD`: what containers wrote, from the bus, also of pods and nodes that are gone."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import BinaryIO, Final

from orch.bus.protocol import Bus
from orch.bus.subjects import logs_of_pods
from orch.clock import SystemClock, parse_rfc3339
from orch.errors import NotFoundError
from orch.runtime.pod_logs import CollectedLine, LogOrigin, collected_lines
from orch_cli.answers import TIMEOUT
from orch_cli.layout import Layout
from orch_cli.session import open_session

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def add_logs(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument("pod", metavar="[NAMESPACE/]POD")
    command.add_argument("-c", "--container", default="", metavar="NAME", help="of this container alone")
    command.add_argument("--since", type=_span, metavar="SPAN", help="not older than this, such as 90s, 5m or 2h")
    command.add_argument("--timestamps", action="store_true", help="begin each line with its time")
    command.add_argument(
        "--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="how long to wait (default: %(default)g)"
    )


def logs(parsed: argparse.Namespace, layout: Layout) -> int:
    """Print what was collected of a pod's logs, or of all pods that had its name."""
    namespace, _, name = parsed.pod.rpartition("/")
    since = SystemClock().now() - parsed.since if parsed.since is not None else None

    async def show() -> bool:
        async with open_session(layout, parsed.timeout) as session:
            found = chosen(session.bus, namespace or "default", name, parsed.container, since, parsed.timeout)
            async with aclosing(found) as pieces:
                return await write(pieces, sys.stdout.buffer, timestamps=parsed.timestamps)

    try:
        found_any = asyncio.run(show())
    except BrokenPipeError:  # who read it, such as `head`, has had enough; nothing is left to be flushed to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if not found_any:
        what = f'container "{parsed.container}" of pod "{name}"' if parsed.container else f'pod "{name}"'
        raise NotFoundError(f"nothing was collected of the log of {what}")
    return 0


async def chosen(
    bus: Bus, namespace: str, name: str, container: str, since: datetime | None, timeout: float
) -> AsyncGenerator[Sequence[CollectedLine]]:
    """Yield the lines that are asked for, in the order in which they were collected."""
    subject = logs_of_pods(namespace, name, container)
    async with aclosing(collected_lines(bus, subject, timeout=timeout)) as pieces:
        async for piece in pieces:
            if lines := [line for line in piece if since is None or parse_rfc3339(line.time) >= since]:
                yield lines


async def write(pieces: AsyncGenerator[Sequence[CollectedLine]], target: BinaryIO, *, timestamps: bool = False) -> bool:
    """Write the lines; a heading says whose they are whenever that changes. Return whether there were any."""
    shown: LogOrigin | None = None
    async for lines in pieces:
        for line in lines:
            if line.origin != shown:
                shown = line.origin
                target.write(_heading(shown))
            target.write(f"{line.time} ".encode() + line.data if timestamps else line.data)
        target.flush()
    return shown is not None


def _heading(origin: LogOrigin) -> bytes:
    run = f", restart {origin.attempt}" if origin.attempt else ""
    whose = f"{origin.namespace}/{origin.pod} ({origin.uid}), container {origin.container}{run}"
    return f"==> {whose}, on {origin.node} <==\n".encode()


def _span(text: str) -> timedelta:
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time such as 90s, 5m or 1h30m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
