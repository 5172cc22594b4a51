"""A container's log over HTTP when its node cannot be asked: what was collected of it on the bus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final

from orch.bus.protocol import Bus
from orch.bus.subjects import logs_of_attempt
from orch.clock import Clock, parse_rfc3339
from orch.errors import BadRequestError, StreamClosedError, UnavailableError
from orch.objects.pods import Pod
from orch.runtime.pod_logs import CollectedLine, collected_lines
from orch_api.http.exchange import Exchange
from orch_api.http.links import STALLED
from orch_api.http.refusal import warning_header
from orch_api.http.streams.pods import status_of
from orch_pb.v1 import node_pb2

_MIRROR: Final = "kubernetes.io/config.mirror"


async def send_collected(
    exchange: Exchange, bus: Bus, clock: Clock, pod: Pod, wanted: node_pb2.LogsRequest, failure: UnavailableError
) -> None:
    """Answer with what was collected, and a warning that says why. Raises `failure` when nothing was.

    What is to come cannot be followed: the answer ends with what is there.
    """
    left = wanted.limit_bytes if wanted.HasField("limit_bytes") else None
    async with aclosing(_chosen(bus, clock, pod, wanted)) as pieces:
        async for lines in pieces:
            data = _text(lines, wanted.timestamps)[:left]
            if not exchange.started:
                warning = warning_header(f"{failure}; this is what was collected of the log before")
                await exchange.start("text/plain", [(b"warning", warning)])
            try:
                async with asyncio.timeout(STALLED):
                    await exchange.write(data)
            except TimeoutError as error:
                raise StreamClosedError(f"the reader of a log took nothing for {STALLED:g} s") from error
            if left is not None:
                left -= len(data)
                if not left:
                    break
    if not exchange.started:
        raise failure
    await exchange.end()


async def _chosen(
    bus: Bus, clock: Clock, pod: Pod, wanted: node_pb2.LogsRequest
) -> AsyncGenerator[Iterable[CollectedLine]]:
    """Yield the lines that are asked for."""
    since = _since(clock, wanted)
    tail = wanted.tail_lines if wanted.HasField("tail_lines") else None
    kept: deque[CollectedLine] = deque(maxlen=tail)
    any_there = False
    async with aclosing(collected_lines(bus, _subject(pod, wanted))) as pieces:
        async for piece in pieces:
            any_there = True
            lines = [line for line in piece if since is None or parse_rfc3339(line.time) >= since]
            if tail is None:
                yield lines
            else:
                kept.extend(lines)
    if any_there:
        yield kept


def _subject(pod: Pod, wanted: node_pb2.LogsRequest) -> str:
    """Return the filter of one run of a container, by the node and the uid under which it wrote."""
    meta = pod.metadata
    status = status_of(pod, wanted.container)
    attempt = (status.restart_count if status is not None else 0) - (1 if wanted.previous else 0)
    uid = meta.annotations.get(_MIRROR) or meta.uid
    return logs_of_attempt(pod.spec.node_name, meta.namespace, meta.name, uid, wanted.container, max(attempt, 0))


def _since(clock: Clock, wanted: node_pb2.LogsRequest) -> datetime | None:
    if wanted.since_time:
        try:
            return parse_rfc3339(wanted.since_time)
        except ValueError as error:
            raise BadRequestError(f"sinceTime: {error}") from error
    return clock.now() - timedelta(seconds=wanted.since_seconds) if wanted.HasField("since_seconds") else None


def _text(lines: Iterable[CollectedLine], timestamps: bool) -> bytes:
    return b"".join(line.time.encode() + b" " + line.data if timestamps else line.data for line in lines)
