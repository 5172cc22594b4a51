"""Tells in a PodGroup's status and events how far it has come and what it lacks."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, parse_rfc3339, rfc3339
from orch.errors import ApiError, OrchError
from orch.objects.scheduling import PodGroup
from orch.objects.scheme import POD_GROUPS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, reference
from orch.runtime.informer import Item
from orch_scheduler.gangs.groups import Groups

log = logging.getLogger(__name__)

TIMEOUTS: Final = Counter("scheduler_pod_group_timeouts", "Groups whose start took longer than they allow")
FAILURES: Final = Counter("scheduler_pod_group_status_failures", "Statuses of groups that could not be written")

PENDING: Final = "Pending"
SCHEDULING: Final = "Scheduling"
SCHEDULED: Final = "Scheduled"
_TIMEOUT: Final = 60
_PAUSE: Final = 1.0
_CONDITION: Final = "Scheduled"


class _Word(msgspec.Struct, frozen=True):
    """What is to be said of a group."""

    phase: str
    reason: str
    message: str


class Progress:
    """Writes the newest word about each group, one after another."""

    def __init__(self, groups: Groups, client: Client, recorder: EventRecorder, clock: Clock) -> None:
        self._groups = groups
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._words: dict[str, _Word] = {}
        self._told: dict[str, str] = {}
        self._more = asyncio.Event()

    def lacking(self, group: str, message: str) -> None:
        """Say what keeps a group from starting."""
        self._say(group, _Word(PENDING, "Unschedulable", message))

    def started(self, group: str) -> None:
        """Say that pods of a group were bound: all that it needs, or some of them."""
        item = self._groups.get(group)
        if item is None:
            return
        bound, needed = self._groups.bound(group), item.object.spec.min_member
        if bound >= needed:
            self._say(group, _Word(SCHEDULED, "Scheduled", f"{bound} pods are on nodes, {needed} are needed"))
        else:
            self._say(group, _Word(SCHEDULING, "Binding", f"{bound} of {needed} pods are on nodes"))

    def overdue(self, item: Item[PodGroup]) -> bool:
        """Return whether a group has been starting for longer than it allows."""
        group = item.object
        if group.status.phase != SCHEDULING or not group.status.schedule_start_time:
            return False
        try:
            begun = parse_rfc3339(group.status.schedule_start_time)
        except ValueError:
            return False
        allowed = group.spec.schedule_timeout_seconds or _TIMEOUT
        return (self._clock.now() - begun).total_seconds() > allowed

    async def run(self) -> None:
        """Write for ever."""
        while True:
            while not self._words:
                self._more.clear()
                await self._more.wait()
            group = next(iter(self._words))
            await self._write(group, self._words.pop(group))

    def _say(self, group: str, word: _Word) -> None:
        if self._told.get(group) != word.message:
            self._words[group] = word
            self._more.set()

    async def _write(self, group: str, word: _Word) -> None:
        item = self._groups.get(group)
        if item is None:
            self._told.pop(group, None)
            return
        now = rfc3339(self._clock.now())
        done = word.phase == SCHEDULED
        condition = {
            "type": _CONDITION,
            "status": "True" if done else "False",
            "reason": word.reason,
            "message": word.message,
            "lastTransitionTime": now,
        }
        status: dict[str, Any] = {
            "phase": word.phase,
            "scheduled": self._groups.bound(group),
            "conditions": [condition],
        }
        if word.phase == SCHEDULING and not item.object.status.schedule_start_time:
            status["scheduleStartTime"] = now
        if self.overdue(item) and not done:
            TIMEOUTS.inc()
            self._recorder.event(reference(POD_GROUPS, item), "Warning", "ScheduleTimeout", word.message)
        patch = {"metadata": {"uid": item.uid}, "status": status}
        try:
            await self._client.patch(POD_GROUPS, item.namespace, item.name, patch, subresource="status")
        except ApiError as error:
            log.info("pod group %s took no status: %s", group, error)
        except OrchError as error:
            FAILURES.inc()
            log.warning("the api did not take the status of pod group %s: %s", group, error)
            self._words.setdefault(group, word)
            await self._clock.sleep(_PAUSE)
            return
        self._told[group] = word.message
        kind = "Normal" if done else "Warning"
        reason = "Scheduled" if done else "FailedScheduling"
        if word.phase != SCHEDULING:
            self._recorder.event(reference(POD_GROUPS, item), kind, reason, word.message)
