"""Whether a pod that was given to this node may run on it at all, as kubelet judges. Room is `allocations`' to tell.

Source: k8s.io/kubernetes/pkg/kubelet: lifecycle/predicate.go, sysctl/allowlist.go, and pkg/security/apparmor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from orch.clock import Clock
from orch.errors import ApiError, BusError, UnavailableError
from orch.objects.cluster import Node, Taint
from orch.objects.node_affinity import selects
from orch.objects.pods import Container, Pod
from orch.objects.scheme import NODES
from orch.objects.taints import tolerates
from orch_agent.pods.allocations import Refusal
from orch_agent.pods.environment import ObjectReader
from orch_agent.pods.static import is_static
from orch_agent.pods.sysctls import forbidden

_LOG: Final = logging.getLogger(__name__)
_OS_LABEL: Final = "kubernetes.io/os"
_OS: Final = "linux"
_NO_EXECUTE: Final = "NoExecute"
_STRICT: Final = "Strict"
_REMEMBERED: Final = 5.0
"""Seconds for which the node's labels and taints are what they were."""
_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - what a port without an address is bound to
_APP_ARMOR: Final = Path("/sys/module/apparmor/parameters/enabled")
_APP_ARMOR_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")


class AppArmor(Protocol):
    """Which AppArmor profiles the node has."""

    def profiles(self) -> frozenset[str] | None:
        """Return those that are loaded; None when the kernel has no AppArmor, or it is off."""
        ...


class KernelAppArmor:
    """The machine's own."""

    def profiles(self) -> frozenset[str] | None:
        """Return what the kernel tells; read each time, as profiles are loaded at any time."""
        try:
            if not _APP_ARMOR.read_text().startswith("Y"):
                return None
            lines = _APP_ARMOR_PROFILES.read_text().splitlines()
        except OSError:
            return None
        return frozenset(line.rpartition(" (")[0] for line in lines)


class HostPort(msgspec.Struct, frozen=True):
    """A port of the node that a container takes."""

    address: str
    protocol: str
    number: int

    def conflicts(self, other: HostPort) -> bool:
        """Return whether both cannot be on one node."""
        if (self.number, self.protocol) != (other.number, other.protocol):
            return False
        return self.address == other.address or self.address in _ANYWHERE or other.address in _ANYWHERE


class Admission:
    """Judges the pods of one node, and remembers which ports those have that may run.

    `labels` are the node's own, for as long as the api does not tell those of its object.
    """

    def __init__(
        self,
        node: str,
        reader: ObjectReader,
        clock: Clock,
        *,
        labels: Mapping[str, str],
        unsafe_sysctls: Sequence[str] = (),
        app_armor: AppArmor | None = None,
    ) -> None:
        self._node = node
        self._reader = reader
        self._clock = clock
        self._labels = dict(labels)
        self._unsafe_sysctls = tuple(unsafe_sysctls)
        self._app_armor = app_armor or KernelAppArmor()
        self._seen: tuple[float, Node] | None = None
        self._ports: dict[str, tuple[HostPort, ...]] = {}
        self.strict_groups = True
        """Whether the runtime leaves out an image's groups where a pod does not want them."""
        self.closed: Callable[[], Refusal | None] = lambda: None
        """Returns why no pod at all may be let in now."""

    async def judge(self, pod: Pod) -> Refusal | None:
        """Return why a new pod may not run here; its ports are taken if it may."""
        try:
            labels, taints = await self._told_of_node(pod)
            refusal = self.closed() or self._refusal(pod, labels, taints)
        except ValueError as error:
            return Refusal("UnexpectedAdmissionError", f"Unexpected error while admitting the pod: {error}")
        if refusal is None:
            self.take(pod)
        return refusal

    def take(self, pod: Pod) -> None:
        """Count in a pod that runs."""
        ports = tuple(host_ports(pod))
        if ports:
            self._ports[pod.metadata.uid] = ports

    def release(self, uid: str) -> None:
        """Count out a pod of which nothing runs any more."""
        self._ports.pop(uid, None)

    def _refusal(self, pod: Pod, labels: Mapping[str, str], taints: Iterable[Taint]) -> Refusal | None:
        sysctl = forbidden(pod, self._unsafe_sysctls)
        if sysctl:
            return Refusal("SysctlForbidden", sysctl)
        return (
            _of_another_system(pod, labels)
            or self._too_many_groups(pod)
            or self._misplaced(pod, labels, taints)
            or self._unprotected(pod)
        )

    def _too_many_groups(self, pod: Pod) -> Refusal | None:
        """Return why the pod's processes would be in groups that it does not want."""
        context = pod.spec.security_context
        if self.strict_groups or context is None or context.supplemental_groups_policy != _STRICT:
            return None
        message = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Refusal("SupplementalGroupsPolicyNotSupported", message)

    def _misplaced(self, pod: Pod, labels: Mapping[str, str], taints: Iterable[Taint]) -> Refusal | None:
        """Return why the scheduler would not have given the pod to this node."""
        if not is_static(pod) and any(
            taint.effect == _NO_EXECUTE and not tolerates(pod.spec.tolerations, taint) for taint in taints
        ):
            return _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
        if not selects(pod.spec, self._node, labels):
            return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
        if pod.spec.node_name and pod.spec.node_name != self._node:
            return _predicate("NodeName", "node(s) didn't match the requested node name")
        taken = [port for uid, ports in self._ports.items() if uid != pod.metadata.uid for port in ports]
        if any(wanted.conflicts(port) for wanted in host_ports(pod) for port in taken):
            return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
        return None

    def _unprotected(self, pod: Pod) -> Refusal | None:
        """Return why the profiles that the pod asks for cannot be had."""
        wanted = list(_app_armor_profiles(pod))
        if not wanted:
            return None
        loaded = self._app_armor.profiles()
        if loaded is None:
            return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
        missing = next((name for name in wanted if name and name not in loaded), "")
        return Refusal("AppArmor", f'Cannot enforce AppArmor: profile "{missing}" is not loaded') if missing else None

    async def _told_of_node(self, pod: Pod) -> tuple[Mapping[str, str], tuple[Taint, ...]]:
        """Return the node's labels and taints, asked for only where they matter, and not at each pod."""
        affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
        required = affinity is not None and affinity.required_during_scheduling_ignored_during_execution is not None
        now = self._clock.monotonic()
        fresh = self._seen is not None and now - self._seen[0] < _REMEMBERED
        if (pod.spec.node_selector or required) and not fresh:
            try:
                self._seen = now, await self._reader.get(NODES, "", self._node)
            except (ApiError, BusError, UnavailableError) as error:
                _LOG.warning("labels of node %s are not told, what is known of them counts: %s", self._node, error)
        if self._seen is None:
            return self._labels, ()
        node = self._seen[1]
        return {**self._labels, **node.metadata.labels}, node.spec.taints


def host_ports(pod: Pod) -> Iterator[HostPort]:
    """Yield the ports of the node that a pod's containers take, sidecars included."""
    sidecars = (each for each in pod.spec.init_containers if each.restart_policy == "Always")
    for container in (*sidecars, *pod.spec.containers):
        for port in container.ports:
            if port.host_port:
                yield HostPort(port.host_ip, port.protocol, port.host_port)


def _of_another_system(pod: Pod, labels: Mapping[str, str]) -> Refusal | None:
    wanted = pod.metadata.labels.get(_OS_LABEL)
    if wanted is not None and wanted != labels.get(_OS_LABEL, _OS):
        message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Refusal("PodOSSelectorNodeLabelDoesNotMatch", message)
    if pod.spec.os is not None and pod.spec.os.name and pod.spec.os.name != _OS:
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    return None


def _app_armor_profiles(pod: Pod) -> Iterator[str]:
    """Yield the name of each profile that a container is to have, "" for the runtime's own."""
    of_pod = pod.spec.security_context.app_armor_profile if pod.spec.security_context is not None else None
    containers: tuple[Container, ...] = (
        *pod.spec.init_containers,
        *pod.spec.containers,
        *pod.spec.ephemeral_containers,
    )
    for container in containers:
        own = container.security_context.app_armor_profile if container.security_context is not None else None
        profile = own or of_pod
        if profile is not None and profile.type != "Unconfined":
            yield profile.localhost_profile if profile.type == "Localhost" else ""


def _predicate(name: str, why: str) -> Refusal:
    return Refusal(name, f"Predicate {name} failed: {why}")
