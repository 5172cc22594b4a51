"""What is asked of Podman when a container is created: libpod's SpecGenerator, from a ContainerSpec."""

from __future__ import annotations

import signal

from orch_agent.runtimes.podman.connection import Document
from orch_agent.runtimes.podman.images import qualified
from orch_agent.runtimes.protocol import LABEL_GROUP, LABEL_IMAGE, ContainerSpec, Limits, Mount


def document_of(spec: ContainerSpec, *, cgroup_parent: str, log_size_max: int) -> Document:
    """Return the body of a request to create `spec`."""
    network = {"nsmode": "path", "value": spec.network_namespace} if spec.network_namespace else {"nsmode": "host"}
    document: Document = {
        "name": spec.identity.runtime_name,
        "image": qualified(spec.image),
        "labels": {**spec.identity.labels(), LABEL_IMAGE: spec.image, LABEL_GROUP: spec.cgroup_parent},
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
        "mounts": [_mount(mount) for mount in spec.mounts],
    }
    optional: Document = {
        "entrypoint": list(spec.command),
        "command": list(spec.args),
        "work_dir": spec.working_dir,
        "create_working_dir": bool(spec.working_dir),
        "hostname": spec.hostname,
        "user": _user(spec.user, spec.group),
        "stop_signal": _signal_number(spec.stop_signal),
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
    options = ["rbind", "ro" if mount.read_only else "rw"]
    return {"type": "bind", "source": mount.source, "destination": mount.target, "options": options}


def _signal_number(name: str) -> int:
    """Return the number of SIGTERM, SIGRTMIN+3 and the like; 0 for one that is not known here."""
    base, _, beyond = name.partition("+")
    known = getattr(signal, base, None)
    return int(known) + (int(beyond) if beyond.isdecimal() else 0) if isinstance(known, signal.Signals) else 0


def _user(user: int | None, group: int | None) -> str:
    if user is None and group is None:
        return ""
    return f"{user or 0}:{group}" if group is not None else str(user)
