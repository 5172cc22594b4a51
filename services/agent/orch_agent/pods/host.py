"""What a pod worker has of its node: the runtime, the network, the clock, and where to tell what happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

from orch.clock import Clock
from orch.objects.fencing import is_fenced_by_lease
from orch.objects.pods import Pod
from orch_agent.lease import NodeLease
from orch_agent.network.sandbox import Sandboxes
from orch_agent.pods.admission import Admission
from orch_agent.pods.allocations import NodeAllocations, Refusal
from orch_agent.pods.environment import ObjectReader
from orch_agent.pods.files import PodFiles
from orch_agent.pods.groups import PodGroups
from orch_agent.pods.hooks import Hooks
from orch_agent.pods.images import Images, PullSettings
from orch_agent.pods.namespaces import PodNamespaces
from orch_agent.pods.network_files import NetworkFiles
from orch_agent.pods.resolver import ClusterDns
from orch_agent.pods.resources import Policy
from orch_agent.pods.security import SecuritySettings
from orch_agent.pods.service_links import ServiceLinks
from orch_agent.pods.slot import BackOffTimes
from orch_agent.probes.node import NodeProber
from orch_agent.probes.outcome import Prober
from orch_agent.probes.scripted import ScriptedProber
from orch_agent.runtimes.protocol import ContainerInfo, Runtime
from orch_agent.volumes.absent import NoVolumes, Volumes
from orch_pb.v1 import object_pb2

EventType = Literal["Normal", "Warning"]


class Outlet(Protocol):
    """Where workers tell what happened. Neither call waits or fails."""

    def report(
        self, node: str, pod: Pod, status: bytes, *, terminated: bool, trace: object_pb2.TraceContext | None
    ) -> None:
        """Pass on the newest status of a pod; it replaces one that was not sent yet."""
        ...

    def event(self, pod: Pod, container: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event about the pod, or one of its containers."""
        ...


class PodSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How pods are run on this node. A container's log is `log_max_files` files of about `log_max_size` bytes each."""

    back_off: BackOffTimes = BackOffTimes()
    pulls: PullSettings = PullSettings()
    pids_limit: int = 4096
    memory_qos: bool = False
    single_process_oom_kill: bool = False
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    seccomp_default: bool = False
    log_max_size: int = 10 << 20
    log_max_files: int = 5


class PodHost:
    """One node, as its pod workers know it."""

    def __init__(
        self,
        *,
        node: str,
        host_ip: str,
        allocatable: Mapping[str, str],
        memory_capacity: int,
        runtime: Runtime,
        scheme: str,
        sandboxes: Sandboxes,
        files: Path | None,
        reader: ObjectReader,
        outlet: Outlet,
        clock: Clock,
        settings: PodSettings = PodSettings(),  # noqa: B008 - frozen
        lease: NodeLease | None = None,
        scripted: bool = False,
        groups: PodGroups | None = None,
        allocations: NodeAllocations | None = None,
        labels: Mapping[str, str] = MappingProxyType({}),
        services: ServiceLinks | None = None,
        namespaces: PodNamespaces | None = None,
        handlers: frozenset[str] | None = None,
    ) -> None:
        self.node = node
        self.host_ip = host_ip
        self.allocatable = allocatable
        self.memory_capacity = memory_capacity
        self.runtime = runtime
        self.scheme = scheme
        self.sandboxes = sandboxes
        self.files = PodFiles(files)
        records = files.parent / "pulled-images.json" if files is not None else None
        self.images = Images(runtime, reader, clock, settings.pulls, settings.back_off, records)
        self.reader = reader
        self.outlet = outlet
        self.clock = clock
        self.settings = settings
        self.connector = NodeProber(runtime, sandboxes, clock)
        self.hooks = Hooks(runtime, self.connector, clock)
        self.prober: Prober = ScriptedProber(self.connector, clock) if scripted else self.connector
        self._lease = lease
        self.volumes: Volumes = NoVolumes()
        policy = Policy(memory_capacity=memory_capacity, pids=settings.pids_limit, memory_qos=settings.memory_qos)
        self.groups = groups or PodGroups(None, "", policy)
        self.allocations = allocations or NodeAllocations({})
        self.admission = Admission(node, reader, clock, labels=labels, unsafe_sysctls=settings.allowed_unsafe_sysctls)
        self.services = services or ServiceLinks(None)
        self.namespaces = namespaces or PodNamespaces(None)
        cluster = ClusterDns(servers=settings.cluster_dns, domain=settings.cluster_domain)
        self.network_files = NetworkFiles(files, cluster, settings.resolv_conf)
        profiles = files.parent / "seccomp" if files is not None else None
        self.security = SecuritySettings(profiles=profiles, seccomp_default=settings.seccomp_default)
        self.before_removal: Callable[[Sequence[ContainerInfo]], Awaitable[None]] = _nothing_before
        """What is done, in bounded time, before a pod's containers and their logs are removed."""
        self.handlers = handlers
        """The runtime classes' handlers that there are here; None when only the runtime itself knows."""
        self.preempt: Callable[[Pod], Awaitable[Refusal | None]] | None = None
        """Makes room for a critical pod and counts it in; returns why that is in vain. None: no room is made."""

    def must_stop(self, pod: Pod) -> bool:
        """Return whether a pod must not run now, as another node may have been given it."""
        return self._lease is not None and self._lease.over and is_fenced_by_lease(pod)


async def _nothing_before(containers: Sequence[ContainerInfo]) -> None:
    """Let containers go at once."""
    del containers
