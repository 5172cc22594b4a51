"""Decisions on the bus, for whoever asks why, and in the journal, for whoever computes them again.

Nothing here holds scheduling back: a batch's records are made at once, at some microseconds a pod, and put into a
bounded queue. What does not fit, or what the bus does not take, is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.bus.protocol import Bus
from orch.bus.subjects import PREEMPTOR, VICTIM, decision_subject
from orch.clock import Clock
from orch.errors import OrchError
from orch_pb.v1.decision_pb2 import SchedulingDecision
from orch_pb.v1.journal_pb2 import Batch
from orch_scheduler.columns import Snapshot
from orch_scheduler.engine import Placement
from orch_scheduler.queue import Waiting
from orch_scheduler.records import Asked, encode
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recorded import RecordedDemands

log = logging.getLogger(__name__)

DROPPED: Final = Counter("scheduler_decisions_dropped", "Decisions that were not published, by reason", ("reason",))
PUBLISHED: Final = Counter("scheduler_decisions_published", "Decisions that were published")

_WAITING: Final = 65_536
"""Records that may wait to be published: some 40 MB."""
_OPEN: Final = 8_192
"""Records that may wait to be completed."""
_AT_ONCE: Final = 128
"""After so many, others get their turn."""
_AFTER_FAILURE: Final = 1.0


class Plan(msgspec.Struct, frozen=True):
    """One call of the engine: what was asked of it, on what, and what it answered. `took`: seconds.

    `preferred` gives for each pod the node for which it is nominated, "" for none; empty: nobody is.
    """

    pods: Sequence[Waiting]
    placements: Sequence[Placement]
    snapshot: Snapshot
    nodes: int
    profile: str
    profile_hash: str
    seed: int
    took: float
    preferred: Sequence[str] = ()


class _Open(msgspec.Struct, frozen=True):
    """A record that is not complete: of a refused pod, until it is known what its event says."""

    record: bytes
    pod: Waiting


class Decisions:
    """Makes records of what was decided and publishes them from a queue of its own."""

    def __init__(self, bus: Bus, clock: Clock, journal: Journal, demands: RecordedDemands) -> None:
        self._bus = bus
        self._clock = clock
        self._journal = journal
        self._demands = demands
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._open: dict[str, _Open] = {}
        self._more = asyncio.Event()
        self._batch = 0

    @property
    def idle(self) -> bool:
        """Whether every record that is complete was handed to the bus."""
        return not self._waiting

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin a leader's term: record and publish until the tasks are cancelled."""
        self._batch = 0
        self._journal.begin()
        tasks.create_task(self._journal.run(), name="journal of decisions")
        tasks.create_task(self._publish(), name="decisions")

    def planned(self, plan: Plan) -> None:
        """Take down a plan, before anything of it is counted in the columns. Refused pods wait for `refused`."""
        self._batch += 1
        moment = round(self._clock.now().timestamp() * 1e6)
        head = SchedulingDecision(
            revision=plan.snapshot.revision,
            profile=plan.profile,
            profile_hash=plan.profile_hash,
            seed=plan.seed,
            term=self._journal.term,
            batch=self._batch,
        ).SerializeToString()
        asked = [Asked(pod.namespace, pod.name, pod.uid) for pod in plan.pods]
        records = encode(asked, plan.placements, plan.nodes)
        share = round(plan.took / len(plan.pods) * 1e9) if plan.pods else 0
        trail = SchedulingDecision(time=moment, took=min(share, 0xFFFF_FFFF)).SerializeToString()
        shared = [head + judgement + trail for judgement in records.judgements]
        for pod, placement, judged, own in zip(plan.pods, plan.placements, records.judged, records.pods, strict=True):
            record = shared[judged] + own
            if placement.node:
                self._put(pod, record, "")
            if not placement.node or pod.group:  # of a group, all may be refused in the end
                self._open[pod.uid] = _Open(record, pod)
        while len(self._open) > _OPEN:
            del self._open[next(iter(self._open))]
        if self._journal.recording:
            templates = [self._demands.template(pod.demand) for pod in plan.pods]
            self._journal.batch(
                Batch(
                    head=head,
                    templates=templates,
                    judgements=records.judgements,
                    judged=records.judged,
                    pods=records.pods,
                    time=moment,
                    revision=plan.snapshot.revision,
                    profile=plan.profile,
                    seed=plan.seed,
                    number=self._batch,
                    nodes=plan.nodes,
                    preferred=plan.preferred,
                )
            )

    def refused(self, uid: str, message: str, preemption: bytes = b"") -> None:
        """Publish that a pod which was planned was refused, with its event's message.

        `preemption`: the record of whom it could cost their place.
        """
        found = self._open.pop(uid, None)
        if found is not None:
            self._put(found.pod, found.record, message, preemption)

    def made_room(self, pod: Waiting, message: str, victims: Sequence[tuple[str, str]], preemption: bytes) -> None:
        """Publish for whom room is made, and at whose cost: later decisions about any of them leave that be.

        `message` says why there was none. `victims`: their namespaces and names.
        """
        head = SchedulingDecision(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            profile=pod.scheduler,
            term=self._journal.term,
            time=round(self._clock.now().timestamp() * 1e6),
        )
        record = head.SerializeToString() + _trail(pod, message, preemption)
        self._queue(decision_subject(PREEMPTOR, pod.namespace, pod.name), record)
        for namespace, name in victims:
            if name:  # else it has gone already
                self._queue(decision_subject(VICTIM, namespace, name), record)

    def _put(self, pod: Waiting, record: bytes, message: str, preemption: bytes = b"") -> None:
        subject = decision_subject("scheduler", pod.namespace, pod.name)
        self._queue(subject, record + _trail(pod, message, preemption))

    def _queue(self, subject: str, record: bytes) -> None:
        if len(self._waiting) >= _WAITING:
            DROPPED.labels("queue full").inc()
            return
        self._waiting.append((subject, record))
        self._more.set()

    async def _publish(self) -> None:
        while True:
            await self._more.wait()
            for _ in range(min(_AT_ONCE, len(self._waiting))):
                subject, record = self._waiting[0]
                try:
                    await self._bus.publish(subject, record)
                except OrchError as error:
                    DROPPED.labels("bus").inc()
                    log.warning("a decision was not published: %s", error)
                    await self._clock.sleep(_AFTER_FAILURE)
                else:
                    PUBLISHED.inc()
                self._waiting.popleft()
            if not self._waiting:
                self._more.clear()
            await asyncio.sleep(0)


def _trail(pod: Waiting, message: str, preemption: bytes) -> bytes:
    """Return what is known of a record once its pod's lot is."""
    own = SchedulingDecision(trace=pod.trace, attempts=pod.attempts, message=message)
    if preemption:
        own.preemption.MergeFromString(preemption)
    return own.SerializeToString()
