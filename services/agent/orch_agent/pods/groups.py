"""The tree of control groups that pods live in, by their quality of service, under the node's own group.

    <node>/pod<uid>               guaranteed
    <node>/burstable/pod<uid>     with the shares that all burstable pods ask for together
    <node>/besteffort/pod<uid>    with the least shares there are

Source: k8s.io/kubernetes/pkg/kubelet/cm (qos_container_manager_linux.go, pod_container_manager_linux.go).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Final

from orch.objects.pods import Pod
from orch_agent.pods.resources import Policy, group_limits, pod_requests, qos_class, shares_of_cpu
from orch_agent.runtimes.cgroups import GroupError, GroupUse, Hierarchy
from orch_agent.runtimes.protocol import Limits

_LOG: Final = logging.getLogger(__name__)
_PREFIX: Final = "pod"
_LEVELS: Final = {"Guaranteed": "", "Burstable": "/burstable", "BestEffort": "/besteffort"}


class PodGroups:
    """The groups of one node's pods. Without a hierarchy (simulated nodes) there are none, and all is done at once."""

    def __init__(self, hierarchy: Hierarchy | None, node: str, policy: Policy, *, whole: Limits | None = None) -> None:
        self._hierarchy = hierarchy
        self._node = node.rstrip("/")
        self.policy = policy
        self._whole = whole
        self._set: dict[str, tuple[str, Limits]] = {}
        self._burstable: dict[str, int] = {}
        self._shares = 0
        self._lock = threading.Lock()

    async def prepare(self) -> None:
        """Make the tree itself. Raises GroupError."""
        if self._hierarchy is not None:
            await asyncio.to_thread(self._prepare, self._hierarchy)

    async def ensure(self, pod: Pod) -> str:
        """Return the pod's group, made and set to what the pod may use now; "" for the runtime's own choice."""
        if self._hierarchy is None:
            return ""
        group, limits = self.group_of(pod), group_limits(pod, self.policy)
        if self._set.get(pod.metadata.uid) != (group, limits):
            await asyncio.to_thread(self._ensure, self._hierarchy, pod, group, limits)
        return group

    async def widen(self, pod: Pod) -> None:
        """Let the pod use what it may use now or could before, whichever is more: its containers are being changed.

        What an earlier process made is taken over as it is.
        """
        if self._hierarchy is not None:
            await asyncio.to_thread(self._widen, self._hierarchy, pod)

    async def remove(self, uid: str) -> None:
        """Remove a pod's group with whatever still runs there; nothing if there is none. Raises GroupError."""
        if self._hierarchy is not None:
            await asyncio.to_thread(self._remove, self._hierarchy, uid)

    async def owners(self) -> list[str]:
        """Return the uids of the pods that have a group."""
        return await asyncio.to_thread(self._owners) if self._hierarchy is not None else []

    def group_of(self, pod: Pod) -> str:
        """Return where the pod's group is."""
        return f"{self._node}{_LEVELS[qos_class(pod)]}/{_PREFIX}{pod.metadata.uid}"

    def use(self, uid: str) -> GroupUse | None:
        """Return what a pod as a whole has used; None when that is not known."""
        known = self._set.get(uid)
        return self._hierarchy.use(known[0]) if self._hierarchy is not None and known is not None else None

    def use_of_all(self) -> GroupUse | None:
        """Return what all pods together have used."""
        return self._hierarchy.use(self._node) if self._hierarchy is not None else None

    def first_process(self, uid: str, container: str) -> int:
        """Return a process of a container, by which its pod's network can be looked at; 0 if there is none."""
        known = self._set.get(uid)
        if self._hierarchy is None or known is None:
            return 0
        names = [name for name in self._hierarchy.children(known[0]) if container in name]
        return next((pid for name in names if (pid := self._hierarchy.first_process(f"{known[0]}/{name}"))), 0)

    # -- in a thread ---------------------------------------------------------------------------------------------

    def _prepare(self, hierarchy: Hierarchy) -> None:
        burstable = f"{self._node}{_LEVELS['Burstable']}"
        if (before := hierarchy.limits(burstable)) is not None:
            # Pods of an earlier process keep their shares until they are known.
            self._shares = before.cpu_shares
        for level in _LEVELS.values():
            hierarchy.make(f"{self._node}{level}")
        hierarchy.apply(f"{self._node}{_LEVELS['BestEffort']}", Limits())
        if self._whole is not None:
            hierarchy.apply(self._node, self._whole)

    def _widen(self, hierarchy: Hierarchy, pod: Pod) -> None:
        group, limits = self.group_of(pod), group_limits(pod, self.policy)
        known = self._set.get(pod.metadata.uid)
        before = known[1] if known is not None else hierarchy.limits(group)
        self._ensure(hierarchy, pod, group, _wider(before, limits) if before is not None else limits)

    def _ensure(self, hierarchy: Hierarchy, pod: Pod, group: str, limits: Limits) -> None:
        uid = pod.metadata.uid
        with self._lock:
            hierarchy.make(group)
            hierarchy.apply(group, limits)
            self._set[uid] = (group, limits)
            if qos_class(pod) == "Burstable":
                self._burstable[uid] = pod_requests(pod).get("cpu", 0)
                self._share(hierarchy)

    def _remove(self, hierarchy: Hierarchy, uid: str) -> None:
        for level in _LEVELS.values():
            if f"{_PREFIX}{uid}" in hierarchy.children(f"{self._node}{level}"):
                hierarchy.remove(f"{self._node}{level}/{_PREFIX}{uid}")
        with self._lock:
            self._set.pop(uid, None)
            if self._burstable.pop(uid, None) is not None:
                self._share(hierarchy)

    def _share(self, hierarchy: Hierarchy) -> None:
        """Give the burstable pods the shares that they ask for together."""
        shares = shares_of_cpu(sum(self._burstable.values()))
        if shares != self._shares:
            try:
                hierarchy.apply(f"{self._node}{_LEVELS['Burstable']}", Limits(cpu_shares=shares))
                self._shares = shares
            except GroupError as error:
                _LOG.warning("the shares of burstable pods stay as they were: %s", error)

    def _owners(self) -> list[str]:
        hierarchy = self._hierarchy
        if hierarchy is None:
            return []
        names = [name for level in _LEVELS.values() for name in hierarchy.children(f"{self._node}{level}")]
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))


def _wider(one: Limits, other: Limits) -> Limits:
    """Return what allows all that one of two settings allows; 0 is no limit."""

    def wider(first: int, second: int) -> int:
        return max(first, second) if first and second else 0

    return Limits(
        cpu_shares=max(one.cpu_shares, other.cpu_shares),
        cpu_quota=wider(one.cpu_quota, other.cpu_quota),
        cpu_period=other.cpu_period,
        memory=wider(one.memory, other.memory),
        memory_min=min(one.memory_min, other.memory_min),
        pids=wider(one.pids, other.pids),
    )
