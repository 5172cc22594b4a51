"""Room that the scheduler made for a pod at the cost of others: who had to go, and what other nodes would have cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from orch.bus.protocol import Bus
from orch.bus.subjects import DECISIONS, PREEMPTOR, VICTIM, decision_subject
from orch.clock import rfc3339
from orch.errors import BusError
from orch_cli.answers import table
from orch_cli.session import newest
from orch_pb.v1 import decision_pb2

_OFFSET: Final = 1 << 31
"""Added to each priority before they are summed up."""
_MOMENT: Final = "%Y%m%d%H%M%S"


class Victim(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A pod that had to go. `budgets` count it; `violates`: one of them does not allow it."""

    namespace: str
    name: str
    uid: str
    priority: int
    budgets: tuple[str, ...] = ()
    violates: bool = False


class Candidate(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What room on a node costs. `started`: when the first of the most important victims did; "" for none or never.

    `why`: in what the chosen node is better, "" for itself.
    """

    node: str
    violations: int
    highest: int
    sum: int
    victims: int
    started: str = ""
    why: str = ""


class Room(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Room on a node for a pod. `message`: why there was none before. `candidates`: nodes that could make some."""

    namespace: str
    name: str
    uid: str
    priority: int
    node: str
    time: str
    candidates: int
    victims: tuple[Victim, ...]
    best: tuple[Candidate, ...]
    message: str = ""
    scheduler: str = ""
    term: int = 0

    def victim(self, namespace: str, name: str) -> Victim | None:
        """Return a pod as one of the victims."""
        return next((one for one in self.victims if (one.namespace, one.name) == (namespace, name)), None)

    def lines(self, victim: str = "") -> list[str]:
        """Return tables of the victims and of what nodes would have cost. `victim`: the uid of the one that asks."""
        rows = [
            (f"{one.namespace}/{one.name}", one.priority, _budgets(one), "this pod" if one.uid == victim else "")
            for one in self.victims
        ]
        lines = table(("VICTIM", "PRIORITY", "DISRUPTION BUDGETS", ""), rows) if rows else []
        if self.best:
            headers = ("NODE", "VICTIMS", "VIOLATING", "HIGHEST PRIORITY", "SUM", "RUNNING SINCE", "")
            lines += ["", *table(headers, [_row(one) for one in self.best])]
        more = self.candidates - len(self.best)
        return [*lines, f"and {more} more that could make room"] if more > 0 and self.best else lines


async def room_for(bus: Bus, namespace: str, name: str) -> Room | None:
    """Return what room was last made for a pod of that name."""
    return await _newest(bus, PREEMPTOR, namespace, name)


async def sent_away(bus: Bus, namespace: str, name: str) -> Room | None:
    """Return for whom a pod of that name had to go last."""
    return await _newest(bus, VICTIM, namespace, name)


async def _newest(bus: Bus, role: str, namespace: str, name: str) -> Room | None:
    subject = decision_subject(role, namespace, name)
    for message in reversed(await newest(bus, DECISIONS.name, subject)):
        try:
            return room_of(decision_pb2.SchedulingDecision.FromString(message.data))
        except DecodeError as error:
            raise BusError(f"the decision on {subject} cannot be read: {error}") from error
    return None


def room_of(record: decision_pb2.SchedulingDecision) -> Room:
    """Return recorded room as it is shown."""
    made = record.preemption
    best = tuple(made.best)
    return Room(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        priority=made.priority,
        node=made.node,
        time=rfc3339(datetime.fromtimestamp(record.time / 1e6, UTC)),
        candidates=made.candidates,
        victims=tuple(
            Victim(one.namespace, one.name, one.uid, one.priority, tuple(one.budgets), one.violates)
            for one in made.victims
        ),
        best=tuple(_candidate(one, "" if one.node == made.node else _worse(best[0], one)) for one in best),
        message=record.message,
        scheduler=record.profile,
        term=record.term,
    )


def _candidate(one: decision_pb2.Candidate, why: str) -> Candidate:
    return Candidate(
        node=one.node,
        violations=one.violations,
        highest=one.highest if one.victims else 0,
        sum=one.sum - one.victims * _OFFSET,
        victims=one.victims,
        started=_started(-one.latest) if one.victims else "",
        why=why,
    )


def _worse(chosen: decision_pb2.Candidate, other: decision_pb2.Candidate) -> str:
    """Return the first of kube-scheduler's criteria by which another node costs more than the chosen one."""
    criteria = (
        (chosen.violations, other.violations, "more disruption budgets are violated"),
        (chosen.highest, other.highest, "a more important pod would have to go"),
        (chosen.sum, other.sum, "the victims are worth more together"),
        (chosen.victims, other.victims, "more pods would have to go"),
        (chosen.latest, other.latest, "the most important victim has run longer"),
    )
    return next((words for mine, its, words in criteria if its != mine), "costs as much")


def _started(digits: int) -> str:
    try:
        return rfc3339(datetime.strptime(str(digits), _MOMENT).replace(tzinfo=UTC))
    except ValueError:
        return ""  # it had not begun


def _budgets(victim: Victim) -> str:
    named = ", ".join(victim.budgets) or "none"
    return f"{named} (violated)" if victim.violates else named


def _row(one: Candidate) -> Sequence[object]:
    none = not one.victims
    since = one.started or ("-" if none else "not started")
    highest, total = ("-", "-") if none else (str(one.highest), str(one.sum))
    return one.node, one.victims, one.violations, highest, total, since, one.why or "chosen"
