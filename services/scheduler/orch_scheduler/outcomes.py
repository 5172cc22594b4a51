"""What follows from decisions: bindings, refusals with their events and conditions, room made at the cost of others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Final

from prometheus_client import Counter, Histogram

from orch import telemetry
from orch.clock import Clock
from orch.errors import OrchError
from orch.runtime.events import EventRecorder
from orch_scheduler.binder import Bind
from orch_scheduler.columns import Columns
from orch_scheduler.deciders import Decider
from orch_scheduler.decisions import Decisions
from orch_scheduler.engine import Placement
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.gangs.progress import Progress
from orch_scheduler.observed import Observed
from orch_scheduler.planning import Decided, Refused
from orch_scheduler.preemption.evictions import Evictions, Victim
from orch_scheduler.preemption.nominations import Nominations
from orch_scheduler.preemption.preemptor import Preemptor, Verdict
from orch_scheduler.queue import PodQueue
from orch_scheduler.reports import ERROR, Reports
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

ATTEMPTS: Final = Counter("scheduler_schedule_attempts", "Pods that were tried, by result", ("result", "profile"))
ATTEMPT_SECONDS: Final = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Time to plan a batch, per pod",
    ("result", "profile"),
    buckets=(0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
)
POD_ATTEMPTS: Final = Histogram(
    "scheduler_pod_scheduling_attempts", "Attempts that bound pods took", buckets=(1, 2, 4, 8, 16)
)
LATENCY: Final = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "Time from a pod's first appearance to its binding",
    ("attempts",),
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
)

_MOST_ATTEMPTS: Final = 16

_attempts: Final = cache(ATTEMPTS.labels)
_attempt_seconds: Final = cache(ATTEMPT_SECONDS.labels)
_latency: Final = cache(LATENCY.labels)
"""Looking up a figure by its labels costs more than counting."""


class Outcomes:
    """Carries out what was decided, and takes in what became of it."""

    def __init__(
        self,
        queue: PodQueue,
        columns: Columns,
        nominations: Nominations,
        preemptor: Preemptor,
        decisions: Decisions,
        reports: Reports,
        progress: Progress,
        recorder: EventRecorder,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._columns = columns
        self._nominations = nominations
        self._preemptor = preemptor
        self._decisions = decisions
        self._reports = reports
        self._progress = progress
        self._recorder = recorder
        self._clock = clock
        self._observed: Observed | None = None
        self._evictions: Evictions | None = None

    def attach(self, observed: Observed, evictions: Evictions) -> None:
        """Say who sees the cluster and who evicts; both tell this one of what they find."""
        self._observed = observed
        self._evictions = evictions

    def carry_out(
        self, decided: Decided, profile: Decider, seconds: float, group: str = "", turn: int = 0
    ) -> list[Bind]:
        """Return the bindings to commit; everything else that follows is under way then. `seconds`: of each pod."""
        binds: list[Bind] = []
        for pod, placement in decided.placed:
            self._count("scheduled", profile, seconds)
            self._queue.encourage(pod.demand)
            binds.append(_bind(pod, placement, turn))
        for refused in decided.refused:
            self._count("unschedulable", profile, seconds)
            self._refuse(refused, profile)
        for pod, error in decided.failed:
            self._count("error", profile, seconds)
            self._fail(pod, error)
        if decided.lacking:
            self._progress.lacking(group, decided.lacking)
            self._make_room_for_group(decided, profile)
        return binds

    def bound(self, bind: Bind) -> None:
        """Take in that a pod was bound."""
        pod = bind.pod
        self._queue.remove(pod.uid)
        self._reports.forget(pod.uid)
        self._nominations.drop(pod.uid)
        _latency(str(min(pod.attempts, _MOST_ATTEMPTS))).observe(self._clock.monotonic() - pod.since)
        POD_ATTEMPTS.observe(pod.attempts)
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {bind.node}"
        self._recorder.event(pod.reference, "Normal", "Scheduled", message)

    def bind_failed(self, bind: Bind, error: OrchError) -> None:
        """Take a placement back, unless the informer has shown meanwhile that the pod has a node."""
        pod = bind.pod
        if self._observed is not None and self._observed.bound(pod.namespace, pod.name, pod.uid):
            return
        if self._columns.remove(pod.uid):
            self._queue.woken(Wake.POD_REMOVED)
        self._expect_no_more(pod)
        self._queue.retry(pod)
        log.info("pod %s/%s was not bound to %s: %s", pod.namespace, pod.name, bind.node, error)

    def victim_stays(self, victim: Victim, error: OrchError) -> None:
        """Take in that a victim could not be made to go: who waits for it is decided anew."""
        log.info("victim %s/%s is waited for no longer: %s", victim.namespace, victim.name, error)
        self._preemptor.forget(victim)

    def _refuse(self, refused: Refused, profile: Decider) -> None:
        pod, message = refused.pod, refused.message
        if refused.quiet:
            self._queue.park(pod, refused.wake, message, refused.rules)
            return
        able = refused.alone and refused.rules and profile.preempts
        verdict = self._preemptor.preempt(profile, pod) if able else Verdict()
        if verdict.message:
            message = f"{message} preemption: {verdict.message}"
        told = pod.message
        self._queue.park(pod, refused.wake, message, refused.rules)
        self._recorder.event(pod.reference, "Warning", "FailedScheduling", message)
        if message != told:
            self._reports.refused(pod, message)
        if verdict.node:
            self._make_room(pod, verdict, refused.message)
        else:
            self._expect_no_more(pod)
        self._decisions.refused(pod.uid, message, verdict.record)

    def _expect_no_more(self, pod: Waiting) -> None:
        """Take back what a pod's status says about its node, unless room is kept for it there."""
        if pod.nominated and self._nominations.get(pod.uid) is None:
            pod.nominated = ""
            self._reports.nominated(pod, "")

    def _make_room_for_group(self, decided: Decided, profile: Decider) -> None:
        """Make room for as many pods as a group lacks, or for none; those that fit keep their place meanwhile."""
        if not decided.missing or not profile.preempts:
            return
        fitting = {pod.uid for pod, _ in decided.fitting}
        for pod, node in decided.fitting:
            self._columns.place(pod.uid, node, pod.demand)
        found: list[tuple[Waiting, Verdict]] = []
        for refused in decided.refused:
            pod = refused.pod
            if len(found) < decided.missing and pod.uid not in fitting and refused.rules:
                verdict = self._preemptor.preempt(profile, pod)
                if not verdict.node:
                    break
                found.append((pod, verdict))
        for pod, _ in decided.fitting:
            self._columns.remove(pod.uid)
        if not found or len(found) < decided.missing:
            for pod, verdict in reversed(found):
                self._preemptor.undo(pod, verdict)
            return
        for pod, node in decided.fitting:
            self._nominations.add(pod.uid, node, pod.demand, ())
            pod.nominated = node
            self._reports.nominated(pod, node)
        for pod, verdict in found:
            self._make_room(pod, verdict, decided.lacking)

    def _make_room(self, pod: Waiting, verdict: Verdict, message: str) -> None:
        """Make the victims go, and tell everyone whom it concerns. `message`: why the pod had no room."""
        self._decisions.made_room(pod, message, [(one.namespace, one.name) for one in verdict.victims], verdict.record)
        pod.nominated = verdict.node
        self._reports.nominated(pod, verdict.node)
        for nomination in verdict.displaced:
            lower = self._queue.get(nomination.uid)
            if lower is not None:
                lower.nominated = ""
                self._reports.nominated(lower, "")
                self._queue.activate(lower.uid)
        for victim in verdict.victims:
            if self._evictions is not None:
                self._evictions.evict(victim)
        nomination = self._nominations.get(pod.uid)
        awaited = nomination.awaited if nomination is not None else set[str]()
        if nomination is not None and not awaited:
            self._queue.activate(pod.uid)
        if awaited <= {victim.uid for victim in verdict.victims if victim.at_once}:
            self._reports.hold_back(pod.uid)

    def _fail(self, pod: Waiting, error: Exception) -> None:
        message = f"the pod cannot be judged: {type(error).__name__}: {error}"
        told, pod.message = pod.message, message
        self._queue.retry(pod)
        self._recorder.event(pod.reference, "Warning", "FailedScheduling", message)
        if message != told:
            self._reports.refused(pod, message, ERROR)

    def _count(self, result: str, profile: Decider, seconds: float) -> None:
        _attempts(result, profile.name).inc()
        _attempt_seconds(result, profile.name).observe(seconds)


def _bind(pod: Waiting, placement: Placement, turn: int) -> Bind:
    attributes: Mapping[str, str | int] = {
        "k8s.pod.name": pod.name,
        "k8s.namespace.name": pod.namespace,
        "k8s.node.name": placement.node,
        "orch.feasible_nodes": placement.feasible,
    }
    with telemetry.span("scheduler.schedule", parent=pod.trace, attributes=attributes):
        return Bind(pod, placement.node, telemetry.current_trace() or pod.trace, turn)
