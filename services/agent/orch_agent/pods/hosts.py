"""A pod's hosts file, laid out as kubelet does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orch.objects.pods import HostAlias

_OWN: Final = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_NODES: Final = "# Kubernetes-managed hosts file (host network).\n"
_ALIASES: Final = "\n# Entries added by HostAliases.\n"


def own_hosts(addresses: Sequence[str], hostname: str, domain: str, aliases: Sequence[HostAlias]) -> str:
    """Return the file of a pod that has addresses of its own; each is called by the whole name and the short one."""
    names = f"{hostname}.{domain}\t{hostname}" if domain else hostname
    return _OWN + "".join(f"{address}\t{names}\n" for address in addresses) + _entries(aliases)


def nodes_hosts(of_node: str, aliases: Sequence[HostAlias]) -> str:
    """Return the file of a pod in its node's network, from the node's."""
    return _NODES + of_node + _entries(aliases)


def _entries(aliases: Sequence[HostAlias]) -> str:
    if not aliases:
        return ""
    return _ALIASES + "".join("\t".join((alias.ip, *alias.hostnames)) + "\n" for alias in aliases)
