"""What an eviction is to the pod that it ends, and kubelet's words for its causes.

Source: k8s.io/kubernetes/pkg/kubelet/eviction (helpers.go, eviction_manager.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from orch import quantity
from orch.objects.pods import Container, Pod
from orch_agent.eviction.pressure import Observation
from orch_agent.eviction.thresholds import RESOURCES, Threshold, binary
from orch_agent.stats.model import ContainerStats, PodStats

REASON: Final = "Evicted"
IMMEDIATE: Final = 1
"""Seconds that a pod is given when it has to go at once."""


class Eviction(msgspec.Struct, frozen=True, kw_only=True):
    """Why a pod is ended by its node, and how many seconds it is given at most.

    `reason` is its status'; the event is left out unless it is `announced`; `condition` takes the place of the message
    where the pod's DisruptionTarget is told.
    """

    message: str
    grace: int = IMMEDIATE
    reason: str = REASON
    condition: str = ""
    announced: bool = True
    annotations: Mapping[str, str] = {}


def node_is_low(threshold: Threshold, observed: Observation | None, pod: Pod, stats: PodStats | None) -> Eviction:
    """Return the eviction of a pod because the node is short of something. The grace is the caller's to set."""
    resource = RESOURCES[threshold.signal]
    message = f"The node was low on resource: {resource}. "
    if observed is not None:
        amount, left = threshold.amount.shown(observed.capacity), binary(observed.available)
        message += f"Threshold quantity: {amount}, available: {left}. "
    greedy: list[str] = []
    amounts: list[str] = []
    for container in stats.containers if stats is not None else ():
        used = _used(resource, container)
        asked = _request(pod, container.name, resource)
        if used is None or used <= quantity.value(asked):
            continue
        shown, wanted = binary(used), quantity.canonical(asked)
        message += (
            f"Container {container.name} was using {shown}, request is {wanted}, has larger consumption of {resource}. "
        )
        greedy.append(container.name)
        amounts.append(shown)
    annotations = {"starved_resource": resource}
    if greedy:
        annotations |= {"offending_containers": ",".join(greedy), "offending_containers_usage": ",".join(amounts)}
    return Eviction(message=message, annotations=annotations)


def empty_dir_exceeds(volume: str, limit: str) -> Eviction:
    """Return the eviction of a pod one of whose empty folders is fuller than it may be."""
    return Eviction(message=f'Usage of EmptyDir volume "{volume}" exceeds the limit "{quantity.canonical(limit)}". ')


def pod_exceeds_storage(limit: int) -> Eviction:
    """Return the eviction of a pod that takes more of the disk than its containers may together."""
    return Eviction(
        message=f"Pod ephemeral local storage usage exceeds the total limit of containers {binary(limit)}. "
    )


def container_exceeds_storage(container: str, limit: str) -> Eviction:
    """Return the eviction of a pod one of whose containers takes more of the disk than it may."""
    shown = quantity.canonical(limit)
    return Eviction(message=f'Container {container} exceeded its local ephemeral storage limit "{shown}". ')


def _used(resource: str, container: ContainerStats) -> int | None:
    if resource == "memory":
        return container.memory.working_set
    return container.layer.bytes + container.logs.bytes if resource == "ephemeral-storage" else None


def _request(pod: Pod, name: str, resource: str) -> str:
    containers: tuple[Container, ...] = (*pod.spec.containers, *pod.spec.init_containers)
    return next((each.resources.requests.get(resource, "0") for each in containers if each.name == name), "0")
