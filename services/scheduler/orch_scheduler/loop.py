"""The scheduler's loop: batches from the queue through the engine, placements to the binder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Histogram

from orch import telemetry
from orch.bus.protocol import Bus
from orch.clock import Clock, rfc3339
from orch.errors import ApiError, OrchError
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, ObjectReference
from orch.runtime.informer import Informers
from orch_scheduler.binder import Bind, Binder
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.decisions import Decisions, Plan
from orch_scheduler.engine import FILTERS, Engine, Placement
from orch_scheduler.filters.neighbours import InterPodAffinity
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.observed import Observed
from orch_scheduler.queue import PodQueue, Waiting
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recorded import RecordedColumns, RecordedDemands

log = logging.getLogger(__name__)

ATTEMPTS: Final = Counter("scheduler_schedule_attempts", "Pods that were tried, by result", ("result", "profile"))
ATTEMPT_SECONDS: Final = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Time to plan a batch, per pod",
    ("result", "profile"),
    buckets=(0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
)
LATENCY: Final = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "Time from a pod's first appearance to its binding",
    ("attempts",),
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
)
_REPORTS: Final = 32
"""Refusals that are being written to the api at a time."""


class Scheduler:
    """Keeps columns and queue up to date at all times, and schedules while it leads."""

    def __init__(
        self,
        client: Client,
        bus: Bus,
        informers: Informers,
        recorder: EventRecorder,
        clock: Clock,
        config: SchedulerConfig,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._config = config
        journal = Journal(bus, clock)
        demands = RecordedDemands(journal)
        self._columns = RecordedColumns(journal, demands, ())
        self._decisions = Decisions(bus, clock, journal, demands)
        filters = [rule for rule in FILTERS if config.pod_affinity or not isinstance(rule, InterPodAffinity)]
        self._engine = Engine(filters)
        self._queue = PodQueue(clock, by_priority=config.pod_priority)
        self._binder = Binder(client, self._on_bound, self._on_bind_failed)
        self._report_slots = asyncio.Semaphore(_REPORTS)
        self._observed = Observed(informers, self._columns, demands, self._queue, clock, config)

    async def lead(self) -> None:
        """Schedule until cancelled; what that interrupts is begun anew by the next term.

        A placement whose commit was interrupted may stand: then the pod's next event says so, or the api refuses the
        second one.
        """
        for pod in self._queue.reclaim():
            self._columns.remove(pod.uid)
        async with asyncio.TaskGroup() as tasks:
            self._decisions.start(tasks)
            while True:
                await self._queue.wait()
                await self._step(tasks)

    async def _step(self, tasks: asyncio.TaskGroup) -> None:
        batch = self._queue.pop(self._config.batch)
        if not batch:
            return
        started = self._clock.monotonic()
        snapshot = self._columns.snapshot()
        placements = self._engine.plan(snapshot, [pod.demand for pod in batch])
        took = self._clock.monotonic() - started
        each = took / len(batch)
        self._decisions.planned(
            Plan(
                pods=batch,
                placements=placements,
                snapshot=snapshot,
                nodes=self._columns.nodes,
                profile=self._config.scheduler_name,
                profile_hash="",
                seed=0,
                took=took,
            )
        )
        binds: list[Bind] = []
        for pod, placement in zip(batch, placements, strict=True):
            result = "scheduled" if placement.node else "unschedulable"
            ATTEMPTS.labels(result, self._config.scheduler_name).inc()
            ATTEMPT_SECONDS.labels(result, self._config.scheduler_name).observe(each)
            if placement.node:
                self._columns.place(pod.uid, placement.node, pod.demand)
                binds.append(self._decided(pod, placement))
            else:
                self._refuse(pod, placement, tasks)
        await self._binder.bind(binds, tasks)

    def _decided(self, pod: Waiting, placement: Placement) -> Bind:
        attributes: Mapping[str, str | int] = {
            "k8s.pod.name": pod.name,
            "k8s.namespace.name": pod.namespace,
            "k8s.node.name": placement.node,
            "orch.feasible_nodes": placement.feasible,
        }
        with telemetry.span("scheduler.schedule", parent=pod.trace, attributes=attributes):
            return Bind(pod, placement.node, telemetry.current_trace() or pod.trace)

    def _on_bound(self, bind: Bind) -> None:
        pod = bind.pod
        self._queue.remove(pod.uid)
        LATENCY.labels(str(min(pod.attempts, 16))).observe(self._clock.monotonic() - pod.since)
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {bind.node}"
        self._recorder.event(_reference(pod), "Normal", "Scheduled", message)

    def _on_bind_failed(self, bind: Bind, error: OrchError) -> None:
        """Take the placement back, unless the informer has shown meanwhile that it stands."""
        pod = bind.pod
        if self._observed.bound(pod.namespace, pod.name, pod.uid):
            return
        if self._columns.remove(pod.uid):
            self._queue.woken(Wake.POD_REMOVED)
        self._queue.retry(pod)
        log.info("pod %s/%s was not bound to %s: %s", pod.namespace, pod.name, bind.node, error)

    def _refuse(self, pod: Waiting, placement: Placement, tasks: asyncio.TaskGroup) -> None:
        refusal = placement.refusal
        if refusal is None:
            raise ValueError("a placement has neither a node nor a refusal")
        message, told = refusal.message, pod.message
        self._queue.park(pod, refusal.wake, message)
        self._decisions.refused(pod.uid, message)
        self._recorder.event(_reference(pod), "Warning", "FailedScheduling", message)
        if message != told:
            tasks.create_task(self._report(pod, message))

    async def _report(self, pod: Waiting, message: str) -> None:
        """Write the PodScheduled condition, which kubectl describe and autoscalers read."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        async with self._report_slots:
            try:
                await self._client.patch(PODS, pod.namespace, pod.name, patch, subresource="status", strategic=True)
            except ApiError as error:
                log.info("pod %s/%s took no condition: %s", pod.namespace, pod.name, error)
            except OrchError as error:
                pod.message = ""  # say it again at the next refusal
                log.warning("the api did not take a condition: %s", error)


def _reference(pod: Waiting) -> ObjectReference:
    return ObjectReference(
        api_version="v1",
        kind="Pod",
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        resource_version=str(pod.revision),
    )
