"""What is asked of a CRI runtime when a sandbox or a container is made, from a ContainerSpec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orch_agent.runtimes.protocol import (
    LABEL_GROUP,
    LABEL_NAMESPACE,
    LABEL_NODE,
    LABEL_POD,
    LABEL_UID,
    UNCONFINED,
    ContainerSpec,
    Identity,
    Limits,
    Mount,
    Propagation,
    image_labels,
)
from orch_pb.cri import api_pb2

ANNOTATION_TERMINAL: Final = "orch.dev/terminal"
ANNOTATION_INPUT: Final = "orch.dev/input"
ANNOTATION_STOP_SIGNAL: Final = "orch.dev/stop-signal"
ANNOTATION_NETWORK: Final = "orch.dev/network-namespace"
"""On a sandbox, for the network plug-in: the path of the pod's network namespace."""

# What runc itself hides by default (and dockershim did): a runtime takes an empty list at its word.
_MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_PROPAGATIONS: Final[Mapping[Propagation, api_pb2.MountPropagation]] = {
    "private": api_pb2.PROPAGATION_PRIVATE,
    "slave": api_pb2.PROPAGATION_HOST_TO_CONTAINER,
    "shared": api_pb2.PROPAGATION_BIDIRECTIONAL,
}


def sandbox_labels(identity: Identity) -> dict[str, str]:
    """Return the labels of the sandbox of a container's pod."""
    return {
        LABEL_NODE: identity.node,
        LABEL_NAMESPACE: identity.namespace,
        LABEL_POD: identity.pod,
        LABEL_UID: identity.uid,
    }


def log_folder(identity: Identity) -> str:
    """Return the folder of a pod's logs, below that of all logs, named as kubelet names it."""
    return f"{identity.namespace}_{identity.pod}_{identity.uid}"


def log_file(identity: Identity) -> str:
    """Return a container's log file, below its pod's folder."""
    return f"{identity.container}/{identity.attempt}.log"


def sandbox_config(
    spec: ContainerSpec, attempt: int, *, cgroup_parent: str, log_directory: str
) -> api_pb2.PodSandboxConfig:
    """Return the sandbox that a container's pod is to have."""
    identity = spec.identity
    return api_pb2.PodSandboxConfig(
        metadata=api_pb2.PodSandboxMetadata(
            name=identity.pod, namespace=identity.namespace, uid=identity.uid, attempt=attempt
        ),
        # A pod on the node's network has the node's name, which nobody may set for it.
        hostname=spec.hostname if spec.network_namespace else "",
        log_directory=log_directory,
        labels=sandbox_labels(identity),
        annotations={ANNOTATION_NETWORK: spec.network_namespace} if spec.network_namespace else {},
        linux=api_pb2.LinuxPodSandboxConfig(
            cgroup_parent=spec.cgroup_parent or cgroup_parent,
            security_context=api_pb2.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(spec),
                # A runtime refuses privileged containers in a sandbox that is not.
                privileged=spec.privileged or spec.sandbox.privileged,
                seccomp=api_pb2.SecurityProfile(profile_type=api_pb2.SecurityProfile.RuntimeDefault),
            ),
            sysctls=dict(spec.sandbox.sysctls),
        ),
    )


def container_config(spec: ContainerSpec, *, unified: bool) -> api_pb2.ContainerConfig:
    """Return the container. `unified`: the machine uses cgroup v2 alone."""
    identity = spec.identity
    annotations = {
        ANNOTATION_TERMINAL: "true" if spec.tty else "",
        ANNOTATION_INPUT: "true" if spec.stdin else "",
        ANNOTATION_STOP_SIGNAL: spec.stop_signal,
    }
    return api_pb2.ContainerConfig(
        metadata=api_pb2.ContainerMetadata(name=identity.container, attempt=identity.attempt),
        image=api_pb2.ImageSpec(
            # By its id: the name may have come to mean another one meanwhile.
            image=spec.found.id if spec.found is not None else spec.image,
            user_specified_image=spec.image,
        ),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=[api_pb2.KeyValue(key=key, value=value.encode()) for key, value in spec.env],
        mounts=[_mount(mount) for mount in spec.mounts],
        labels={**identity.labels(), **image_labels(spec), LABEL_GROUP: spec.cgroup_parent},
        annotations={key: value for key, value in annotations.items() if value},
        log_path=log_file(identity),
        stdin=spec.stdin,
        stdin_once=spec.stdin,
        tty=spec.tty,
        linux=api_pb2.LinuxContainerConfig(
            resources=_resources(spec.limits, unified=unified), security_context=_security(spec)
        ),
    )


def _namespaces(spec: ContainerSpec) -> api_pb2.NamespaceOption:
    sandbox = spec.sandbox
    processes = api_pb2.CONTAINER
    if sandbox.host_processes:
        processes = api_pb2.NODE
    elif sandbox.shares_processes:
        processes = api_pb2.POD
    return api_pb2.NamespaceOption(
        network=api_pb2.POD if spec.network_namespace else api_pb2.NODE,
        pid=processes,
        ipc=api_pb2.NODE if sandbox.host_ipc else api_pb2.POD,
    )


def _security(spec: ContainerSpec) -> api_pb2.LinuxContainerSecurityContext:
    namespaces = _namespaces(spec)
    if spec.processes_of:
        namespaces.pid, namespaces.target_id = api_pb2.TARGET, spec.processes_of
    context = api_pb2.LinuxContainerSecurityContext(
        namespace_options=namespaces,
        capabilities=api_pb2.Capability(
            add_capabilities=map(_plain, spec.capabilities_added),
            drop_capabilities=map(_plain, spec.capabilities_dropped),
        ),
        privileged=spec.privileged,
        readonly_rootfs=spec.read_only,
        run_as_username=spec.username,
        supplemental_groups=spec.supplemental_groups,
        supplemental_groups_policy=api_pb2.Strict if spec.only_these_groups else api_pb2.Merge,
        no_new_privs=spec.no_new_privileges,
        seccomp=_profile(spec.seccomp),
    )
    if spec.app_armor:
        # Unset is the runtime's own, where the kernel has AppArmor; asked for by name, it would be missed elsewhere.
        context.apparmor.CopyFrom(_profile(spec.app_armor))
    if not spec.privileged and not spec.unmasked:
        context.masked_paths.extend(_MASKED_PATHS)
        context.readonly_paths.extend(_READ_ONLY_PATHS)
    if spec.user is not None or (spec.group is not None and not spec.username):
        context.run_as_user.value = spec.user or 0
    if spec.group is not None:
        context.run_as_group.value = spec.group
    return context


def _profile(name: str) -> api_pb2.SecurityProfile:
    profile = api_pb2.SecurityProfile
    if not name:
        return profile(profile_type=profile.RuntimeDefault)
    if name == UNCONFINED:
        return profile(profile_type=profile.Unconfined)
    return profile(profile_type=profile.Localhost, localhost_ref=name)


def _plain(capability: str) -> str:
    return capability.upper().removeprefix("CAP_")


def _resources(limits: Limits, *, unified: bool) -> api_pb2.LinuxContainerResources:
    resources = api_pb2.LinuxContainerResources(
        cpu_shares=limits.cpu_shares, memory_limit_in_bytes=limits.memory, oom_score_adj=limits.oom_score_adj
    )
    if limits.cpu_quota:
        resources.cpu_quota, resources.cpu_period = limits.cpu_quota, limits.cpu_period
    if unified:
        resources.unified.update(_unified(limits))
    return resources


def _unified(limits: Limits) -> dict[str, str]:
    """Return the settings of cgroup v2 for which CRI has no field."""
    settings = {
        "pids.max": limits.pids,
        "memory.min": limits.memory_min,
        "memory.high": limits.memory_high,
        # A container of which one process is killed for its memory ends as a whole.
        "memory.oom.group": 1,
    }
    return {name: str(value) for name, value in settings.items() if value}


def _mount(mount: Mount) -> api_pb2.Mount:
    made = api_pb2.Mount(
        container_path=mount.target,
        host_path=mount.source,
        readonly=mount.read_only,
        propagation=_PROPAGATIONS[mount.propagation],
    )
    if mount.image:
        made.image.image = made.image.user_specified_image = mount.image
        made.image_sub_path = mount.image_path
    return made
