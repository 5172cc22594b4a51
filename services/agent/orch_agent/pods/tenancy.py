"""What one pod has of its node, from its admission to its end: room, resources that may change while it runs, eviction.

A pod's resources are what was allocated to it. When its spec asks for others, they are allocated if the node has them;
else the wish is pending, for now (Deferred) or for good (Infeasible). What was allocated is then given to the running
containers, or to their successors where the resize policy says so. Source: k8s.io/kubernetes/pkg/kubelet/allocation and
pkg/kubelet/kuberuntime (doPodResizeAction).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from orch.clock import rfc3339
from orch.errors import OrchError
from orch.objects.meta import Condition
from orch.objects.pods import Container, ContainerStatus, Pod, PodStatus, ResourceRequirements
from orch_agent.eviction.verdict import Eviction
from orch_agent.pods.allocations import Refusal, is_critical
from orch_agent.pods.host import PodHost
from orch_agent.pods.resources import actual_resources, limits_of
from orch_agent.pods.slot import Role, Slot
from orch_agent.runtimes.protocol import Limits

PENDING: Final = "PodResizePending"
IN_PROGRESS: Final = "PodResizeInProgress"
_DISRUPTED: Final = "DisruptionTarget"
_RESTART: Final = "RestartContainer"
_RESIZED: Final = ("cpu", "memory")
_RETRY: Final = 5.0
_NEVER: Final = float(1 << 31)

ContainerT = TypeVar("ContainerT", bound=Container)


class Tenancy:
    """The tenancy of one pod. `wake` is called when its worker should look again."""

    def __init__(self, host: PodHost, pod: Pod, wake: Callable[[], None]) -> None:
        self._host = host
        self._wake = wake
        self._wanted = pod
        self._allocated: dict[str, ResourceRequirements] = _known(pod) or _spec_resources(pod)
        self._of_pod = pod.spec.resources
        self._admitted = False
        self._set: dict[str, Limits] = {}
        self._found = {each.container_id.rpartition("/")[2]: self._allocated.get(each.name) for each in _told(pod)}
        self._grouped = False
        self._refused: Refusal | None = None
        self._changing = pod.status.condition(IN_PROGRESS) is not None
        self._error = ""
        self._retry_at = _NEVER
        self._eviction: Eviction | None = None

    # -- room ----------------------------------------------------------------------------------------------------

    async def admit(self, *, adopted: bool) -> Refusal | None:
        """Count the pod in; return why a new one may not run here, told as kubelet does.

        For a critical one room is made if there is none.
        """
        self._admitted = True
        if adopted:
            self._host.allocations.take(self.pod())
            return None
        pod = self.pod()
        refusal = self._host.allocations.admit(pod)
        preempt = self._host.preempt
        if refusal is not None and preempt is not None and is_critical(pod):
            refusal = await preempt(pod)
        if refusal is None:
            return None
        self._host.outlet.event(self._wanted, "", "Warning", refusal.reason, refusal.message)
        return Refusal(refusal.reason, f"Pod was rejected: {refusal.message}")

    def release(self) -> None:
        """Give back what the pod had: nothing of it runs any more."""
        self._host.allocations.release(self._wanted.metadata.uid)

    # -- eviction ------------------------------------------------------------------------------------------------

    def evict(self, eviction: Eviction) -> None:
        """Note that the pod is ended for the node's sake."""
        self._eviction = eviction
        if eviction.announced:
            self._host.outlet.event(self._wanted, "", "Warning", eviction.reason, eviction.message)

    def grace(self, seconds: int) -> int:
        """Return how long the pod's end may take when it would be given so many seconds."""
        return seconds if self._eviction is None else min(seconds, max(self._eviction.grace, 1))

    # -- resources -----------------------------------------------------------------------------------------------

    def take(self, pod: Pod) -> Pod:
        """Take in a newer state of the pod; return it with what is allocated to it."""
        self._wanted = pod
        return self.pod()

    def pod(self) -> Pod:
        """Return the pod with what is allocated to it in the place of what it asks for."""
        spec = self._wanted.spec
        containers, initial = self._given(spec.containers), self._given(spec.init_containers)
        if containers is spec.containers and initial is spec.init_containers and self._of_pod == spec.resources:
            return self._wanted
        given = msgspec.structs.replace(spec, containers=containers, init_containers=initial, resources=self._of_pod)
        return msgspec.structs.replace(self._wanted, spec=given)

    def decide(self) -> Pod | None:
        """Look whether what the pod asks for can be allocated; return the pod if that changed what is."""
        asked = _spec_resources(self._wanted)
        if asked == self._allocated and self._wanted.spec.resources == self._of_pod:
            self._refused = None
            return None
        if self._admitted:
            refusal = self._host.allocations.grows(self._wanted)
            if refusal is not None:
                self._refuse(refusal)
                return None
            self._host.allocations.take(self._wanted)
        self._refused, self._error = None, ""
        self._allocated, self._of_pod = asked, self._wanted.spec.resources
        if self._admitted:
            self._changing = True
            self._tell("Normal", "ResizeStarted", "Pod resize started")
        return self.pod()

    async def apply(self, slots: Iterable[Slot]) -> Slot | None:
        """Give running containers what is allocated to them; return one that has to be restarted for that."""
        running = [slot for slot in slots if slot.running and slot.role is not Role.EPHEMERAL]
        pod, changed = self.pod(), list[tuple[Slot, Limits]]()
        if running and not self._grouped:
            await self._host.groups.widen(pod)
            self._grouped = True
        for slot in running:
            target = self._target(pod, slot, self._allocation(slot.container))
            # What an earlier process started was given what that process has told.
            found = self._found.get(_id(slot))
            known = self._set.setdefault(_id(slot), self._target(pod, slot, found) if found is not None else target)
            if known != target:
                if _needs_restart(slot.container, known, target):
                    return slot
                changed.append((slot, target))
        if changed:
            await self._change(pod, changed)
        self._set = {_id(slot): self._set[_id(slot)] for slot in running}
        if self._changing and not changed:
            self._changing = False
            self._tell("Normal", "ResizeCompleted", "Pod resize completed")
            self._host.allocations.retry()
        return None

    def retry_in(self) -> float:
        """Return after how many seconds a change that failed is to be tried again."""
        return max(self._retry_at - self._host.clock.monotonic(), 0.05) if self._retry_at != _NEVER else _NEVER

    async def _change(self, pod: Pod, changed: list[tuple[Slot, Limits]]) -> None:
        """Change groups: the pod's own is widened before its containers', and narrowed after them."""
        self._retry_at = _NEVER
        try:
            await self._refuse_less_than_used(changed)
            await self._host.groups.widen(pod)
            for slot, target in changed:
                await self._host.runtime.resize(_id(slot), target)
                self._set[_id(slot)] = target
            await self._host.groups.ensure(pod)
        except OrchError as error:
            if str(error) != self._error:
                self._error = str(error)
                self._tell("Warning", "ResizeError", f"Pod resize error: {error}")
            self._retry_at = self._host.clock.monotonic() + _RETRY
            return
        self._error = ""
        self._changing = False
        self._tell("Normal", "ResizeCompleted", "Pod resize completed")
        self._host.allocations.retry()

    async def _refuse_less_than_used(self, changed: list[tuple[Slot, Limits]]) -> None:
        """Raise ResizeError when a container uses more memory than it is to be left."""
        shrunk = {
            _id(slot): target.memory
            for slot, target in changed
            if target.memory and (not self._set[_id(slot)].memory or target.memory < self._set[_id(slot)].memory)
        }
        if not shrunk:
            return
        for usage in await self._host.runtime.usage():
            limit = shrunk.get(usage.id)
            if limit is not None and usage.memory_bytes > limit:
                name = usage.identity.container
                raise ResizeError(
                    f"attempting to set memory limit of container {name} ({limit}) "
                    f"below current usage ({usage.memory_bytes})"
                )

    def _refuse(self, refusal: Refusal) -> None:
        if refusal != self._refused:
            self._refused = refusal
            self._tell("Warning", f"Resize{refusal.reason}", f"Pod resize {refusal.reason}: {refusal.message}")
        if refusal.reason == "Deferred":
            self._host.allocations.wait(self._wanted.metadata.uid, self._wake)

    def _target(self, pod: Pod, slot: Slot, resources: ResourceRequirements) -> Limits:
        container = msgspec.structs.replace(slot.container, resources=resources)
        return limits_of(pod, container, self._host.groups.policy)

    def _allocation(self, container: Container) -> ResourceRequirements:
        return self._allocated.get(container.name, container.resources)

    def _given(self, containers: tuple[ContainerT, ...]) -> tuple[ContainerT, ...]:
        if all(self._allocation(each) == each.resources for each in containers):
            return containers
        return tuple(msgspec.structs.replace(each, resources=self._allocation(each)) for each in containers)

    def _tell(self, kind: str, reason: str, message: str) -> None:
        if kind == "Normal":
            named = {"containers": [{"name": name, "resources": given} for name, given in self._allocated.items()]}
            described = msgspec.json.encode({**named, "generation": self._wanted.metadata.generation}).decode()
            self._host.outlet.event(self._wanted, "", "Normal", reason, f"{message}: {described}")
        else:
            self._host.outlet.event(self._wanted, "", "Warning", reason, message)

    # -- what is told --------------------------------------------------------------------------------------------

    def onto(self, status: PodStatus, slots: Iterable[Slot]) -> PodStatus:
        """Return the status with what containers were given, and with the conditions that are about this."""
        given = {slot.container.name: slot for slot in slots if slot.role is not Role.EPHEMERAL}
        generation, now = self._wanted.metadata.generation, rfc3339(self._host.clock.now())
        ours = (PENDING, IN_PROGRESS, *((_DISRUPTED,) if self._eviction is not None else ()))
        before = {each.type: each for each in self._wanted.status.conditions}
        kept = [each for each in status.conditions if each.type not in ours]
        for kind, reason, message in self._conditions():
            known = before.get(kind)
            since = known.last_transition_time if known is not None and known.status == "True" else now
            kept.append(
                Condition(
                    type=kind,
                    status="True",
                    reason=reason,
                    message=message,
                    observed_generation=generation,
                    last_transition_time=since,
                )
            )
        return msgspec.structs.replace(
            status,
            conditions=tuple(kept),
            container_statuses=tuple(self._with_resources(each, given) for each in status.container_statuses),
            init_container_statuses=tuple(self._with_resources(each, given) for each in status.init_container_statuses),
            allocated_resources=self._of_pod.requests if self._of_pod is not None else {},
            resources=self._of_pod,
        )

    def _conditions(self) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        if self._refused is not None:
            found.append((PENDING, self._refused.reason, self._refused.message))
        if self._changing:
            found.append((IN_PROGRESS, "Error" if self._error else "", self._error))
        if self._eviction is not None:
            found.append((_DISRUPTED, "TerminationByKubelet", self._eviction.condition or self._eviction.message))
        return found

    def _with_resources(self, told: ContainerStatus, slots: Mapping[str, Slot]) -> ContainerStatus:
        slot = slots.get(told.name)
        if slot is None:
            return told
        allocated = self._allocation(slot.container)
        limits = self._set.get(_id(slot)) if slot.running else None
        container = msgspec.structs.replace(slot.container, resources=allocated)
        actual = actual_resources(container, limits) if limits is not None else allocated
        return msgspec.structs.replace(told, resources=actual, allocated_resources=allocated.requests)


class ResizeError(OrchError):
    """A container cannot be given less now; it is tried again."""


def _spec_resources(pod: Pod) -> dict[str, ResourceRequirements]:
    return {each.name: each.resources for each in (*pod.spec.init_containers, *pod.spec.containers)}


def _told(pod: Pod) -> tuple[ContainerStatus, ...]:
    return (*pod.status.init_container_statuses, *pod.status.container_statuses)


def _known(pod: Pod) -> dict[str, ResourceRequirements]:
    """Return what an earlier process had allocated, {} when none had."""
    told = {each.name: each for each in _told(pod)}
    found: dict[str, ResourceRequirements] = {}
    for name, asked in _spec_resources(pod).items():
        status = told.get(name)
        if status is None or status.resources is None:
            return {}
        requests = {**asked.requests, **_only(status.allocated_resources)}
        found[name] = ResourceRequirements(requests=requests, limits={**asked.limits, **_only(status.resources.limits)})
    return found


def _only(amounts: Mapping[str, str]) -> dict[str, str]:
    """Return what a resize can change: all else is as it was when the pod was made."""
    return {name: amounts[name] for name in _RESIZED if name in amounts}


def _needs_restart(container: Container, known: Limits, target: Limits) -> bool:
    policies = {each.resource_name: each.restart_policy for each in container.resize_policy}
    cpu = (known.cpu_shares, known.cpu_quota) != (target.cpu_shares, target.cpu_quota)
    memory = known.memory != target.memory
    return (cpu and policies.get("cpu") == _RESTART) or (memory and policies.get("memory") == _RESTART)


def _id(slot: Slot) -> str:
    return slot.current.id if slot.current is not None else ""
