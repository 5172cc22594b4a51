"""Which settings of the kernel a pod may have: the safe ones, and those that the node allows (kubelet's sysctl)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from orch.objects.pods import Pod

_IPC: Final = "IPC"
_NET: Final = "Net"
SAFE: Final = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
_NAMESPACES: Final[Mapping[str, str]] = {"kernel.sem": _IPC}
_PREFIXES: Final[Mapping[str, str]] = {"kernel.shm": _IPC, "kernel.msg": _IPC, "fs.mqueue.": _IPC, "net.": _NET}


def normalized(name: str) -> str:
    """Return a name with dots between its parts: net/ipv4/conf/eth0.1/x is net.ipv4.conf.eth0/1.x."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def namespace_of(name: str) -> str:
    """Return the kind of namespace that a setting, or a pattern of them, belongs to; "" when it is the whole node's."""
    if name in _NAMESPACES:
        return _NAMESPACES[name]
    return next((kind for prefix, kind in _PREFIXES.items() if name.startswith(prefix)), "")


def pattern_problem(pattern: str) -> str:
    """Return what is wrong with a pattern of allowed settings, "" if nothing."""
    name = pattern.removesuffix("*")
    if not name or "*" in name:
        return f'{pattern!r} is no name of a sysctl, and no prefix of one followed by "*"'
    if pattern in SAFE:
        return ""
    kind = namespace_of(normalized(pattern.removesuffix("*")) if pattern.endswith("*") else normalized(pattern))
    return "" if kind else f"the sysctls {pattern} are not known to be namespaced"


def forbidden(pod: Pod, allowed: Sequence[str]) -> str:
    """Return why the pod may not have one of its settings, "" if it may have all. `allowed` are names and prefixes*."""
    context = pod.spec.security_context
    for setting in context.sysctls if context is not None else ():
        name = normalized(setting.name)
        if not _is_allowed(name, allowed):
            return f'forbidden sysctl: "{name}" not allowlisted'
        kind = namespace_of(name)
        if (kind == _IPC and pod.spec.host_ipc) or (kind == _NET and pod.spec.host_network):
            return f'forbidden sysctl: "{name}" not allowed with host {kind} enabled'
    return ""


def _is_allowed(name: str, allowed: Sequence[str]) -> bool:
    for pattern in (*SAFE, *map(normalized, allowed)):
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return True
    return False
