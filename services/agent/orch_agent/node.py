"""A node as the cluster sees it: what it has, where it is, and whether it is under pressure."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from orch import quantity
from orch.clock import rfc3339
from orch.errors import OrchError
from orch_agent.runtimes.protocol import Runtime, Usage
from orch_pb.v1 import node_pb2

KUBELET_VERSION: Final = "v1.37.0+orch"
MAX_PODS: Final = "110"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_MEMORY_FLOOR: Final = 100 << 20
_DISK_FLOOR: Final = 0.05
_PIDS_FLOOR: Final = 0.05


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is set about a node rather than found: `capacity` overrides, so that several nodes can share a machine.

    `reserved` is kept back from what pods may request. Taints apply when the node is registered.
    """

    name: str
    address: str
    pod_cidr: str
    labels: Mapping[str, str] = {}
    taints: tuple[Mapping[str, str], ...] = ()
    capacity: Mapping[str, str] = {}
    reserved: Mapping[str, str] = {}
    state_dir: str = "/"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine under a node: what does not change while it is up."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    info: Mapping[str, str]

    @staticmethod
    def here(folder: str, runtime_version: str) -> Machine:
        """Return the machine that this process runs on; `folder` is where containers keep their data."""
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        machine_id = _first_line("/etc/machine-id") or hashlib.md5(socket.gethostname().encode()).hexdigest()  # noqa: S324 - an id, not a secret
        return Machine(
            cpus=len(os.sched_getaffinity(0)),
            memory_bytes=_meminfo()["MemTotal"],
            disk_bytes=shutil.disk_usage(folder).total,
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

    def __init__(self, settings: NodeSettings, machine: Machine, runtime: Runtime, *, simulated: bool = False) -> None:
        self.settings = settings
        self.machine = machine
        self._runtime = runtime
        self._simulated = simulated
        self.capacity: Mapping[str, str] = {
            "cpu": str(machine.cpus),
            "ephemeral-storage": f"{machine.disk_bytes >> 10}Ki",
            "memory": f"{machine.memory_bytes >> 10}Ki",
            "pods": MAX_PODS,
            **settings.capacity,
        }
        self.allocatable: Mapping[str, str] = {
            name: _less(amount, settings.reserved.get(name, "0")) for name, amount in self.capacity.items()
        }
        self._since: dict[str, tuple[bool, datetime]] = {}
        self._problem = ""

    @property
    def memory_capacity(self) -> int:
        """The node's memory in bytes."""
        return quantity.value(self.capacity["memory"])

    @property
    def problem(self) -> str:
        """Why the node is not ready, "" while it is."""
        return self._problem

    def fingerprint(self) -> str:
        """Return what, when it differs, makes the node worth reporting anew: what is wrong with it."""
        pressures = ",".join(kind for kind, present, _, _ in self._pressures() if present)
        return f"{pressures}; {self._problem}"

    def document(self, now: datetime) -> bytes:
        """Return the Node as JSON: labels, spec and status."""
        settings, info = self.settings, self.machine.info
        labels = {
            "beta.kubernetes.io/arch": info["architecture"],
            "beta.kubernetes.io/os": info["operatingSystem"],
            "kubernetes.io/arch": info["architecture"],
            "kubernetes.io/hostname": settings.name,
            "kubernetes.io/os": info["operatingSystem"],
            **settings.labels,
        }
        spec: dict[str, Any] = {}
        if settings.pod_cidr:
            spec |= {"podCIDR": settings.pod_cidr, "podCIDRs": [settings.pod_cidr]}
        if settings.taints:
            spec["taints"] = list(settings.taints)
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
                    "nodeInfo": dict(info),
                },
            }
        )

    def usage_moves(self) -> bool:
        """Return whether a sample may say something else than the last one."""
        return self._runtime.usage_moves()

    async def sample(self) -> node_pb2.UsageSample:
        """Return what the node and its containers have used. A runtime that does not answer makes it not ready."""
        try:
            usages = await self._runtime.usage()
        except OrchError as error:
            self._problem = f"container runtime is down: {error}"
            raise
        self._problem = ""
        if self._simulated:
            cpu, memory = sum(each.cpu_nanos for each in usages), sum(each.memory_bytes for each in usages)
        else:
            info = _meminfo()
            cpu, memory = _cpu_nanos(), info["MemTotal"] - info["MemAvailable"]
        return node_pb2.UsageSample(
            node=self.settings.name,
            unix_nanos=time.time_ns(),
            cpu_nanos=cpu,
            memory_bytes=memory,
            pods=_by_pod(usages),
        )

    def _conditions(self, now: datetime) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        for kind, present, reason, message in self._pressures():
            found.append(self._condition(kind, present, reason, message, now))
        if self._problem:
            ready = self._condition("Ready", False, "KubeletNotReady", self._problem, now)
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

    def _pressures(self) -> list[tuple[str, bool, str, str]]:
        """Return (condition, whether it is so, reason, message) for each resource that can run out."""
        memory = disk = pids = False
        if not self._simulated:
            memory = _meminfo()["MemAvailable"] < _MEMORY_FLOOR
            usage = shutil.disk_usage(self.settings.state_dir)
            disk = usage.free < usage.total * _DISK_FLOOR
            pids = _free_pids() < _PIDS_FLOOR
        return [
            _pressure("MemoryPressure", memory, "Memory", "memory"),
            _pressure("DiskPressure", disk, "Disk", "disk space"),
            _pressure("PIDPressure", pids, "PID", "PID"),
        ]


def _pressure(kind: str, present: bool, short: str, what: str) -> tuple[str, bool, str, str]:
    if present:
        return kind, True, f"KubeletHasInsufficient{short}", f"the node has insufficient {what} available"
    enough = {"Memory": "KubeletHasSufficientMemory", "Disk": "KubeletHasNoDiskPressure"}
    return kind, False, enough.get(short, "KubeletHasSufficientPID"), f"the node has sufficient {what} available"


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


def _less(amount: str, reserved: str) -> str:
    if quantity.milli(reserved) == 0:
        return amount
    left = max(quantity.milli(amount) - quantity.milli(reserved), 0)
    return f"{left}m" if left % 1000 else str(left // 1000)


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


def _meminfo() -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {parts[0].rstrip(":"): int(parts[1]) << 10 for parts in lines if len(parts) == 3}


def _cpu_nanos() -> int:
    """Return the machine's CPU time spent on work since it was booted."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = (int(part) for part in _first_line("/proc/stat").split()[1:])
    return (user + nice + system + irq + softirq) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _free_pids() -> float:
    """Return the share of process ids that are free."""
    limit = int(_first_line("/proc/sys/kernel/pid_max") or "32768")
    threads = int(_first_line("/proc/loadavg").split()[3].partition("/")[2])
    return 1 - threads / limit
