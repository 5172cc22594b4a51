"""Ends the pods of a node that shuts down, the lowest priorities first, and lets no new ones in.

    SIGPWR, or logind's PrepareForShutdown ─▶ not ready, closed ─▶ each priority in turn ─▶ told ─▶ the process ends

SIGTERM is not that: it ends the agent alone, and its containers go on. Source:
k8s.io/kubernetes/pkg/kubelet/nodeshutdown (nodeshutdown_manager_linux.go).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch_agent.eviction.verdict import Eviction
from orch_agent.node import Node
from orch_agent.pods.allocations import Refusal
from orch_agent.pods.host import EventType, PodHost
from orch_agent.pods.worker import PodWorker
from orch_agent.shutdown.settings import ShutdownSettings, by_period

_LOG: Final = logging.getLogger(__name__)
_BEGUN: Final = Gauge("orch_agent_shutdown_start_time_seconds", "When the node's last graceful shutdown began.")
_ENDED: Final = Gauge("orch_agent_shutdown_end_time_seconds", "When the node's last graceful shutdown was over.")
_LATE: Final = Counter("orch_agent_shutdown_late_pods_total", "Pods that had not ended when their period was over.")

_REASON: Final = "Terminated"
_MESSAGE: Final = "Pod was terminated in response to imminent node shutdown."
_REFUSAL: Final = Refusal("NodeShutdown", "Pod was rejected as the node is shutting down.")
_POLL: Final = 0.1
_LAST_WORDS: Final = 2.0
"""Seconds beyond all periods in which what became of the pods is told, if there is a bus to tell it."""


class Workers(Protocol):
    """The workers of a node's pods."""

    def workers_of(self, node: str) -> Sequence[PodWorker]:
        """Return those that have not ended."""
        ...


class Voice(Protocol):
    """What the node says."""

    @property
    def idle(self) -> bool:
        """Whether all that is known of pods has been taken."""
        ...

    def node_event(self, node: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event about the node."""
        ...

    def tell_nodes(self) -> None:
        """Tell at once how the nodes are."""
        ...


class NodeShutdown:
    """The shutdown of all nodes of this process. `leave` ends the process the usual way."""

    def __init__(
        self,
        settings: ShutdownSettings,
        nodes: Mapping[str, Node],
        hosts: Mapping[str, PodHost],
        workers: Workers,
        voice: Voice,
        clock: Clock,
        *,
        leave: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM),
    ) -> None:
        self.settings = settings
        self._nodes = nodes
        self._workers = workers
        self._voice = voice
        self._clock = clock
        self._leave = leave
        self._told = asyncio.Event()
        self._going = False
        for host in hosts.values():
            host.admission.closed = self.refuses

    def refuses(self) -> Refusal | None:
        """Return why no new pod may run here now."""
        return _REFUSAL if self._going else None

    async def run(self) -> None:
        """Wait for the operator's signal, and end the pods and then the process."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGPWR, self._told.set)
        try:
            await self._told.wait()
            await self._go_down()
        finally:
            loop.remove_signal_handler(signal.SIGPWR)
        self._leave()

    async def _go_down(self) -> None:
        if self.settings.periods:
            await self.end_pods()
        else:
            _LOG.warning("the node is to shut down, but shutdown.grace_period is not set: its pods stay")

    async def end_pods(self) -> None:
        """End all pods, each priority within its period. A second call while one is under way ends with the first."""
        _LOG.info("the node shuts down; its pods have %d s to end", self.settings.total)
        self._turn(going=True, what="Shutdown manager detected shutdown event")
        _BEGUN.set(self._clock.now().timestamp())
        pods = [(worker.pod, worker) for name in self._nodes for worker in self._workers.workers_of(name)]
        for period, workers in by_period(self.settings.periods, pods):
            if workers:
                await self._end(workers, period.shutdown_grace_period_seconds)
        deadline = self._clock.monotonic() + _LAST_WORDS
        everyone = [worker for _, worker in pods]
        while self._clock.monotonic() < deadline:
            if self._voice.idle and all(worker.parted for worker in everyone):
                break
            await self._clock.sleep(_POLL)
        _ENDED.set(self._clock.now().timestamp())
        _LOG.info("the node's pods have ended: it may go down")

    def resume(self) -> None:
        """Let pods in again: the shutdown was called off. Those that have ended stay so."""
        self._turn(going=False, what="Shutdown manager detected shutdown cancellation")

    def _turn(self, *, going: bool, what: str) -> None:
        self._going = going
        for name, node in self._nodes.items():
            node.shuts_down = going
            self._voice.node_event(name, "Normal", "NodeShutdown", what)
        self._voice.tell_nodes()

    async def _end(self, workers: Sequence[PodWorker], seconds: int) -> None:
        deadline = self._clock.monotonic() + seconds
        for worker in workers:
            worker.evict(Eviction(message=_MESSAGE, reason=_REASON, grace=seconds, announced=False))
        while not _settled(workers) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL)
        late = [worker for worker in workers if not worker.settled]
        if late:
            _LATE.inc(len(late))
            names = ", ".join(f"{each.pod.metadata.namespace}/{each.pod.metadata.name}" for each in late)
            _LOG.warning("pods have not ended within %d s of the node's shutdown: %s", seconds, names)


def _settled(workers: Sequence[PodWorker]) -> bool:
    return all(worker.settled for worker in workers)
