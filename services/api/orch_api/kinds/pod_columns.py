"""What `kubectl get pods` shows, above all the one word for a pod's state (pkg/printers/internalversion, printPod)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from orch_api.kinds.columns import AGE, NAME, NONE, since, text
from orch_api.resource import Column
from orch_api.strategy import Document, section


class _Summary(msgspec.Struct):
    """The state of a pod while its containers are counted."""

    ready: int = 0
    total: int = 0
    initial: int = 0
    reason: str = ""
    restarts: int = 0
    restarted: str = ""

    def count_restarts(self, status: Document) -> None:
        """Add a container's restarts, and remember the last one's time."""
        self.restarts += status.get("restartCount") or 0
        if last := status.get("lastState"):
            finished: str = section(last, "terminated").get("finishedAt") or ""
            self.restarted = max(self.restarted, finished)


def summarise(pod: Document) -> _Summary:
    """Return how many containers are ready, in which state the pod is, and how often it was restarted."""
    spec: Document = pod.get("spec") or {}
    status: Document = pod.get("status") or {}
    conditions: list[Document] = status.get("conditions") or []
    initial: list[Document] = spec.get("initContainers") or []
    sidecars = frozenset(one["name"] for one in initial if one.get("restartPolicy") == "Always")
    summary = _Summary(
        total=len(spec.get("containers") or ()) + len(sidecars),
        initial=len(initial),
        reason=status.get("reason") or status.get("phase") or "",
    )
    for condition in conditions:
        if condition.get("reason") == "SchedulingGated" and condition.get("type") == "PodScheduled":
            summary.reason = "SchedulingGated"
    restarts = _Summary()
    if not initial or not _initialize(summary, restarts, status, sidecars) or _is_true(conditions, "Initialized"):
        summary.restarts, summary.restarted = restarts.restarts, restarts.restarted
        _run(summary, status, conditions)
    if section(pod, "metadata").get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif status.get("phase") not in {"Succeeded", "Failed"}:
            summary.reason = "Terminating"
    return summary


def _initialize(summary: _Summary, sidecar_restarts: _Summary, status: Document, sidecars: frozenset[str]) -> bool:
    """Go through the init containers; tell whether one of them is not through yet."""
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        summary.count_restarts(container)
        if container.get("name") in sidecars:
            sidecar_restarts.count_restarts(container)
        state: Document = container.get("state") or {}
        terminated: Document | None = state.get("terminated")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            summary.ready += bool(container.get("ready"))
            continue
        waiting: str = section(state, "waiting").get("reason") or ""
        if terminated is not None:
            summary.reason = f"Init:{_exit_reason(terminated)}"
        elif waiting and waiting != "PodInitializing":
            summary.reason = f"Init:{waiting}"
        else:
            summary.reason = f"Init:{index}/{summary.initial}"
        return True
    return False


def _run(summary: _Summary, status: Document, conditions: list[Document]) -> None:
    """Go through the containers, the last one first, so that the first one's word counts."""
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        summary.count_restarts(container)
        state: Document = container.get("state") or {}
        terminated: Document | None = state.get("terminated")
        waiting: Document | None = state.get("waiting")
        if waiting and waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif terminated is not None:
            summary.reason = _exit_reason(terminated)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if running and summary.reason == "Completed":
        summary.reason = "Running" if _is_true(conditions, "Ready") else "NotReady"


def _exit_reason(terminated: Document) -> str:
    if reason := terminated.get("reason"):
        return reason
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _is_true(conditions: list[Document], kind: str) -> bool:
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


class _Latest:
    """Remembers the last pod's summary: three columns in a row ask for the same."""

    __slots__ = ("_pod", "_summary")

    def __init__(self) -> None:
        self._pod: Document | None = None
        self._summary = _Summary()

    def of(self, pod: Document) -> _Summary:
        """Return the pod's summary; a document is not changed between its columns."""
        if pod is not self._pod:
            self._pod, self._summary = pod, summarise(pod)
        return self._summary

    def ready(self, pod: Document, now: datetime) -> str:
        """Start with a new pod: this is the first column that asks."""
        _ = now
        self._pod, self._summary = pod, summarise(pod)
        return f"{self._summary.ready}/{self._summary.total}"

    def status(self, pod: Document, now: datetime) -> str:
        """Return the pod's state in one word."""
        _ = now
        return self.of(pod).reason

    def restarts(self, pod: Document, now: datetime) -> str:
        """Return the number of restarts and when the last one was."""
        summary = self.of(pod)
        if summary.restarts and summary.restarted:
            return f"{summary.restarts} ({since(summary.restarted, now)} ago)"
        return str(summary.restarts)


def _ip(pod: Document, now: datetime) -> str:
    _ = now
    status: Document = pod.get("status") or {}
    addresses: list[Document] = status.get("podIPs") or []
    return (addresses[0].get("ip") if addresses else status.get("podIP")) or NONE


def _readiness_gates(pod: Document, now: datetime) -> Any:
    _ = now
    gates: list[Document] = section(pod, "spec").get("readinessGates") or []
    if not gates:
        return NONE
    conditions: list[Document] = section(pod, "status").get("conditions") or []
    met = sum(_is_true(conditions, gate.get("conditionType") or "") for gate in gates)
    return f"{met}/{len(gates)}"


_LATEST: Final = _Latest()

POD_COLUMNS: Final = (
    NAME,
    Column("Ready", _LATEST.ready, description="The number of ready containers, of all containers."),
    Column("Status", _LATEST.status, description="The aggregate state of the containers in this pod."),
    Column("Restarts", _LATEST.restarts, description="How often containers were restarted, and when last."),
    AGE,
    Column("IP", _ip, description="Address of the pod.", priority=1),
    Column("Node", text("spec", "nodeName", missing=NONE), description="The node that runs the pod.", priority=1),
    Column(
        "Nominated Node",
        text("status", "nominatedNodeName", missing=NONE),
        description="The node whose pods make room for this one.",
        priority=1,
    ),
    Column("Readiness Gates", _readiness_gates, description="Conditions that must hold for readiness.", priority=1),
)
