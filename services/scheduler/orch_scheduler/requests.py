"""How much of each resource a pod needs (k8s.io/component-helpers/resource PodRequests).

Containers and sidecars run together; an init container runs beside the sidecars that started before it. What the pod as
a whole requests replaces the sum of what its containers do; the overhead comes on top. A container that is being
resized counts with the most of what it has, was promised and wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from orch import quantity
from orch.objects.pods import Container, ContainerStatus, Pod

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"
PODS: Final = "pods"
HUGE_PAGES: Final = "hugepages-"

DEFAULT_MILLI_CPU: Final = 100
DEFAULT_MEMORY: Final = 200 * 1024 * 1024
"""What scores assume of a container that asks for nothing (kube-scheduler's non-zero defaults)."""

MOST: Final = 2**52
"""Greater amounts, and those below its negative, count as it: sums and products of it stay within 64 bits."""

Amounts = Mapping[str, int]


@lru_cache(maxsize=65536)
def amount(resource: str, text: str) -> int:
    """Return a quantity as the columns count it: milli-cores for cpu, whole units for everything else."""
    exact = quantity.milli(text) if resource == CPU else quantity.value(text)
    return max(-MOST, min(MOST, exact))


def amounts(quantities: Mapping[str, str]) -> dict[str, int]:
    """Return quantities by resource as amounts. Raises ValueError."""
    return {resource: amount(resource, text) for resource, text in quantities.items()}


def asked(pod: Pod) -> tuple[tuple[Amounts, ...], tuple[tuple[Amounts, bool], ...]]:
    """Return what each container asks for, and each init container with whether it is a sidecar."""
    statuses = {status.name: status for status in pod.status.container_statuses}
    sidecars = {status.name: status for status in pod.status.init_container_statuses}
    pending = pod.status.condition("PodResizePending")
    infeasible = pending is not None and pending.reason == "Infeasible"
    return (
        tuple(_resized(container, statuses.get(container.name), infeasible) for container in pod.spec.containers),
        tuple(
            (_resized(container, sidecars.get(container.name), infeasible), True)
            if container.restart_policy == "Always"
            else (amounts(container.resources.requests), False)
            for container in pod.spec.init_containers
        ),
    )


def total(
    containers: Iterable[Amounts],
    init_containers: Iterable[tuple[Amounts, bool]],
    pod: Amounts,
    overhead: Amounts,
) -> tuple[dict[str, int], tuple[int, int]]:
    """Return what the pod needs, and its (milli-cpu, bytes) with defaults for containers that name none.

    `pod`: what the pod as a whole requests, of cpu, memory and huge pages.
    """
    containers, init_containers = tuple(containers), tuple(init_containers)
    needed = _capped(_sum(({**_peak(containers, init_containers, _as_it_is), **pod}, overhead)))
    missing = {
        resource: default
        for resource, default in ((CPU, DEFAULT_MILLI_CPU), (MEMORY, DEFAULT_MEMORY))
        if not pod or not needed.get(resource)
    }

    def filled(container: Amounts) -> Amounts:
        return {**missing, **container}

    assumed = _capped(_sum(({**_peak(containers, init_containers, filled), **pod}, overhead)))
    return needed, (assumed.get(CPU, 0), assumed.get(MEMORY, 0))


def of_pod_level(quantities: Mapping[str, str]) -> dict[str, int]:
    """Return, of what a pod as a whole requests, the resources for which it may."""
    return {
        resource: amount(resource, text)
        for resource, text in quantities.items()
        if resource in {CPU, MEMORY} or resource.startswith(HUGE_PAGES)
    }


def _resized(container: Container, status: ContainerStatus | None, infeasible: bool) -> Amounts:
    wanted = amounts(container.resources.requests)
    if status is None or status.resources is None:
        return wanted
    held = _most(amounts(status.resources.requests), amounts(status.allocated_resources))
    return held if infeasible else _most(wanted, held)


def _peak(
    containers: Iterable[Amounts],
    init_containers: Iterable[tuple[Amounts, bool]],
    read: Callable[[Amounts], Amounts],
) -> dict[str, int]:
    """Return the most that is needed at one time."""
    running = _sum(read(container) for container in containers)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container, stays in init_containers:
        if stays:
            sidecars = _sum((sidecars, read(container)))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum((sidecars, read(container))))
    return _most(_sum((running, sidecars)), peak)


def _as_it_is(container: Amounts) -> Amounts:
    return container


def _sum(parts: Iterable[Amounts]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for resource, value in part.items():
            found[resource] = found.get(resource, 0) + value
    return found


def _most(left: Amounts, right: Amounts) -> dict[str, int]:
    return {resource: max(left.get(resource, 0), right.get(resource, 0)) for resource in {**left, **right}}


def _capped(found: Amounts) -> dict[str, int]:
    return {resource: min(value, MOST) for resource, value in found.items()}
