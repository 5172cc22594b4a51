"""Puts what a node's containers write on the bus, so that it can be read when the node is gone.

The files of the logs are the buffer: nothing is read before the bus has taken what was read before. A node that is
cut off reads on from where it was, and what was begun anew too often meanwhile, or is written faster than is collected,
is left out, counted and marked.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.bus import subjects
from orch.bus.protocol import Bus
from orch.clock import Clock
from orch.errors import BusError, OrchError, UnavailableError
from orch_agent.logs.followed import Chunk, Followed, FollowedFile, FollowedMemory
from orch_agent.logs.settings import LogSettings
from orch_agent.runtimes.logfile import Position
from orch_agent.runtimes.protocol import ContainerError, ContainerInfo, Runtime, State
from orch_pb.v1 import logs_pb2

_LOG: Final = logging.getLogger(__name__)
_COLLECTED: Final = Counter("orch_agent_log_bytes_collected_total", "Bytes of logs that were put on the bus.")
_DROPPED: Final = Counter("orch_agent_log_bytes_dropped_total", "Bytes of logs that were left out.")
_FAILED: Final = Counter("orch_agent_log_collection_failures_total", "Times that logs could not be collected.")
_LAST_WORDS: Final = 2.0
"""Seconds that the removal of a pod may wait for what it wrote last."""
_LONGEST_RETRY: Final = 30.0
_FEW: Final = 16 << 10
_LITTLE: Final = 4 << 10
_FASTEST: Final = 1
"""zlib's level: the others take more of the node than they save."""
_DIGITS: Final = bytes.maketrans(b"-:T.Z+", b"      ")


class LogCollector:
    """Collects the logs of one node. `state` is the file that remembers up to where, None: nothing outlives it."""

    def __init__(
        self,
        node: str,
        bus: Bus,
        clock: Clock,
        runtime: Runtime,
        containers: Callable[[], Iterable[ContainerInfo]],
        settings: LogSettings,
        state: Path | None,
    ) -> None:
        self._node = node
        self._bus = bus
        self._clock = clock
        self._runtime = runtime
        self._containers = containers
        self._settings = settings
        self._state = state
        self._followed: dict[str, Followed] = {}
        self._ended: set[str] = set()
        self._places: dict[str, Position] = {}
        self._resting: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._first = 0
        self._process = secrets.token_hex(4)  # what this process sends again replaces nothing of those before

    async def run(self) -> None:
        """Collect for ever."""
        if self._state is not None:
            self._places = await asyncio.to_thread(_load, self._state)
        delay = self._settings.interval
        try:
            while True:
                try:
                    await self.collect()
                    delay = self._settings.interval
                except (OrchError, OSError) as error:
                    _FAILED.inc()
                    delay = min(delay * 2, max(_LONGEST_RETRY, self._settings.interval))
                    _LOG.warning("logs of node %s are not collected, again in %.1f s: %s", self._node, delay, error)
                await self._clock.sleep(delay)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the logs' files."""
        for followed in self._followed.values():
            followed.close()
        self._followed.clear()

    async def collect(self) -> None:
        """Put on the bus what is new, as far as that may be read at a time."""
        async with self._turn:
            infos = {info.id: info for info in self._containers() if info.state is not State.CREATED}
            for gone in self._followed.keys() - infos.keys():
                self._followed.pop(gone).close()
            self._ended &= infos.keys()
            self._resting = {known: until for known, until in self._resting.items() if known in infos}
            self._places = {known: place for known, place in self._places.items() if known in infos}
            await self._collect([info for info in infos.values() if info.id not in self._ended])

    async def finish(self, containers: Sequence[ContainerInfo]) -> None:
        """Put on the bus what containers wrote last, before their logs are removed; in bounded time."""
        for info in containers:
            self._resting.pop(info.id, None)
        try:
            async with asyncio.timeout(_LAST_WORDS), self._turn:
                await self._collect([info for info in containers if info.id not in self._ended])
        except (OrchError, OSError, TimeoutError) as error:
            _FAILED.inc()
            _LOG.warning("the last of some logs of node %s is not collected: %s", self._node, error)

    async def _collect(self, infos: Sequence[ContainerInfo]) -> None:
        before = dict(self._places)
        for info in infos:
            if info.id not in self._followed:
                await self._follow(info)
        known = [info for info in infos if info.id in self._followed]
        changed = await asyncio.to_thread(self._changed, known)
        now = self._clock.monotonic()
        due = [info for info in changed if info.state is State.EXITED or self._resting.get(info.id, now) <= now]
        self._first += 1  # whoever writes much does not keep the others from their turn
        left = int(self._settings.most_bytes * self._settings.interval)
        try:
            for place in range(len(due)):
                if left <= 0:
                    break
                info = due[(place + self._first) % len(due)]
                sent = await self._send_new(info, left)
                if sent < _LITTLE:
                    self._resting[info.id] = now + self._settings.rest
                left -= sent
        finally:
            if self._state is not None and self._places != before:
                await asyncio.to_thread(_save, self._state, dict(self._places))
        for info in known:
            # What it wrote before it ended was there when this was looked at.
            if info.state is State.EXITED and info.id not in {each.id for each in changed}:
                self._ended.add(info.id)
                self._followed.pop(info.id).close()

    def _changed(self, infos: Sequence[ContainerInfo]) -> list[ContainerInfo]:
        return [info for info in infos if self._followed[info.id].changed()]

    async def _follow(self, info: ContainerInfo) -> None:
        try:
            path = await self._runtime.log_file(info.id)
            if path is None and await self._runtime.inspect(info.id) is None:
                return
        except ContainerError as error:  # nothing about one container keeps the others' logs from being collected
            _FAILED.inc()
            _LOG.warning("the log of container %s is not collected now: %s", info.id, error)
            return
        followed = FollowedFile(path) if path is not None else FollowedMemory(self._runtime, info.id)
        if info.id in self._places:
            await asyncio.to_thread(followed.go, self._places[info.id])
        self._followed[info.id] = followed

    async def _send_new(self, info: ContainerInfo, most: int) -> int:
        """Send what a container wrote, about `most` bytes; return how many they were."""
        followed, sent = self._followed[info.id], 0
        while sent < most and followed.changed():
            place = followed.position
            try:
                chunk = await followed.read(self._settings.most_behind)
            except (OSError, ContainerError) as error:
                _FAILED.inc()
                _LOG.warning("the log of container %s cannot be read: %s", info.id, error)
                break
            if chunk is None:
                break
            try:
                # A thread costs more than it takes to compress a few lines.
                packed = _packed(chunk) if len(chunk.lines) < _FEW else await asyncio.to_thread(_packed, chunk)
                await self._bus.append(_subject(self._node, info, chunk, self._process), packed)
            except (UnavailableError, BusError, asyncio.CancelledError):
                followed.go(place)
                raise
            sent += len(chunk.lines)
            _COLLECTED.inc(len(chunk.lines))
            _DROPPED.inc(chunk.dropped)
            self._places[info.id] = followed.position
        return sent


def _subject(node: str, info: ContainerInfo, chunk: Chunk, process: str) -> str:
    identity = info.identity
    begun = chunk.lines[:64].split(b" ", 1)[0].translate(_DIGITS).replace(b" ", b"").decode("ascii", "replace")
    return subjects.log_subject(
        node,
        identity.namespace,
        identity.pod,
        identity.uid,
        identity.container,
        identity.attempt,
        f"{begun}-{chunk.position.file}-{chunk.position.offset}-{process}",
    )


def _packed(chunk: Chunk) -> bytes:
    piece = logs_pb2.LogPiece(
        file=chunk.position.file,
        offset=chunk.position.offset,
        size=len(chunk.lines),
        lines=zlib.compress(chunk.lines, _FASTEST),
        dropped=chunk.dropped,
    )
    return piece.SerializeToString()


def _load(path: Path) -> dict[str, Position]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Position])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:  # then some of it is sent again, which readers notice
        _LOG.warning("up to where logs were collected is not known: %s", error)
        return {}


def _save(path: Path, places: dict[str, Position]) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_bytes(msgspec.json.encode(places))
    fresh.replace(path)
