"""A node as the cluster sees it: what it has, where it is, and whether it is under pressure."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from orch import quantity
from orch.clock import rfc3339
from orch_agent.runtimes.protocol import ContainerInfo, Features, Runtime, Usage
from orch_agent.stats.machine import huge_pages, memory_info
from orch_agent.stats.meter import NodeMeter
from orch_agent.stats.sample import Samples
from orch_pb.v1 import node_pb2

KUBELET_VERSION: Final = "v1.37.0+orch"
MAX_PODS: Final = "110"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_HUGE_PAGES: Final = "hugepages-"
_GOES_DOWN: Final = "node is shutting down"


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is set about a node rather than found: `capacity` overrides, so that several nodes can share a machine.

    `reserved` (for the agent and its runtime), `system_reserved` (for all else on the machine) and `kept` (at what
    evictions begin, in units, by the capacity) are kept back from pods. Taints apply when the node is registered.
    """

    name: str
    address: str
    pod_cidr: str
    labels: Mapping[str, str] = {}
    taints: tuple[Mapping[str, str], ...] = ()
    capacity: Mapping[str, str] = {}
    reserved: Mapping[str, str] = {}
    system_reserved: Mapping[str, str] = {}
    kept: Callable[[Mapping[str, int]], Mapping[str, int]] = lambda _capacity: {}
    state_dir: str = "/"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine under a node: what does not change while it is up."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    info: Mapping[str, str]
    huge_pages: Mapping[str, int] = {}

    @staticmethod
    def here(folder: str, runtime_version: str) -> Machine:
        """Return the machine that this process runs on; `folder` is where containers keep their data."""
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        machine_id = _first_line("/etc/machine-id") or hashlib.md5(socket.gethostname().encode()).hexdigest()  # noqa: S324 - an id, not a secret
        return Machine(
            cpus=len(os.sched_getaffinity(0)),
            memory_bytes=memory_info()["MemTotal"],
            disk_bytes=shutil.disk_usage(folder).total,
            huge_pages=huge_pages(),
            info={
                "architecture": architecture,
                "bootID": _first_line("/proc/sys/kernel/random/boot_id"),
                "containerRuntimeVersion": runtime_version,
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": KUBELET_VERSION,
                "machineID": machine_id,
                "operatingSystem": "linux",
                "osImage": _os_name(),
                "systemUUID": _first_line("/sys/class/dmi/id/product_uuid") or machine_id,
            },
        )


class Node:
    """One node: its document for the api and its usage."""

    def __init__(
        self,
        settings: NodeSettings,
        machine: Machine,
        runtime: Runtime,
        *,
        simulated: bool = False,
        features: Features = Features(),  # noqa: B008 - frozen
    ) -> None:
        self.settings = settings
        self.features = features
        self.machine = machine
        self._runtime = runtime
        self._simulated = simulated
        self.capacity: Mapping[str, str] = {
            "cpu": str(machine.cpus),
            "ephemeral-storage": f"{machine.disk_bytes >> 10}Ki",
            **{name: _binary(amount) for name, amount in machine.huge_pages.items()},
            "memory": f"{machine.memory_bytes >> 10}Ki",
            "pods": MAX_PODS,
            **settings.capacity,
        }
        self.allocatable: Mapping[str, str] = _allocatable(self.capacity, settings)
        self.meter: NodeMeter | None = None
        self._samples = Samples(settings.name)
        self.pressures: Callable[[], frozenset[str]] = frozenset[str]
        self.images: Callable[[], Sequence[Mapping[str, object]]] = tuple[Mapping[str, object], ...]
        self._since: dict[str, tuple[bool, datetime]] = {}
        self.shuts_down = False
        """Whether it ends its pods because its machine goes down."""
        self.runtime_problem: Callable[[], str] = str
        """Asks who watches the runtime why it cannot run pods, "" while it can."""

    @property
    def memory_capacity(self) -> int:
        """The node's memory in bytes."""
        return quantity.value(self.capacity["memory"])

    @property
    def labels(self) -> dict[str, str]:
        """The labels that the node gives itself."""
        info = self.machine.info
        return {
            "beta.kubernetes.io/arch": info["architecture"],
            "beta.kubernetes.io/os": info["operatingSystem"],
            "kubernetes.io/arch": info["architecture"],
            "kubernetes.io/hostname": self.settings.name,
            "kubernetes.io/os": info["operatingSystem"],
            **self.settings.labels,
        }

    @property
    def problem(self) -> str:
        """Why the node cannot run pods, "" while it can."""
        return self.runtime_problem()

    def fingerprint(self) -> str:
        """Return what, when it differs, makes the node worth reporting anew: what is wrong with it, and its images."""
        # That it is down is news, for how long it has been is not.
        return f"{','.join(sorted(self.pressures()))}; {bool(self.problem)}; {self.shuts_down}; {self.images()}"

    def document(self, now: datetime) -> bytes:
        """Return the Node as JSON: labels, spec and status."""
        settings, info, labels = self.settings, self.machine.info, self.labels
        spec: dict[str, Any] = {}
        if settings.pod_cidr:
            spec |= {"podCIDR": settings.pod_cidr, "podCIDRs": [settings.pod_cidr]}
        if settings.taints:
            spec["taints"] = list(settings.taints)
        images = self.images()
        return msgspec.json.encode(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": settings.name, "labels": labels},
                "spec": spec,
                "status": {
                    "addresses": [
                        {"type": "InternalIP", "address": settings.address},
                        {"type": "Hostname", "address": settings.name},
                    ],
                    "allocatable": dict(self.allocatable),
                    "capacity": dict(self.capacity),
                    "conditions": self._conditions(now),
                    **({"images": list(images)} if images else {}),
                    "nodeInfo": dict(info),
                    "features": {"supplementalGroupsPolicy": self.features.strict_groups},
                    "runtimeHandlers": [{"name": name, "features": _OF_ALL} for name in self.features.handlers],
                },
            }
        )

    def usage_moves(self) -> bool:
        """Return whether a sample may say something else than the last one."""
        return self._runtime.usage_moves()

    async def containers(self) -> Sequence[ContainerInfo]:
        """Return the containers that the runtime has."""
        return await self._runtime.containers()

    async def sample(self) -> node_pb2.UsageSample:
        """Return what the node and its containers have used."""
        if self.meter is not None:
            return self._samples.of(await self.meter.stats())
        return self._sum(await self._runtime.usage())

    def _sum(self, usages: Sequence[Usage]) -> node_pb2.UsageSample:
        """Return what a simulated node uses: what its containers do."""
        return node_pb2.UsageSample(
            node=self.settings.name,
            unix_nanos=time.time_ns(),
            cpu_nanos=sum(each.cpu_nanos for each in usages),
            memory_bytes=sum(each.memory_bytes for each in usages),
            pods=_by_pod(usages),
        )

    def _conditions(self, now: datetime) -> list[dict[str, str]]:
        pressures = self.pressures()
        found = [
            self._condition(kind, kind in pressures, *(bad if kind in pressures else good), now)
            for kind, (bad, good) in _PRESSURES.items()
        ]
        problems = [each for each in (self.problem, _GOES_DOWN if self.shuts_down else "") if each]
        if problems:
            told = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            ready = self._condition("Ready", False, "KubeletNotReady", told, now)
        else:
            ready = self._condition("Ready", True, "KubeletReady", "orch agent is posting ready status", now)
        return [*found, ready]

    def _condition(self, kind: str, present: bool, reason: str, message: str, now: datetime) -> dict[str, str]:
        before = self._since.get(kind)
        if before is None or before[0] != present:
            self._since[kind] = before = (present, now)
        return {
            "type": kind,
            "status": "True" if present else "False",
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": rfc3339(now),
            "lastTransitionTime": rfc3339(before[1]),
        }


_OF_ALL: Final = {"recursiveReadOnlyMounts": True, "userNamespaces": False}
"""Features of every handler: mounts are made by the agent itself; as for user namespaces, see docs/nodes.md."""

_PRESSURES: Final[Mapping[str, tuple[tuple[str, str], tuple[str, str]]]] = {
    "MemoryPressure": (
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ),
    "DiskPressure": (
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ),
    "PIDPressure": (
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ),
}
"""Reason and message of each condition when it holds, and when it does not (kubelet's nodestatus setters)."""


def _by_pod(usages: Sequence[Usage]) -> list[node_pb2.PodUsage]:
    pods: dict[str, node_pb2.PodUsage] = {}
    for usage in usages:
        identity = usage.identity
        pod = pods.get(identity.uid)
        if pod is None:
            pod = pods[identity.uid] = node_pb2.PodUsage(
                namespace=identity.namespace, name=identity.pod, uid=identity.uid
            )
        pod.containers.add(container=identity.container, cpu_nanos=usage.cpu_nanos, memory_bytes=usage.memory_bytes)
    return list(pods.values())


def _allocatable(capacity: Mapping[str, str], settings: NodeSettings) -> dict[str, str]:
    """Return what pods may request: the capacity without what is reserved, and memory without huge pages."""
    kept = settings.kept({name: quantity.value(amount) for name, amount in capacity.items()})
    found: dict[str, str] = {}
    for name, amount in capacity.items():
        reserved = sum(quantity.milli(each.get(name, "0")) for each in (settings.reserved, settings.system_reserved))
        reserved += kept.get(name, 0) * 1000
        if name == "memory":
            pages = (each for page, each in capacity.items() if page.startswith(_HUGE_PAGES))
            reserved += sum(quantity.milli(each) for each in pages)
        found[name] = _less(amount, reserved)
    return found


def _less(amount: str, milli: int) -> str:
    """Return a quantity less so many thousandths, in its own notation."""
    if milli == 0:
        return amount
    whole = quantity.parse(amount)
    left = max(whole.milli - milli, 0)
    if whole.notation == "BinarySI":
        return f"{left // 1000 >> 10}Ki"
    return f"{left}m" if left % 1000 else str(left // 1000)


def _binary(amount: int) -> str:
    return str(quantity.Quantity(amount * 10**9, "BinarySI"))


def _first_line(path: str) -> str:
    """Return a file's first line, "" when this machine has no such file or keeps it secret."""
    try:
        return Path(path).read_text().partition("\n")[0].strip()
    except OSError:
        return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
