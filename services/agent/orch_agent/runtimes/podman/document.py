"""What is asked of Podman when a container is created: libpod's SpecGenerator, from a ContainerSpec."""

from __future__ import annotations

import signal
from pathlib import Path, PurePath
from typing import Final

from orch_agent.runtimes.image_names import qualified
from orch_agent.runtimes.podman.capabilities import changes
from orch_agent.runtimes.podman.connection import Document
from orch_agent.runtimes.protocol import LABEL_GROUP, UNCONFINED, ContainerSpec, Limits, Mount, image_labels

_APP_ARMOR: Final = Path("/sys/module/apparmor/parameters/enabled")
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - where every program expects it


def document_of(spec: ContainerSpec, *, cgroup_parent: str, log_size_max: int) -> Document:
    """Return the body of a request to create `spec`."""
    capabilities_added, capabilities_dropped = changes(spec.capabilities_added, spec.capabilities_dropped)
    network = {"nsmode": "path", "value": spec.network_namespace} if spec.network_namespace else {"nsmode": "host"}
    document: Document = {
        "name": spec.identity.runtime_name,
        "image": qualified(spec.image),
        "labels": {**spec.identity.labels(), **image_labels(spec), LABEL_GROUP: spec.cgroup_parent},
        "env": dict(spec.env),
        "netns": network,
        "resource_limits": _resources(spec.limits),
        "oom_score_adj": spec.limits.oom_score_adj,
        "cgroup_parent": spec.cgroup_parent or cgroup_parent,
        # A container's monitor stays in the service's own group: it must not count against its pod's memory.
        "cgroups_mode": "no-conmon" if spec.cgroup_parent else "enabled",
        "log_configuration": {"driver": "k8s-file", "size": log_size_max},
        "restart_policy": "no",
        "privileged": spec.privileged,
        "read_only_filesystem": spec.read_only,
        "stdin": spec.stdin,
        "terminal": spec.tty,
        "groups": [str(group) for group in spec.supplemental_groups],
        "mounts": [_mount(mount) for mount in _mounts(spec)],
    }
    optional: Document = {
        "entrypoint": list(spec.command),
        "command": list(spec.args),
        "work_dir": spec.working_dir,
        "create_working_dir": bool(spec.working_dir),
        "hostname": spec.hostname,
        "user": _user(spec),
        "stop_signal": _signal_number(spec.stop_signal),
        "cap_add": capabilities_added if not spec.privileged else (),
        "cap_drop": capabilities_dropped if not spec.privileged else (),
        "seccomp_profile_path": spec.seccomp,
        "apparmor_profile": spec.app_armor if spec.app_armor != UNCONFINED or has_app_armor() else "",
        "no_new_privileges": spec.no_new_privileges,
        "unmask": ["ALL"] if spec.unmasked else (),
        **_namespaces(spec),
    }
    return document | {key: value for key, value in optional.items() if value}


def unified_settings(limits: Limits, *, whole: bool) -> dict[str, str]:
    """Return what cgroup v2 knows beyond v1. `whole`: a container of which one process is killed for memory ends."""
    settings = {"memory.oom.group": "1"} if whole else {}
    if limits.memory_min:
        settings["memory.min"] = str(limits.memory_min)
    if limits.memory_high:
        settings["memory.high"] = str(limits.memory_high)
    return settings


def _resources(limits: Limits) -> Document:
    cpu: Document = {"shares": limits.cpu_shares}
    if limits.cpu_quota:
        cpu |= {"quota": limits.cpu_quota, "period": limits.cpu_period}
    resources: Document = {"cpu": cpu}
    if limits.memory:
        resources["memory"] = {"limit": limits.memory}
    if limits.pids:
        resources["pids"] = {"limit": limits.pids}
    return resources


def _mount(mount: Mount) -> Document:
    options = ["rbind", f"r{mount.propagation}", "ro" if mount.read_only else "rw"]
    return {"type": "bind", "source": mount.source, "destination": mount.target, "options": options}


def has_app_armor() -> bool:
    """Return whether the kernel restrains programs by AppArmor."""
    return _read_first(_APP_ARMOR) == "Y"


def _read_first(path: Path) -> str:
    try:
        return path.read_text()[:1]
    except OSError:
        return ""


def _namespaces(spec: ContainerSpec) -> Document:
    """Return those of processes and of IPC, where they are not the container's own."""
    sandbox = spec.sandbox
    processes: Document = {}
    if sandbox.host_processes:
        processes = {"nsmode": "host"}
    elif sandbox.process_namespace:
        processes = {"nsmode": "path", "value": sandbox.process_namespace}
    ipc: Document = {}
    if sandbox.host_ipc:
        ipc = {"nsmode": "host"}
    elif sandbox.ipc_namespace:
        ipc = {"nsmode": "path", "value": sandbox.ipc_namespace}
    return {"pidns": processes, "ipcns": ipc}


def _mounts(spec: ContainerSpec) -> tuple[Mount, ...]:
    """Return the mounts with the pod's shared memory, unless something else is to be in its place."""
    source = spec.sandbox.shared_memory
    if not source or any(PurePath(mount.target) == PurePath(_SHARED_MEMORY) for mount in spec.mounts):
        return spec.mounts
    return (*spec.mounts, Mount(source=source, target=_SHARED_MEMORY))


def _signal_number(name: str) -> int:
    """Return the number of SIGTERM, SIGRTMIN+3 and the like; 0 for one that is not known here."""
    base, _, beyond = name.partition("+")
    known = getattr(signal, base, None)
    return int(known) + (int(beyond) if beyond.isdecimal() else 0) if isinstance(known, signal.Signals) else 0


def _user(spec: ContainerSpec) -> str:
    user = spec.username if spec.user is None else str(spec.user)
    return f"{user or 0}:{spec.group}" if spec.group is not None else user
