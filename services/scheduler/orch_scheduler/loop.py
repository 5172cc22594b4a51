"""The scheduler's loop: events into columns and queue, batches through the engine, placements to the binder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import Counter, Histogram

from orch import telemetry
from orch.bus.protocol import Bus
from orch.bus.subjects import decision_subject
from orch.clock import Clock, rfc3339
from orch.errors import ApiError, OrchError
from orch.objects.cluster import Namespace, Node
from orch.objects.pods import Pod
from orch.objects.scheme import NAMESPACES, NODES, PODS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, ObjectReference
from orch.runtime.informer import Change, Informers, Item
from orch_pb.v1.decision_pb2 import Refusal, SchedulingDecision
from orch_scheduler.binder import Bind, Binder
from orch_scheduler.columns import Columns
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.demand import Demands
from orch_scheduler.engine import FILTERS, Engine, Placement
from orch_scheduler.filters.neighbours import InterPodAffinity
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.queue import PodQueue, Waiting

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
_FINISHED: Final = frozenset({"Succeeded", "Failed"})
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
        self._bus = bus
        self._recorder = recorder
        self._clock = clock
        self._config = config
        self._columns = Columns()
        self._demands = Demands()
        filters = [rule for rule in FILTERS if config.pod_affinity or not isinstance(rule, InterPodAffinity)]
        self._engine = Engine(filters)
        self._queue = PodQueue(clock, by_priority=config.pod_priority)
        self._binder = Binder(client, self._on_bound, self._on_bind_failed)
        self._report_slots = asyncio.Semaphore(_REPORTS)
        self._pods = informers.of(PODS)
        informers.of(NODES).on_change(self._on_node)
        informers.of(NAMESPACES).on_change(self._on_namespace)
        self._pods.on_change(self._on_pod)

    async def lead(self) -> None:
        """Schedule until cancelled; what that interrupts is begun anew by the next term.

        A placement whose commit was interrupted may stand: then the pod's next event says so, or the api refuses the
        second one.
        """
        for pod in self._queue.reclaim():
            self._columns.remove(pod.uid)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._queue.wait()
                await self._step(tasks)

    async def _step(self, tasks: asyncio.TaskGroup) -> None:
        batch = self._queue.pop(self._config.batch)
        if not batch:
            return
        started = self._clock.monotonic()
        placements = self._engine.plan(self._columns.snapshot(), [pod.demand for pod in batch])
        each = (self._clock.monotonic() - started) / len(batch)
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
            await self._publish(pod, placement)
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
        item = self._pods.get(pod.namespace, pod.name)
        if item is not None and item.uid == pod.uid and item.object.spec.node_name:
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

    async def _publish(self, pod: Waiting, placement: Placement) -> None:
        """Put the decision on the bus for whoever asks why; nobody waits for it."""
        refusal = placement.refusal
        decision = SchedulingDecision(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            node=placement.node,
            feasible=placement.feasible,
            nodes=refusal.nodes if refusal else self._columns.nodes,
            refusals=_refusals(placement),
            trace=pod.trace,
        )
        subject = decision_subject("scheduler", pod.namespace, pod.name)
        try:
            await self._bus.publish(subject, decision.SerializeToString())
        except OrchError as error:
            log.debug("a decision was not published: %s", error)

    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and (new is None or new.uid != old.uid):
            self._forget(old.uid)
        if new is None:
            return
        pod = new.object
        if pod.status.phase in _FINISHED:
            self._forget(new.uid)
        elif pod.spec.node_name:
            self._queue.remove(new.uid)
            self._place(new)
            if old is None or not old.object.spec.node_name or old.labels != new.labels:
                self._queue.woken(Wake.POD_ADDED)
        elif pod.metadata.deletion_timestamp or pod.spec.scheduler_name != self._config.scheduler_name:
            self._queue.remove(new.uid)
        else:
            self._enqueue(new)

    def _forget(self, uid: str) -> None:
        self._queue.remove(uid)
        if self._columns.remove(uid):
            self._queue.woken(Wake.POD_REMOVED)

    def _place(self, item: Item[Pod]) -> None:
        try:
            demand = self._demands.of(item.object)
        except ValueError as error:
            log.error("pod %s/%s on a node cannot be counted: %s", item.namespace, item.name, error)
            return
        self._columns.place(item.uid, item.object.spec.node_name, demand)

    def _enqueue(self, item: Item[Pod]) -> None:
        try:
            demand = self._demands.of(item.object)
        except ValueError as error:
            log.error("pod %s/%s cannot be scheduled: %s", item.namespace, item.name, error)
            return
        waiting = Waiting(
            uid=item.uid,
            namespace=item.namespace,
            name=item.name,
            revision=item.revision,
            demand=demand,
            trace=item.trace,
            since=self._clock.monotonic(),
        )
        self._queue.put(waiting)

    def _on_namespace(self, change: Change[Namespace]) -> None:
        new = change.new
        self._columns.set_namespace(change.item.name, new.labels if new is not None else None)
        if new is not None and (change.old is None or change.old.labels != new.labels):
            self._queue.woken(Wake.POD_ADDED)  # pods that were there before may be meant now

    def _on_node(self, change: Change[Node]) -> None:
        if change.new is None:
            if change.old is not None:
                self._columns.remove_node(change.old.name)
            return
        try:
            self._columns.set_node(change.new.object)
        except ValueError as error:
            log.error("node %s cannot be used: %s", change.new.name, error)
            return
        woken = _woken(change.old.object if change.old else None, change.new.object)
        if woken:
            self._queue.woken(woken)


def _woken(old: Node | None, new: Node) -> Wake:
    """Return what a node's change may make possible."""
    if old is None:
        return Wake.NODE_ADDED
    wake = Wake(0)
    if old.status.allocatable != new.status.allocatable:
        wake |= Wake.NODE_ALLOCATABLE
    if old.metadata.labels != new.metadata.labels:
        wake |= Wake.NODE_LABELS
    if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
        wake |= Wake.NODE_TAINTS
    return wake


def _refusals(placement: Placement) -> Sequence[Refusal]:
    if placement.refusal is None:
        return ()
    return [Refusal(rule=each.rule, reason=each.reason, nodes=each.nodes) for each in placement.refusal.refusals]


def _reference(pod: Waiting) -> ObjectReference:
    return ObjectReference(
        api_version="v1",
        kind="Pod",
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        resource_version=str(pod.revision),
    )
