"""The checks of the level baseline: what lets a pod reach its node in well-known ways.

Source: k8s.io/pod-security-admission/policy, whose words messages use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from orch_api.admission.pod_security.views import Finding, Looked, containers, plural, quoted, setters
from orch_api.strategy import Document, section

_APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_APP_ARMOR_TYPES: Final = frozenset({"RuntimeDefault", "Localhost"})
_SECCOMP: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP_ANNOTATIONS: Final = frozenset({"runtime/default", "docker/default"})
SECCOMP_TYPES: Final = frozenset({"RuntimeDefault", "Localhost"})
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SE_LINUX_TYPES: Final = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (
        0,
        (
            "kernel.shm_rmid_forced",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.ping_group_range",
            "net.ipv4.tcp_syncookies",
        ),
    ),
    (27, ("net.ipv4.ip_local_reserved_ports",)),
    (
        29,
        (
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
            "net.ipv4.tcp_keepalive_time",
        ),
    ),
    (32, ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")),
    (37, ("net.ipv4.tcp_notsent_lowat", "net.ipv4.tcp_slow_start_after_idle")),
)
"""Which settings of the kernel are a pod's own, and since which minor version."""


def app_armor_profile(pod: Looked, minor: int) -> Finding | None:
    """Forbid to leave AppArmor's confinement, as a field and as an annotation of old."""
    _ = minor
    bad: set[str] = set()

    def is_bad(context: Document) -> bool:
        profile: Document | None = context.get("appArmorProfile")
        if profile is None or profile.get("type") in _APP_ARMOR_TYPES:
            return False
        bad.add(profile.get("type") or "")
        return True

    own = is_bad(pod.security)
    who = setters(own, pod.named(is_bad))
    annotations = sorted(
        f'{key}="{value}"'
        for key, value in pod.annotations.items()
        if key.startswith(_APP_ARMOR) and value not in {"", "runtime/default"} and not value.startswith("localhost/")
    )
    if annotations:
        who = f"{who}{' and ' if who else ''}{plural('annotation', 'annotations', annotations)}"
    if not who:
        return None
    values = [*sorted(bad), *annotations]
    reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values)
    return Finding(reason, f"{who} must not set AppArmor profile type to {quoted(values)}")


def capabilities(pod: Looked, minor: int) -> Finding | None:
    """Forbid capabilities beyond those that runtimes give anyhow."""
    _ = minor
    bad: set[str] = set()

    def is_bad(context: Document) -> bool:
        added = set(section(context, "capabilities").get("add") or ()) - _CAPABILITIES
        bad.update(added)
        return bool(added)

    names = pod.named(is_bad)
    detail = f"{containers(names)} must not include {quoted(sorted(bad))} in securityContext.capabilities.add"
    return Finding("non-default capabilities", detail) if names else None


def host_namespaces(pod: Looked, minor: int) -> Finding | None:
    """Forbid to share namespaces with the node."""
    _ = minor
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name)]
    return Finding("host namespaces", ", ".join(shared)) if shared else None


def host_path_volumes(pod: Looked, minor: int) -> Finding | None:
    """Forbid the node's files."""
    _ = minor
    names = [one.get("name") for one in pod.spec.get("volumes") or () if one.get("hostPath") is not None]
    return Finding("hostPath volumes", f"{plural('volume', 'volumes', names)} {quoted(names)}") if names else None


def host_ports(pod: Looked, minor: int) -> Finding | None:
    """Forbid the node's ports."""
    _ = minor
    ports: set[str] = set()
    names: list[str] = []
    for container in pod.containers:
        found = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        ports |= found
        if found:
            names.append(container.get("name") or "")
    uses, what = plural("uses", "use", names), plural("hostPort", "hostPorts", ports)
    return Finding("hostPort", f"{containers(names)} {uses} {what} {', '.join(sorted(ports))}") if names else None


def host_probes(pod: Looked, minor: int) -> Finding | None:
    """Forbid probes and hooks to speak with anybody but the pod."""
    if minor < 34:
        return None
    hosts: set[str] = set()
    names: set[str] = set()
    for container in pod.containers:
        found = set(_hosts(container))
        hosts |= found
        if found:
            names.add(container.get("name") or "")
    uses = plural("uses", "use", names)
    what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts)
    detail = f"{containers(sorted(names))} {uses} {what} {quoted(sorted(hosts))}"
    return Finding("probe or lifecycle host", detail) if names else None


def _hosts(container: Document) -> Iterator[str]:
    lifecycle = section(container, "lifecycle")
    handlers = [section(container, name) for name in _PROBES]
    handlers += [section(lifecycle, name) for name in ("postStart", "preStop")]
    for handler in handlers:
        for kind in ("httpGet", "tcpSocket"):
            if host := section(handler, kind).get("host"):
                yield host


def privileged(pod: Looked, minor: int) -> Finding | None:
    """Forbid containers that may do whatever the node may."""
    _ = minor
    names = pod.named(lambda context: context.get("privileged") is True)
    return Finding("privileged", f"{containers(names)} must not set securityContext.privileged=true") if names else None


def proc_mount(pod: Looked, minor: int) -> Finding | None:
    """Forbid the whole of /proc, except where users are the pod's own."""
    if minor >= 35 and pod.has_own_users:
        return None
    return any_proc_mount(pod, minor)


def any_proc_mount(pod: Looked, minor: int) -> Finding | None:
    """Forbid the whole of /proc."""
    _ = minor
    bad: set[str] = set()

    def is_bad(context: Document) -> bool:
        mount: str | None = context.get("procMount")
        if mount is None or mount == "Default":
            return False
        bad.add(mount)
        return True

    names = pod.named(is_bad)
    detail = f"{containers(names)} must not set securityContext.procMount to {quoted(sorted(bad))}"
    return Finding("procMount", detail) if names else None


def se_linux_options(pod: Looked, minor: int) -> Finding | None:
    """Forbid SELinux types that are not containers', and other users and roles."""
    allowed = _SE_LINUX_TYPES | {"container_engine_t"} if minor >= 31 else _SE_LINUX_TYPES
    types: set[str] = set()
    told: dict[str, None] = {}

    def is_bad(context: Document) -> bool:
        options = section(context, "seLinuxOptions")
        kind: str = options.get("type") or ""
        if kind not in allowed:
            types.add(kind)
        told.update({f"{part} may not be set": None for part in ("user", "role") if options.get(part)})
        return kind not in allowed or bool(options.get("user") or options.get("role"))

    own = is_bad(pod.security)
    who = setters(own, pod.named(is_bad))
    data = [f"{plural('type', 'types', types)} {quoted(sorted(types))}"] if types else []
    data += sorted(told, reverse=True)  # the user before the role
    detail = f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    return Finding("seLinuxOptions", detail) if who else None


def seccomp_profile(pod: Looked, minor: int) -> Finding | None:
    """Forbid to leave seccomp's confinement."""
    return _seccomp_annotations(pod) if minor < 19 else seccomp_fields(pod)


def _seccomp_annotations(pod: Looked) -> Finding | None:
    keys = [_SECCOMP, *(f"{_SECCOMP_CONTAINER}{one.get('name')}" for one in pod.containers)]
    bad = sorted(
        {
            f'{key}="{value}"'
            for key in keys
            if (value := pod.annotations.get(key)) is not None
            and value not in _SECCOMP_ANNOTATIONS
            and not value.startswith("localhost/")
        }
    )
    detail = f"forbidden {plural('annotation', 'annotations', bad)} {', '.join(bad)}"
    return Finding("seccompProfile", detail) if bad else None


def seccomp_fields(pod: Looked) -> Finding | None:
    """Return who names a profile that confines nothing."""
    bad: set[str] = set()

    def is_bad(context: Document) -> bool:
        profile: Any = context.get("seccompProfile")
        if profile is None or profile.get("type") in SECCOMP_TYPES:
            return False
        bad.add(profile.get("type") or "")
        return True

    own = is_bad(pod.security)
    who = setters(own, pod.named(is_bad))
    detail = f"{who} must not set securityContext.seccompProfile.type to {quoted(sorted(bad))}"
    return Finding("seccompProfile", detail) if who else None


def sysctls(pod: Looked, minor: int) -> Finding | None:
    """Forbid settings of the kernel that are not the pod's own."""
    allowed = {name for since, names in _SYSCTLS if minor >= since for name in names}
    bad = [one.get("name") or "" for one in pod.security.get("sysctls") or () if one.get("name") not in allowed]
    return Finding("forbidden sysctls", ", ".join(bad)) if bad else None


def windows_host_process(pod: Looked, minor: int) -> Finding | None:
    """Forbid processes of a Windows node."""
    _ = minor

    def is_bad(context: Document) -> bool:
        return section(context, "windowsOptions").get("hostProcess") is True

    who = setters(is_bad(pod.security), pod.named(is_bad))
    detail = f"{who} must not set securityContext.windowsOptions.hostProcess=true"
    return Finding("hostProcess", detail) if who else None
