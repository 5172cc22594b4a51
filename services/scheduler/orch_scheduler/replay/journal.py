"""The journal: what the columns were told and what was decided on them, in order, in chunks on the bus.

It begins with a checkpoint, from which the columns can be built again, and takes another one from time to time, so that
replay can begin in the middle and the stream's limits can cut off the beginning. Writing costs the scheduler an entry
in a list; compressing and sending are done beside it. When the bus does not keep up, what waits is dropped and counted,
and a new checkpoint begins.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client import Counter

from orch.bus.protocol import Bus
from orch.bus.subjects import journal_subject
from orch.clock import Clock
from orch.errors import OrchError
from orch_pb.v1.journal_pb2 import Batch, JournalChunk, JournalEntries, JournalEntry, Placements, Template, Told

log = logging.getLogger(__name__)

DROPPED: Final = Counter("scheduler_journal_gaps", "Times that entries were dropped and a new checkpoint was needed.")
CHUNKS: Final = Counter("scheduler_journal_chunks", "Chunks that were written.")
BYTES: Final = Counter("scheduler_journal_bytes", "Compressed bytes that were written.")

COMPONENT: Final = "scheduler"
PIECE: Final = 8_192
"""How much a chunk holds, in pods or things of like size: about 2 MB before compression."""
_WAITING: Final = 262_144
"""How much may wait for the bus, likewise."""
_PAUSE: Final = 0.25
"""Seconds between chunks."""
_CHECKPOINT_SECONDS: Final = 600.0
_CHECKPOINT_BYTES: Final = 64 << 20
"""After so much journal comes a new checkpoint: replay never reads more, and the stream can drop the rest."""
_RETRY: Final = 1.0

Checkpoint = Callable[[], Iterator[list[JournalEntry]]]
"""Takes the columns as they are at the moment of the call; yields the entries that build them again, piece by piece."""


class Journal:
    """Collects entries while a term lasts, and writes them."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._checkpoint: Checkpoint = lambda: iter(())
        self._entries: list[JournalEntry] = []
        self._placed: Placements | None = None
        self._weight = 0
        self._recording = False
        self._broken = False
        self._writing = False
        self._written = 0
        self._number = 0
        self.term = 0
        self.checkpoints = 0

    def attach(self, checkpoint: Checkpoint) -> None:
        """Say how the columns are put into entries."""
        self._checkpoint = checkpoint

    @property
    def recording(self) -> bool:
        """Whether entries are wanted now. Only a leader's columns are replayed."""
        return self._recording and not self._broken

    @property
    def idle(self) -> bool:
        """Whether everything that was taken down is on the bus, and no checkpoint is due."""
        return not (self._entries or self._writing or self._broken)

    def begin(self) -> None:
        """Begin a term: what comes after its first checkpoint is recorded."""
        self.term = max(round(self._clock.now().timestamp() * 1e6), self.term + 1)
        self._number = 0
        self._clear()
        self._recording = self._broken = True

    def told(self, what: str, name: str, json: bytes = b"") -> None:
        """Take down that the columns were told of an object."""
        if self.recording:
            self._add(JournalEntry(told=Told(what=what, name=name, json=json)), 1 + len(json) // 256)

    def template(self, template: Template) -> None:
        """Take down a class of pods, before anything names it."""
        if self.recording:
            self._add(JournalEntry(template=template), 1 + len(template.pod) // 256)

    def placed(self, uid: str, node: str, template: int, started: str) -> None:
        """Take down that a pod was counted on a node."""
        if not self.recording:
            return
        run = self._placed
        if run is None or len(run.uids) >= PIECE:
            entry = JournalEntry(placed=Placements())
            self._add(entry, 0)
            run = self._placed = entry.placed
        run.uids.append(uid)
        run.nodes.append(node)
        run.templates.append(template)
        run.started.append(started)
        self._weigh(1)

    def removed(self, uid: str) -> None:
        """Take down that a pod counts no more."""
        if self.recording:
            self._add(JournalEntry(removed=uid), 1)

    def batch(self, batch: Batch) -> None:
        """Take down a plan, before what it placed."""
        if self.recording:
            self._add(JournalEntry(batch=batch), 1 + len(batch.pods))

    def entry(self, entry: JournalEntry) -> None:
        """Take down anything else, in its place."""
        if self.recording:
            self._add(entry, 1)

    async def run(self) -> None:
        """Write until cancelled: one term."""
        due = 0.0
        try:
            while True:
                now = self._clock.monotonic()
                self._writing = True
                try:
                    await self._write(self._take())
                    if self._broken or self._written >= _CHECKPOINT_BYTES or now >= due:
                        await self._begin()
                        due = now + _CHECKPOINT_SECONDS
                except OrchError as error:
                    self._drop(str(error))
                    await self._clock.sleep(_RETRY)
                self._writing = False
                await self._clock.sleep(_PAUSE)
        finally:
            self._recording = False

    def _add(self, entry: JournalEntry, weight: int) -> None:
        self._entries.append(entry)
        self._placed = None
        self._weigh(weight)

    def _weigh(self, weight: int) -> None:
        self._weight += weight
        if self._weight > _WAITING:
            self._drop("the bus does not keep up")

    def _drop(self, why: str) -> None:
        """Give up what waits: after a gap, nothing is of use until the next checkpoint."""
        DROPPED.inc()
        log.warning("the journal of decisions has a gap: %s", why)
        self._clear()
        self._broken = True

    def _clear(self) -> None:
        self._entries, self._placed, self._weight = [], None, 0

    def _take(self) -> list[JournalEntry]:
        entries = self._entries
        self._clear()
        return entries

    async def _begin(self) -> None:
        """Write a checkpoint: what came before it, then the columns as they are at this moment."""
        before, pieces = self._take(), self._checkpoint()
        self.checkpoints += 1
        self._broken = False
        self._written = 0
        await self._write(before)
        for number, piece in enumerate(pieces):
            await self._send(piece, checkpoint=number == 0)

    async def _write(self, entries: Sequence[JournalEntry]) -> None:
        piece: list[JournalEntry] = []
        weight = 0
        for entry in entries:
            piece.append(entry)
            weight += 1 + len(entry.batch.pods) + len(entry.placed.uids) + len(entry.told.json) // 256
            if weight >= PIECE:
                await self._send(piece, checkpoint=False)
                piece, weight = [], 0
        if piece:
            await self._send(piece, checkpoint=False)

    async def _send(self, entries: Sequence[JournalEntry], *, checkpoint: bool) -> None:
        self._number += 1
        chunk = JournalChunk(
            term=self.term,
            number=self._number,
            time=round(self._clock.now().timestamp() * 1e6),
            checkpoint=checkpoint,
            decisions=sum(len(entry.batch.pods) for entry in entries),
            entries=await asyncio.to_thread(_compress, entries),
        )
        data = chunk.SerializeToString()
        self._written += len(data)
        await self._bus.append(journal_subject(COMPONENT, self.term, self._number), data)
        CHUNKS.inc()
        BYTES.inc(len(data))


def _compress(entries: Sequence[JournalEntry]) -> bytes:
    return zlib.compress(JournalEntries(entries=entries).SerializeToString(), 1)
