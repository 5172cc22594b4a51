"""Decisions on the bus: published when they say something new, and read back by whoever leads next.

What an autoscaler recommended within its windows and changed within its policies' periods is part of each record, so a
new leader goes on where the one before it stopped.
"""

from __future__ import annotations

import itertools
import logging
from contextlib import aclosing
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.bus.protocol import Bus, Message
from orch.bus.subjects import DECISIONS, decision_subject, decisions_of, journal_subject
from orch.clock import Clock
from orch.errors import BusError, UnavailableError
from orch.runtime.reconcile import Key
from orch_pb.v1.autoscaling_pb2 import AutoscalingDecision, AutoscalingOutcome, Recommendation, ScaleChange

log = logging.getLogger(__name__)

COMPONENT: Final = "autoscaler"
_PUBLISHED: Final = Counter("orch_autoscaler_decisions", "Decisions that were put on the bus.")
_LOST: Final = Counter("orch_autoscaler_decisions_lost", "Decisions that could not be put on the bus.")

_SHOWN: Final = 10
"""Changes that a record tells of, whatever their age."""
_MOST: Final = 512
"""Changes that are remembered for policies; a policy looks back half an hour at most."""
_REFRESH: Final = 60.0
"""Seconds after which a decision that says nothing new is told again, so that its readings are not too old."""
_RETRY: Final = 1.0


class Past(msgspec.Struct, frozen=True):
    """What is remembered of an autoscaler."""

    uid: str = ""
    history: tuple[Recommendation, ...] = ()
    changes: tuple[ScaleChange, ...] = ()


_NOTHING: Final = Past()


class _Told(msgspec.Struct, frozen=True):
    """What the last record said, and when."""

    summary: tuple[object, ...]
    at: float


class Decisions:
    """Remembers and publishes."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._pasts: dict[Key, Past] = {}
        self._told: dict[Key, _Told] = {}
        self._term = int(clock.now().timestamp())
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Follow what other processes decided, for ever."""
        while True:
            try:
                async with aclosing(self._bus.follow(DECISIONS.name, [decisions_of(COMPONENT)])) as messages:
                    async for message in messages:
                        if isinstance(message, Message):
                            self._take(message)
            except (UnavailableError, BusError) as error:
                log.warning("decisions cannot be followed: %s", error)
            await self._clock.sleep(_RETRY)

    def past(self, key: Key, uid: str) -> Past:
        """Return what is remembered of an autoscaler."""
        past = self._pasts.get(key, _NOTHING)
        return past if past.uid == uid else _NOTHING

    def remember(self, key: Key, uid: str, outcome: AutoscalingOutcome, change: ScaleChange | None) -> Past:
        """Note what was recommended, and changed; return all that is remembered now."""
        changes = self.past(key, uid).changes
        if change is not None:
            changes = (*changes, change)[-_MOST:]
        past = self._pasts[key] = Past(uid, tuple(outcome.history), changes)
        return past

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an autoscaler that is gone."""
        self._pasts.pop(key, None)
        self._told.pop(key, None)

    async def publish(self, key: Key, decision: AutoscalingDecision) -> None:
        """Put a decision on the bus if it says something new or the last one was a while ago.

        What is new goes into the journal as well, from which all decisions of the last hour can be computed again.
        """
        past = self.past(key, decision.uid)
        decision.changes.extend(past.changes[-_SHOWN:])
        now, summary = self._clock.monotonic(), _summary(decision)
        told = self._told.get(key)
        if told is not None and told.summary == summary and now - told.at < _REFRESH:
            return
        self._told[key] = _Told(summary, now)
        data = decision.SerializeToString(deterministic=True)
        try:
            await self._bus.publish(decision_subject(COMPONENT, key.namespace, key.name), data)
            if told is None or told.summary != summary:
                await self._bus.publish(journal_subject(COMPONENT, self._term, next(self._numbers)), data)
        except (UnavailableError, BusError) as error:
            _LOST.inc()
            log.debug("a decision was not published: %s", error)
        else:
            _PUBLISHED.inc()

    def _take(self, message: Message) -> None:
        try:
            decision = AutoscalingDecision.FromString(message.data)
        except DecodeError as error:
            log.warning("the decision on %s is left out: %s", message.subject, error)
            return
        key = Key(decision.namespace, decision.name)
        known = self._pasts.get(key, _NOTHING)
        history = tuple(decision.outcome.history)
        if known.history and history and known.history[-1].at >= history[-1].at:
            return
        changes = {one.at: one for one in (*decision.inputs.changes, *decision.changes)}
        self._pasts[key] = Past(decision.uid, history, tuple(changes[at] for at in sorted(changes)))


def _summary(decision: AutoscalingDecision) -> tuple[object, ...]:
    """Return what makes a decision differ from another one: not the readings as such, but what follows from them."""
    outcome = decision.outcome
    return (
        decision.uid,
        decision.error,
        outcome.replicas,
        outcome.metrics_replicas,
        outcome.stabilized_replicas,
        tuple((one.replicas, one.error) for one in outcome.proposals),
        tuple((one.type, one.status, one.reason, one.message) for one in outcome.conditions),
        len(decision.changes) and decision.changes[-1].at,
    )
