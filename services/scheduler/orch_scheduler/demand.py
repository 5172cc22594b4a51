"""What a pod asks of a node. Pods of one template ask the same, and are decided together as one class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from orch import quantity
from orch.objects.pods import Affinity, Container, Pod, PodSpec, Toleration
from orch_scheduler.terms import Term, terms_of

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"
PODS: Final = "pods"

DEFAULT_MILLI_CPU: Final = 100
DEFAULT_MEMORY: Final = 200 * 1024 * 1024
"""What scores assume of a container that asks for nothing (kube-scheduler's non-zero defaults)."""


@lru_cache(maxsize=65536)
def amount(resource: str, text: str) -> int:
    """Return a quantity as the columns count it: milli-cores for cpu, whole units for everything else."""
    return quantity.milli(text) if resource == CPU else quantity.value(text)


class Demand(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """A class of pods that are alike to the scheduler. Compared by identity; `demand_of` interns by content.

    `requests`: amounts by resource, with 1 of "pods". `non_zero`: (milli-cpu, bytes) with defaults filled in.
    `near` and `away`: required pod affinity and anti-affinity.
    """

    requests: Mapping[str, int]
    non_zero: tuple[int, int]
    node_selector: tuple[tuple[str, str], ...]
    affinity: Affinity | None
    tolerations: tuple[Toleration, ...]
    priority: int
    namespace: str
    labels: Mapping[str, str]
    near: tuple[Term, ...]
    away: tuple[Term, ...]


class _Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a pod's spec that makes two pods alike."""

    containers: tuple[tuple[Mapping[str, str], Mapping[str, str]], ...]
    init_containers: tuple[tuple[Mapping[str, str], Mapping[str, str], str], ...]
    overhead: Mapping[str, str]
    node_selector: Mapping[str, str]
    affinity: Affinity | None
    tolerations: tuple[Toleration, ...]
    priority: int
    namespace: str
    labels: Mapping[str, str]


_encode = msgspec.json.Encoder().encode


class Demands:
    """Interns demands, so that equal pods share one. Holds at most `limit`, past which it starts afresh."""

    def __init__(self, limit: int = 16384) -> None:
        self._limit = limit
        self._known: dict[bytes, Demand] = {}

    def of(self, pod: Pod) -> Demand:
        """Return the pod's demand. Raises ValueError for a quantity or a selector that cannot be read."""
        key = _encode(_content(pod))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            found = self._known[key] = _demand(pod)
        return found


def _content(pod: Pod) -> _Content:
    spec = pod.spec
    return _Content(
        tuple((c.resources.requests, c.resources.limits) for c in spec.containers),
        tuple((c.resources.requests, c.resources.limits, c.restart_policy) for c in spec.init_containers),
        spec.overhead,
        spec.node_selector,
        spec.affinity,
        spec.tolerations,
        spec.priority,
        pod.metadata.namespace,
        pod.metadata.labels,
    )


def _demand(pod: Pod) -> Demand:
    spec, namespace = pod.spec, pod.metadata.namespace
    near = spec.affinity.pod_affinity if spec.affinity else None
    away = spec.affinity.pod_anti_affinity if spec.affinity else None
    requests = {resource: value for resource, value in _total(spec, _plain).items() if value}
    requests[PODS] = 1
    non_zero = _total(spec, _with_defaults)
    return Demand(
        requests=requests,
        non_zero=(non_zero.get(CPU, 0), non_zero.get(MEMORY, 0)),
        node_selector=tuple(sorted(spec.node_selector.items())),
        affinity=spec.affinity,
        tolerations=spec.tolerations,
        priority=spec.priority,
        namespace=namespace,
        labels=pod.metadata.labels,
        near=terms_of(near.required_during_scheduling_ignored_during_execution, namespace) if near else (),
        away=terms_of(away.required_during_scheduling_ignored_during_execution, namespace) if away else (),
    )


def _plain(container: Container) -> dict[str, int]:
    asked = container.resources.requests
    return {resource: amount(resource, text) for resource, text in asked.items()}


def _with_defaults(container: Container) -> dict[str, int]:
    asked = _plain(container)
    return {CPU: asked.get(CPU, DEFAULT_MILLI_CPU), MEMORY: asked.get(MEMORY, DEFAULT_MEMORY)}


def _total(spec: PodSpec, read: Callable[[Container], Mapping[str, int]]) -> dict[str, int]:
    """Return what the pod needs at its most demanding moment (k8s.io/component-helpers PodRequests).

    Containers and sidecars run together; an init container runs beside the sidecars that started before it.
    """
    running = _sum(read(container) for container in spec.containers)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.init_containers:
        asked = read(container)
        if container.restart_policy == "Always":
            sidecars = _sum((sidecars, asked))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum((sidecars, asked)))
    overhead = {resource: amount(resource, text) for resource, text in spec.overhead.items()}
    return _sum((_most(_sum((running, sidecars)), peak), overhead))


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for resource, value in part.items():
            total[resource] = total.get(resource, 0) + value
    return total


def _most(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {resource: max(left.get(resource, 0), right.get(resource, 0)) for resource in {**left, **right}}
