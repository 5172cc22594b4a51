"""Recorded decisions, computed again from a journal and compared byte for byte."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from orch.errors import OrchError
from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch_pb.v1.decision_pb2 import Preemption, SchedulingDecision
from orch_pb.v1.journal_pb2 import (
    Batch,
    Began,
    Contest,
    JournalChunk,
    JournalEntries,
    JournalEntry,
    Preempting,
    Template,
    Told,
)
from orch_scheduler.columns import Columns, Snapshot
from orch_scheduler.demand import Demand, Demands
from orch_scheduler.engine import Engine
from orch_scheduler.preemption.contests import Contests, Look
from orch_scheduler.profiles import default_profile, recorded_profile
from orch_scheduler.records import Asked, Records, encode
from orch_scheduler.replay.recorded import NODE, NODE_GONE
from orch_scheduler.replay.told import GOING, retell

_NODES: Final = msgspec.json.Decoder(Node)
_PODS: Final = msgspec.json.Decoder(Pod)
_CLASSES: Final = 1 << 20
"""More classes than a journal has: none is forgotten."""


Key = tuple[int, int, int]
"""A decision's term, batch and place in it."""


class JournalError(OrchError):
    """A journal that cannot be read, or an entry that does not fit what came before it."""


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """The first decision that came out otherwise. Both sides are the decisions as protobuf prints them."""

    term: int
    batch: int
    place: int
    namespace: str
    name: str
    recorded: str
    computed: str


class Room(msgspec.Struct, frozen=True, rename="camel"):
    """Room that was made for a pod. `time`: microseconds since 1970."""

    time: int
    namespace: str
    name: str
    priority: int
    node: str
    violations: int
    victims: tuple[str, ...]


class Report(msgspec.Struct, rename="camel"):
    """What replaying came to. Times are microseconds since 1970; `gaps` says where entries were missing."""

    decisions: int = 0
    batches: int = 0
    preemptions: int = 0
    """Times that room was looked for at the cost of others."""
    rooms: list[Room] = []
    """Those that found it, if they were asked for."""
    terms: int = 0
    checkpoints: int = 0
    published: int = 0
    """Decisions as they were published that were compared as well."""
    first: int = 0
    last: int = 0
    gaps: list[str] = []
    difference: Difference | None = None

    @property
    def identical(self) -> bool:
        """Whether every decision came out as it was recorded."""
        return self.difference is None


class Replay:
    """Takes the chunks of a journal in order; terms that overlap are kept apart.

    `since` and `until`: microseconds between which decisions are compared. `published`: decisions as the bus has them,
    to be compared as well. `listing`: the report is to say what room was made for whom.
    """

    def __init__(
        self,
        *,
        since: int = 0,
        until: int = 1 << 62,
        published: Mapping[Key, bytes] | None = None,
        listing: bool = False,
    ) -> None:
        self.report = Report()
        self._listing = listing
        self.terms: dict[int, Term] = {}
        self._since = since
        self._until = until
        self._published = published or {}

    def run(self, chunks: Iterable[JournalChunk]) -> Report:
        """Replay until the end, or to the first difference. Raises JournalError for a journal that cannot be read."""
        for chunk in chunks:
            self.take(chunk)
            if self.report.difference is not None:
                break
        return self.report

    def take(self, chunk: JournalChunk) -> None:
        """Apply one chunk."""
        term = self.terms.get(chunk.term)
        if term is None:
            self.report.terms += 1
            term = Term(chunk.term, self.report, self._since, self._until, self._published, listing=self._listing)
            self.terms[chunk.term] = term
        term.take(chunk)

    @property
    def newest(self) -> Term | None:
        """The term of which something was taken last and whose state is known."""
        known = [term for term in self.terms.values() if term.columns is not None]
        return max(known, key=lambda term: term.time, default=None)


class Term:
    """One leader's memory, built again: its columns, its classes of pods, its engines."""

    def __init__(
        self,
        number: int,
        report: Report,
        since: int,
        until: int,
        published: Mapping[Key, bytes],
        *,
        listing: bool = False,
    ) -> None:
        self._listing = listing
        self.number = number
        self.report = report
        self.time = 0
        self._chunk: int = 0
        self._since = since
        self._until = until
        self._published = published
        self.columns: Columns | None = None
        self._contests = Contests(Columns())
        self.nodes: dict[str, Node] = {}
        self._words = Demands(_CLASSES)
        self._demands: dict[int, Demand] = {}
        self._known: set[Demand] = set()
        self._engines: dict[tuple[str, int], Engine] = {}
        self._settings: dict[str, bytes] = {}
        self._apply: Mapping[str, Callable[[Columns, JournalEntry], None]] = {
            "told": lambda columns, entry: self._tell(columns, entry.told),
            "template": lambda _, entry: self._learn(entry.template),
            "placed": self._place,
            "removed": lambda columns, entry: _forget(columns, entry.removed),
            "batch": lambda columns, entry: self._batch(columns, entry.batch),
            "round": lambda _columns, _entry: self._contests.begin(),
            "contest": lambda _, entry: self._open(entry.contest),
            "preempting": lambda _, entry: self._preempt(entry.preempting),
        }

    def take(self, chunk: JournalChunk) -> None:
        """Apply one chunk; one that does not follow the last is of no use before the next checkpoint."""
        where = f"chunk {chunk.number} of term {self.number}"
        if chunk.number != self._chunk + 1 and not chunk.checkpoint and self.columns is not None:
            self.report.gaps.append(f"{where} does not follow chunk {self._chunk}")
            self.columns = None
        self._chunk, self.time = chunk.number, chunk.time
        if self.columns is None and not chunk.checkpoint:
            return
        self.report.checkpoints += chunk.checkpoint
        for entry in _entries(chunk, where):
            kind = entry.WhichOneof("entry")
            try:
                if kind == "began":
                    self._begin(entry.began)
                elif kind is not None and self.columns is not None:
                    self._apply[kind](self.columns, entry)
            except (KeyError, ValueError) as error:
                raise JournalError(f"{where}: an entry of kind {kind} cannot be applied: {error!r}") from error
            if self.report.difference is not None:
                return

    def _begin(self, began: Began) -> None:
        self._words = Demands(_CLASSES)
        self._demands.clear()
        self._known.clear()
        self._engines.clear()
        self._settings = {profile.name: profile.config for profile in began.profiles if profile.config}
        self.nodes.clear()
        self.columns = laid_out(began)
        self._contests = Contests(self.columns)

    def _learn(self, template: Template) -> None:
        demand = self._words.of(_PODS.decode(template.pod), pinned=template.pinned)
        if demand in self._known:
            # Classes of equal content stay apart, as they were: the engine tells them apart by identity.
            demand = msgspec.structs.replace(demand)
        self._known.add(demand)
        self._demands[template.id] = demand

    def _place(self, columns: Columns, entry: JournalEntry) -> None:
        placed = entry.placed
        started = placed.started or [""] * len(placed.uids)  # journals had no times at first
        for uid, node, template, moment in zip(placed.uids, placed.nodes, placed.templates, started, strict=True):
            columns.place(uid, node, self._demands[template], moment)

    def _tell(self, columns: Columns, told: Told) -> None:
        if told.what == NODE:
            node = self.nodes[told.name] = _NODES.decode(told.json)
            columns.set_node(node)
        elif told.what == NODE_GONE:
            self.nodes.pop(told.name, None)
            columns.remove_node(told.name)
        elif not retell(columns, told):
            raise JournalError(f"it tells of {told.what!r}, which this version does not know")
        if told.what == GOING:
            self._contests.census.touch(columns.node_of(told.name))

    def _batch(self, columns: Columns, batch: Batch) -> None:
        if not self._since <= batch.time <= self._until:
            return
        columns.seen(batch.revision)
        engine = self.engine(batch.profile, batch.seed)
        recorded = Records(list(batch.judgements), list(batch.judged), list(batch.pods))
        asked = [_asked(pod) for pod in recorded.pods]
        snapshot: Snapshot = columns.snapshot()
        placements = engine.plan(snapshot, [self._demands[template] for template in batch.templates], batch.preferred)
        self._compare(batch, recorded, encode(asked, placements, batch.nodes), asked)

    def _open(self, contest: Contest) -> None:
        self._contests.now = contest.now
        look = Look(contest.enough, contest.offset, contest.hopeful)
        engine = self.engine(contest.profile, contest.seed)
        self._contests.open(contest.profile, self._demands[contest.template], engine, look)

    def _preempt(self, decided: Preempting) -> None:
        contest = self._contests.get(decided.profile, self._demands[decided.template])
        if contest is None:
            raise KeyError(f"no contest of class {decided.template} was opened")
        self._contests.now = decided.now
        recorded = Preemption.FromString(decided.record)
        asked = Asked(recorded.namespace, recorded.name, recorded.uid)
        names = {victim.uid: victim.name for victim in recorded.victims}
        _, computed = self._contests.decide(contest, asked, decided.revision, lambda _, uids: _named(names, uids))
        if not self._since <= decided.now * 1e6 <= self._until:
            return
        self.report.preemptions += 1
        if self._listing and recorded.node:
            self.report.rooms.append(_room(decided.now, recorded))
        if computed != decided.record:
            found = Preemption.FromString(computed)
            self.report.difference = Difference(
                self.number, 0, 0, asked.namespace, asked.name, str(recorded), str(found)
            )

    def engine(self, profile: str = "", seed: int = 0) -> Engine:
        """Return the engine of a profile, "" being the first that the journal names."""
        key = (profile, seed)
        found = self._engines.get(key)
        if found is None:
            settings = self._settings.get(profile) if profile else next(iter(self._settings.values()), None)
            made = recorded_profile(profile, settings) if settings is not None else default_profile(profile)
            found = self._engines[key] = made.engine(seed=seed)
        return found

    def _compare(self, batch: Batch, recorded: Records, computed: Records, asked: list[Asked]) -> None:
        report = self.report
        report.batches += 1
        report.decisions += len(asked)
        report.first = report.first or batch.time
        report.last = batch.time
        same = recorded == computed
        if same and not self._published:
            return
        for place, pod in enumerate(asked):
            before = batch.head + recorded.judgements[recorded.judged[place]] + recorded.pods[place]
            now = batch.head + computed.judgements[computed.judged[place]] + computed.pods[place]
            if before == now and (said := self._published.get((self.number, batch.number, place))) is not None:
                report.published += 1
                before = said
            if before != now:
                self._differ(batch, place, pod, before, now)
                return

    def _differ(self, batch: Batch, place: int, pod: Asked, recorded: bytes, computed: bytes) -> None:
        self.report.difference = Difference(
            self.number,
            batch.number,
            place,
            pod.namespace,
            pod.name,
            str(SchedulingDecision.FromString(recorded)),
            str(SchedulingDecision.FromString(computed)),
        )


def core(published: bytes) -> tuple[Key, bytes]:
    """Return which decision a published one is, and the part of it that replay repeats. Raises JournalError."""
    try:
        record = SchedulingDecision.FromString(published)
    except DecodeError as error:
        raise JournalError(f"a published decision cannot be read: {error}") from error
    head = SchedulingDecision(
        revision=record.revision,
        profile=record.profile,
        profile_hash=record.profile_hash,
        seed=record.seed,
        term=record.term,
        batch=record.batch,
    )
    shared = SchedulingDecision(nodes=record.nodes, refusals=record.refusals, best=record.best)
    own = SchedulingDecision(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        node=record.node,
        feasible=record.feasible,
        place=record.place,
        score=record.score,
    )
    joined = b"".join(part.SerializeToString() for part in (head, shared, own))
    return (record.term, record.batch, record.place), joined


def laid_out(began: Began) -> Columns:
    """Return empty columns whose resources and rows lie as those did that were recorded."""
    columns = Columns()
    nothing = dict.fromkeys(began.resources, "0")
    names = [name or f"\0{row}" for row, name in enumerate(began.rows)]
    for name in names:
        columns.set_node(msgspec.convert({"metadata": {"name": name}, "status": {"allocatable": nothing}}, Node))
    for row in began.free:
        columns.remove_node(names[row])
    return columns


def _entries(chunk: JournalChunk, where: str) -> Iterable[JournalEntry]:
    try:
        return JournalEntries.FromString(zlib.decompress(chunk.entries)).entries
    except (zlib.error, DecodeError) as error:
        raise JournalError(f"{where} cannot be read: {error}") from error


def _forget(columns: Columns, uid: str) -> None:
    columns.remove(uid)


def _asked(record: bytes) -> Asked:
    pod = SchedulingDecision.FromString(record)
    return Asked(pod.namespace, pod.name, pod.uid)


def _named(names: Mapping[str, str], uids: Iterable[str]) -> dict[str, str]:
    """Return what pods were called; others than were recorded have no name, and are a difference anyhow."""
    return {uid: names.get(uid, "") for uid in uids}


def _room(now: float, record: Preemption) -> Room:
    victims = tuple(f"{one.namespace}/{one.name}" for one in record.victims)
    return Room(
        round(now * 1e6), record.namespace, record.name, record.priority, record.node, record.violations, victims
    )
