"""Writes into pods' status what the scheduler has to say of them: that they do not fit, and where room is made."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock, rfc3339
from orch.errors import ApiError, OrchError
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

PENDING: Final = Gauge("scheduler_status_reports_pending", "Pods whose status is yet to be written")
FAILURES: Final = Counter("scheduler_status_report_failures", "Statuses of pods that could not be written")

_WORKERS: Final = 16
_PAUSE: Final = 1.0
_HELD_BACK: Final = 0.25
"""Seconds for which is kept what may be out of date at once: of a pod whose victims are gone as they are told."""

UNSCHEDULABLE: Final = "Unschedulable"
ERROR: Final = "SchedulerError"


class _Report(msgspec.Struct):
    """What is to be written of a pod: a reason with its message, a nominated node ("" takes it away), or both."""

    pod: Waiting
    reason: str = ""
    message: str = ""
    nominated: str | None = None


class Reports:
    """Keeps the newest word about each pod until it is written: as many wait as there are pods in the queue."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._pending: dict[str, _Report] = {}
        self._held: dict[str, _Report] = {}
        self._holding = asyncio.Event()
        self._writing: set[str] = set()
        self._more = asyncio.Event()
        PENDING.set_function(lambda: len(self._pending) + len(self._held))

    def refused(self, pod: Waiting, message: str, reason: str = UNSCHEDULABLE) -> None:
        """Say that a pod was refused."""
        report = self._report(pod)
        report.reason, report.message = reason, message

    def nominated(self, pod: Waiting, node: str) -> None:
        """Say where room is made for a pod; "" takes that back."""
        self._report(pod).nominated = node

    def hold_back(self, uid: str) -> None:
        """Keep what is to be said of a pod for a moment, in which it may be bound."""
        report = self._pending.pop(uid, None)
        if report is not None:
            self._held[uid] = report
            self._holding.set()

    def forget(self, uid: str) -> None:
        """Say nothing of a pod that is bound or gone."""
        self._pending.pop(uid, None)
        self._held.pop(uid, None)

    async def run(self) -> None:
        """Write for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work(), name="status reports")
            tasks.create_task(self._release(), name="status reports")

    def _report(self, pod: Waiting) -> _Report:
        report = self._pending.setdefault(pod.uid, self._held.pop(pod.uid, None) or _Report(pod))
        self._more.set()
        return report

    async def _release(self) -> None:
        """Let go what was held back for long enough, for ever."""
        while True:
            await self._holding.wait()
            self._holding.clear()
            due = list(self._held)
            await self._clock.sleep(_HELD_BACK)
            for uid in due:
                report = self._held.pop(uid, None)
                if report is not None:
                    self._pending.setdefault(uid, report)
            self._more.set()

    async def _work(self) -> None:
        while True:
            # One word about a pod at a time, so that the newest one is the last.
            uid = next((uid for uid in self._pending if uid not in self._writing), "")
            if not uid:
                self._more.clear()
                await self._more.wait()
                continue
            self._writing.add(uid)
            try:
                await self._write(self._pending.pop(uid))
            finally:
                self._writing.discard(uid)
                if uid in self._pending:
                    self._more.set()

    async def _write(self, report: _Report) -> None:
        """Write the PodScheduled condition, which kubectl describe and autoscalers read, and the nomination."""
        pod, status = report.pod, dict[str, Any]()
        if report.reason:
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": report.reason,
                "message": report.message,
                "lastTransitionTime": rfc3339(self._clock.now()),
            }
            status["conditions"] = [condition]
        if report.nominated is not None:
            status["nominatedNodeName"] = report.nominated or None
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        try:
            await self._client.patch(PODS, pod.namespace, pod.name, patch, subresource="status", strategic=True)
        except ApiError as error:
            log.info("pod %s/%s took no status: %s", pod.namespace, pod.name, error)
        except OrchError as error:
            FAILURES.inc()
            pod.message = ""  # say it again at the next refusal
            log.warning("the api did not take the status of %s/%s: %s", pod.namespace, pod.name, error)
            if report.nominated is not None:
                self._pending.setdefault(pod.uid, report)
            await self._clock.sleep(_PAUSE)
