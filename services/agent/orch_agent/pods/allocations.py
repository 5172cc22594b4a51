"""What of a node is given to which pod: whether another one fits, and whether one may grow.

Source: k8s.io/kubernetes/pkg/kubelet/lifecycle (predicate.go) and pkg/kubelet/allocation (allocation_manager.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from orch.objects.pods import Pod
from orch_agent.pods.resources import Amounts, amount_of, pod_requests

CRITICAL_PRIORITY: Final = 2_000_000_000
"""The least priority of pods that the system cannot do without."""
_STATIC: Final = "kubernetes.io/config.source"
_MIRROR: Final = "kubernetes.io/config.mirror"


class Refusal(msgspec.Struct, frozen=True):
    """Why a pod may not run here, or may not grow: a reason and kubelet's words."""

    reason: str
    message: str


class NodeAllocations:
    """The pods of one node and what they ask for. Without amounts to give, everything fits.

    `pressure` is asked about each new pod as well; it knows what the node is short of.
    """

    def __init__(self, allocatable: Mapping[str, str]) -> None:
        self.allocatable: Amounts = {name: amount_of(name, text) for name, text in allocatable.items()}
        self.pressure: Callable[[Pod], Refusal | None] = _no_pressure
        self._given: dict[str, Amounts] = {}
        self._waiting: dict[str, Callable[[], None]] = {}

    def admit(self, pod: Pod) -> Refusal | None:
        """Count a new pod in, or return why it may not run here."""
        refusal = self.pressure(pod) or self._short_of(pod)
        if refusal is None:
            self.take(pod)
        return refusal

    def take(self, pod: Pod) -> None:
        """Count a pod in as it is now: it runs, or is allowed to grow."""
        if self.allocatable:
            self._given[pod.metadata.uid] = pod_requests(pod)

    def release(self, uid: str) -> None:
        """Count a pod out, whose containers have ended; pods that wait to grow may try again."""
        self._waiting.pop(uid, None)
        if self._given.pop(uid, None) is not None:
            self.retry()

    def holds(self, uid: str) -> bool:
        """Return whether a pod is counted in."""
        return uid in self._given

    def grows(self, pod: Pod) -> Refusal | None:
        """Return why a pod that runs may not be as it is wanted: not ever here, or not now."""
        asked = pod_requests(pod)
        for name in ("memory", "cpu"):
            capacity = self.allocatable.get(name)
            if capacity is not None and asked.get(name, 0) > capacity:
                message = f"Node didn't have enough capacity: {name}, requested: {asked[name]}, capacity: {capacity}"
                return Refusal("Infeasible", message)
        short = self._short_of(pod)
        return Refusal("Deferred", short.message) if short is not None else None

    def wait(self, uid: str, wake: Callable[[], None]) -> None:
        """Have `wake` called when there may be room for a pod that waits to grow."""
        self._waiting[uid] = wake

    def retry(self) -> None:
        """Let all that wait to grow try again."""
        waiting, self._waiting = self._waiting, {}
        for wake in waiting.values():
            wake()

    def shortages(self, pod: Pod) -> Mapping[str, int]:
        """Return how much of which resource is missing for a pod to fit."""
        return {name: asked + used - capacity for name, asked, used, capacity in self._lacking(pod)}

    def _short_of(self, pod: Pod) -> Refusal | None:
        return next((_out_of(*lacking) for lacking in self._lacking(pod)), None)

    def _lacking(self, pod: Pod) -> Iterator[tuple[str, int, int, int]]:
        """Yield what there is too little of for a pod: its name, what the pod asks, what others have, the capacity."""
        if not self.allocatable:
            return
        others = [given for uid, given in self._given.items() if uid != pod.metadata.uid]
        room = self.allocatable.get("pods")
        if room is not None and len(others) + 1 > room:
            yield "pods", 1, len(others), room
        for name, asked in sorted(pod_requests(pod).items()):
            used = sum(given.get(name, 0) for given in others)
            # What the node has never told of is not its to refuse: the scheduler has counted it.
            capacity = self.allocatable.get(name)
            if capacity is not None and asked and used + asked > capacity:
                yield name, asked, used, capacity


def is_critical(pod: Pod) -> bool:
    """Tell whether a pod is spared by evictions: it is static, or of a system priority."""
    annotations = pod.metadata.annotations
    is_static = annotations.get(_STATIC, "api") != "api" or _MIRROR in annotations
    return is_static or pod.spec.priority >= CRITICAL_PRIORITY


def _out_of(name: str, asked: int, used: int, capacity: int) -> Refusal:
    message = f"Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
    return Refusal(f"OutOf{name}", message)


def _no_pressure(_pod: Pod) -> Refusal | None:
    """Stand in until somebody looks at what the node is short of."""
    return None
