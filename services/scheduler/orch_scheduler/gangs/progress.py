"""Tells in a PodGroup's status and events how far it has come and what it lacks, and takes back what came too late.

A group is bound in one go, but each of its pods is bound for itself: one that was deleted at that moment is missing.
Then the group is Scheduling, and its other pods keep being tried. If it is not complete after scheduleTimeoutSeconds,
the pods of it that are on nodes are deleted, so that whoever owns them makes them again and the group starts whole.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, rfc3339
from orch.errors import ApiError, NotFoundError, OrchError
from orch.objects.pods import Pod
from orch.objects.scheme import POD_GROUPS, PODS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, reference
from orch.runtime.informer import Informer
from orch_scheduler.gangs.groups import Groups

log = logging.getLogger(__name__)

TIMEOUTS: Final = Counter("scheduler_pod_group_timeouts", "Groups whose start took longer than they allow")
FAILURES: Final = Counter("scheduler_pod_group_failures", "Writes about groups that the api did not take")

PENDING: Final = "Pending"
SCHEDULING: Final = "Scheduling"
SCHEDULED: Final = "Scheduled"

_TIMEOUT: Final = 60
_PERIOD: Final = 1.0
_PAUSE: Final = 1.0
_CONDITION: Final = "Scheduled"


class _Word(msgspec.Struct, frozen=True):
    """What is to be said of a group."""

    phase: str
    reason: str
    message: str


class Progress:
    """Writes the newest word about each group, one after another, and looks after groups that take too long."""

    def __init__(
        self, groups: Groups, pods: Informer[Pod], client: Client, recorder: EventRecorder, clock: Clock
    ) -> None:
        self._groups = groups
        self._pods = pods
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._words: dict[str, _Word] = {}
        self._told: dict[str, _Word] = {}
        self._starting: dict[str, float] = {}  # since when
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
            self._starting.pop(group, None)
            self._say(group, _Word(SCHEDULED, "Scheduled", f"{bound} pods are on nodes, {needed} are needed"))
        elif item.object.status.phase != SCHEDULED:
            self._starting.setdefault(group, self._clock.monotonic())
            self._say(group, _Word(SCHEDULING, "Binding", f"{bound} of {needed} pods are on nodes"))

    async def run(self) -> None:
        """Write and look, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_all())
            tasks.create_task(self._look())

    def _say(self, group: str, word: _Word) -> None:
        if self._told.get(group) != word:
            self._words[group] = word
            self._more.set()
        else:
            self._words.pop(group, None)

    async def _write_all(self) -> None:
        while True:
            while not self._words:
                self._more.clear()
                await self._more.wait()
            group = next(iter(self._words))
            await self._write(group, self._words.pop(group))

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
        self._told[group] = word
        if done:
            self._recorder.event(reference(POD_GROUPS, item), "Normal", "Scheduled", word.message)
        elif word.phase == PENDING:
            self._recorder.event(reference(POD_GROUPS, item), "Warning", "FailedScheduling", word.message)

    async def _look(self) -> None:
        """Take back what is on nodes of groups that have taken too long."""
        while True:
            await self._clock.sleep(_PERIOD)
            now = self._clock.monotonic()
            for group, since in list(self._starting.items()):
                item = self._groups.get(group)
                if item is None or not self._groups.bound(group):
                    del self._starting[group]
                    continue
                allowed = item.object.spec.schedule_timeout_seconds or _TIMEOUT
                if now - since > allowed:
                    del self._starting[group]
                    TIMEOUTS.inc()
                    bound, needed = self._groups.bound(group), item.object.spec.min_member
                    message = f"{bound} of {needed} pods were bound within {allowed} s: they are taken back"
                    self._recorder.event(reference(POD_GROUPS, item), "Warning", "ScheduleTimeout", message)
                    self._say(group, _Word(PENDING, "ScheduleTimeout", message))
                    await self._take_back(group)

    async def _take_back(self, group: str) -> None:
        namespace, _, _ = group.partition("/")
        members = self._groups.members(group)
        for item in self._pods.items(namespace):
            if item.uid not in members:
                continue
            try:
                await self._client.delete(PODS, item.namespace, item.name, uid=item.uid)
            except NotFoundError:
                continue
            except OrchError as error:
                FAILURES.inc()
                log.warning("pod %s of group %s could not be taken back: %s", item.name, group, error)
                self._starting.setdefault(group, self._clock.monotonic())
