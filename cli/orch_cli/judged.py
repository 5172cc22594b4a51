"""Decisions of the scheduler as commands show them: read from the bus, printed as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from google.protobuf.message import DecodeError, Message

from orch.bus.protocol import Bus
from orch.bus.subjects import DECISIONS, decision_subject, scheduler_question
from orch.clock import rfc3339
from orch.errors import ApiError, BusError, UnavailableError
from orch_cli.answers import some, table
from orch_cli.session import Session, newest
from orch_pb.v1 import decision_pb2, question_pb2


class Refused(msgspec.Struct, frozen=True):
    """A rule that refused nodes, with some of their names."""

    rule: str
    reason: str
    nodes: int
    names: tuple[str, ...] = ()


class Scored(msgspec.Struct, frozen=True):
    """A node's score, and what each rule added to it."""

    node: str
    total: float
    parts: dict[str, float] = {}


class Remedy(msgspec.Struct, frozen=True):
    """What would let the pod onto nodes that refuse it for one rule only."""

    rule: str
    text: str
    nodes: int
    names: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One decision. Empty `node`: nowhere, for `message`."""

    namespace: str
    name: str
    uid: str
    node: str
    nodes: int
    feasible: int
    refused: tuple[Refused, ...]
    best: tuple[Scored, ...]
    message: str = ""
    score: float = 0.0
    time: str = ""
    took_microseconds: float = 0.0
    attempts: int = 0
    profile: str = ""
    profile_hash: str = ""
    seed: int = 0
    term: int = 0
    batch: int = 0
    place: int = 0
    revision: int = 0
    trace: str = ""


def decision_of(record: decision_pb2.SchedulingDecision) -> Decision:
    """Return a recorded decision as it is shown."""
    moment = rfc3339(datetime.fromtimestamp(record.time / 1e6, UTC)) if record.time else ""
    return Decision(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        node=record.node,
        nodes=record.nodes,
        feasible=record.feasible,
        refused=refused_of(record.refusals),
        best=tuple(scored_of(each) for each in record.best),
        message=record.message,
        score=record.score,
        time=moment,
        took_microseconds=record.took / 1e3,
        attempts=record.attempts,
        profile=record.profile,
        profile_hash=record.profile_hash,
        seed=record.seed,
        term=record.term,
        batch=record.batch,
        place=record.place,
        revision=record.revision,
        trace=record.trace.traceparent.split("-")[1] if record.trace.traceparent else "",
    )


def refused_of(refusals: Iterable[decision_pb2.Refusal]) -> tuple[Refused, ...]:
    """Return refusals as they are shown."""
    return tuple(Refused(each.rule, each.reason, each.nodes, tuple(each.names)) for each in refusals)


def scored_of(score: decision_pb2.Score) -> Scored:
    """Return a score as it is shown."""
    return Scored(score.node, score.total, {part.rule: part.share for part in score.parts})


def remedies_of(remedies: Iterable[question_pb2.Remedy]) -> tuple[Remedy, ...]:
    """Return remedies as they are shown."""
    return tuple(Remedy(each.rule, each.text, each.nodes, tuple(each.names)) for each in remedies)


def refused_lines(refused: Sequence[Refused]) -> list[str]:
    """Return a table of what refused which nodes."""
    rows = [(each.rule, each.nodes, each.reason, some(each.names, each.nodes)) for each in refused]
    return table(("RULE", "REFUSED", "REASON", "NODES"), rows)


def best_lines(best: Sequence[Scored], chosen: str) -> list[str]:
    """Return a table of the best nodes, a column for each rule that scores."""
    rules = tuple(dict.fromkeys(rule for each in best for rule in each.parts))
    rows = [
        (each.node, each.total, *(each.parts.get(rule, 0.0) for rule in rules), "chosen" if each.node == chosen else "")
        for each in best
    ]
    return table(("NODE", "SCORE", *rules, ""), rows)


def remedy_lines(remedies: Sequence[Remedy]) -> list[str]:
    """Return what would help, one a line."""
    return [f"  {each.text} ({some(each.names, each.nodes)})" for each in remedies]


async def recorded(bus: Bus, namespace: str, name: str) -> Decision | None:
    """Return the newest decision about a pod that is still kept; the pod itself may be gone."""
    subject = decision_subject("scheduler", namespace, name)
    for message in reversed(await newest(bus, DECISIONS.name, subject)):
        try:
            return decision_of(decision_pb2.SchedulingDecision.FromString(message.data))
        except DecodeError as error:
            raise BusError(f"the decision on {subject} cannot be read: {error}") from error
    return None


async def ask(session: Session, scheduler: str, verb: str, request: Message) -> bytes:
    """Return a scheduler's answer. Raises UnavailableError when none of that name answers in time."""
    subject = scheduler_question(scheduler, verb)
    try:
        return await session.bus.request(subject, request.SerializeToString(), timeout=session.timeout)
    except UnavailableError as error:
        raise UnavailableError(f'no scheduler named "{scheduler}" answers: {error}') from error


def check(status: bytes) -> None:
    """Raise the ApiError that a reply carries, if any."""
    if status:
        raise ApiError.decode(status)
