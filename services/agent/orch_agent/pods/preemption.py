"""Makes room on a node for a critical pod that does not fit: which pods of less priority go, and that they do.

Source: k8s.io/kubernetes/pkg/kubelet/preemption (preemption.go) and pkg/kubelet/types (pod_update.go, Preemptable).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import Counter

from orch.clock import Clock
from orch.objects.pods import Pod
from orch_agent.eviction.verdict import Eviction
from orch_agent.pods.allocations import NodeAllocations, Refusal, is_critical
from orch_agent.pods.naming import describe
from orch_agent.pods.resources import pod_requests, qos_class

_LOG: Final = logging.getLogger(__name__)
_PREEMPTED: Final = Counter("orch_agent_preemptions_total", "Pods ended to make room for critical ones.")
_EVICTION: Final = Eviction(
    reason="Preempting",
    message="Preempted in order to admit critical pod",
    condition="Pod was preempted by Kubelet to accommodate a critical pod.",
    grace=1 << 31,
)
_POLL: Final = 0.1
_LEAST_WAIT: Final = 10.0
_USUAL_GRACE: Final = 30

Shortages = Mapping[str, int]
"""How much of which resource is missing; pods count as the resource "pods"."""


class Ending(Protocol):
    """The worker of a pod that may be ended."""

    pod: Pod

    @property
    def settled(self) -> bool:
        """Whether nothing of the pod runs, or will."""
        ...

    def evict(self, eviction: Eviction) -> bool:
        """Begin to end the pod; False if it has ended, or is to end anyway."""
        ...


class Workers(Protocol):
    """The workers of a node's pods."""

    def workers_of(self, node: str) -> Sequence[Ending]:
        """Return those that have not ended."""
        ...


class Preemption:
    """Makes room on one node."""

    def __init__(self, node: str, workers: Workers, allocations: NodeAllocations, clock: Clock) -> None:
        self._node = node
        self._workers = workers
        self._allocations = allocations
        self._clock = clock

    async def admit(self, pod: Pod) -> Refusal | None:
        """Count a critical pod in that does not fit, and end others until it does; return why that is in vain.

        Each of them has its own grace period. One that outlasts it by half is waited for no longer, as in kubelet.
        """
        short = self._allocations.shortages(pod)
        held = {
            worker.pod.metadata.uid: worker
            for worker in self._workers.workers_of(self._node)
            if self._allocations.holds(worker.pod.metadata.uid) and worker.pod.metadata.uid != pod.metadata.uid
        }
        chosen, missing = victims(pod, [worker.pod for worker in held.values()], short)
        if missing:
            listed = "".join(f"(res: {name}, q: {amount}), " for name, amount in missing.items())
            return Refusal(
                "UnexpectedAdmissionError",
                "Unexpected error while attempting to recover from admission failure: preemption: error finding a set "
                f"of pods to preempt: no set of running pods found to reclaim resources: [{listed}]",
            )
        self._allocations.take(pod)
        going = [held[each.metadata.uid] for each in chosen]
        for worker in going:
            if worker.evict(_EVICTION):
                _PREEMPTED.inc()
                _LOG.warning("pod %s is ended to make room for %s", describe(worker.pod), describe(pod))
        patience = max([_LEAST_WAIT, *(1.5 * _grace(worker.pod) for worker in going)])
        deadline = self._clock.monotonic() + patience
        while not all(worker.settled for worker in going) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL)
        return None


def victims(pod: Pod, pods: Iterable[Pod], short: Shortages) -> tuple[list[Pod], Shortages]:
    """Return which pods have to go for `pod` to fit: as few and as cheap as can be; and what all could not give.

    Guaranteed pods go only for what all others cannot give, burstable ones only for what best-effort ones cannot.
    """
    ranks: dict[str, list[Pod]] = {"BestEffort": [], "Burstable": [], "Guaranteed": []}
    for each in pods:
        if _preemptable(pod, each):
            ranks[qos_class(each)].append(each)
    low, middle, high = ranks.values()
    missing = _less(short, [*low, *middle, *high])
    if missing:
        return [], missing
    guaranteed = _nearest(high, _less(short, [*low, *middle]))
    burstable = _nearest(middle, _less(short, [*low, *guaranteed]))
    best_effort = _nearest(low, _less(short, [*burstable, *guaranteed]))
    return [*best_effort, *burstable, *guaranteed], {}


def _preemptable(pod: Pod, other: Pod) -> bool:
    if is_critical(pod) and not is_critical(other):
        return True
    return pod.spec.priority > other.spec.priority


def _nearest(pods: Sequence[Pod], short: Shortages) -> list[Pod]:
    """Return pods that give what is missing: one after another the one that leaves least of it, the smaller of two."""
    left, chosen = list(pods), list[Pod]()
    while short and left:
        best = min(left, key=lambda each: (_distance(each, short), _asked(each, "memory"), _asked(each, "cpu")))
        left.remove(best)
        chosen.append(best)
        short = _less(short, [best])
    return chosen


def _distance(pod: Pod, short: Shortages) -> float:
    """Return how far from enough the pod's end would leave things: 0 for enough of all."""
    return sum((max(amount - _asked(pod, name), 0) / amount) ** 2 for name, amount in short.items())


def _less(short: Shortages, pods: Iterable[Pod]) -> Shortages:
    """Return what is still missing when those pods are gone."""
    gone = list(pods)
    rest = {name: amount - sum(_asked(each, name) for each in gone) for name, amount in short.items()}
    return {name: amount for name, amount in rest.items() if amount > 0}


def _asked(pod: Pod, resource: str) -> int:
    return 1 if resource == "pods" else pod_requests(pod).get(resource, 0)


def _grace(pod: Pod) -> int:
    seconds = pod.spec.termination_grace_period_seconds
    return _USUAL_GRACE if seconds is None else seconds
