"""The two files by which a pod's containers find others: hosts and resolv.conf, one of each for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Final

from orch.objects.pods import Container, Pod
from orch_agent.pods.hosts import nodes_hosts, own_hosts
from orch_agent.pods.naming import domain_of, hostname_of
from orch_agent.pods.resolver import ClusterDns, Complaint, Resolver, parse, resolver_of
from orch_agent.runtimes.protocol import Mount

_HOSTS: Final = "etc-hosts"
_RESOLVER: Final = "resolv.conf"
_TARGETS: Final = {"/etc/hosts": _HOSTS, "/etc/resolv.conf": _RESOLVER}
_NODE_HOSTS: Final = Path("/etc/hosts")
_LONGEST: Final = 1 << 20


class NetworkFiles:
    """Writes the files below `<folder>/<pod uid>/`; without a folder (simulated nodes) there are none.

    `resolv_conf` is the node's own, "" for a node whose names nobody resolves.
    """

    def __init__(self, folder: Path | None, cluster: ClusterDns, resolv_conf: str) -> None:
        self._folder = folder
        self._cluster = cluster
        self._resolv_conf = Path(resolv_conf) if resolv_conf else None

    async def write(self, pod: Pod, address: str) -> list[Complaint]:
        """Write a pod's files; return what is to be complained about. Raises OSError and NamingError."""
        if self._folder is None:
            return []
        return await asyncio.to_thread(self._write, self._folder / pod.metadata.uid, pod, address)

    def mounts(self, pod: Pod, container: Container, others: Iterable[Mount]) -> tuple[Mount, ...]:
        """Return where a container sees the files, but for those in whose place it mounts something else."""
        if self._folder is None:
            return ()
        folder = self._folder / pod.metadata.uid
        taken = {PurePath(mount.target) for mount in others}
        root = container.security_context is not None and container.security_context.read_only_root_filesystem
        return tuple(
            Mount(source=str(folder / name), target=target, read_only=root and name == _RESOLVER)
            for target, name in _TARGETS.items()
            if PurePath(target) not in taken
        )

    def _write(self, folder: Path, pod: Pod, address: str) -> list[Complaint]:
        folder.mkdir(parents=True, exist_ok=True)
        aliases = pod.spec.host_aliases
        if pod.spec.host_network:
            hosts = nodes_hosts(_text(_NODE_HOSTS) or "", aliases)
        else:
            domain = domain_of(pod, self._cluster.domain)
            hosts = own_hosts([address], hostname_of(pod), domain, aliases)
        # Written in place: the files are mounted into containers that run already.
        (folder / _HOSTS).write_text(hosts)
        resolver, complaints = resolver_of(pod, self._nodes(), self._cluster)
        (folder / _RESOLVER).write_text(resolver.text())
        return complaints

    def _nodes(self) -> Resolver | None:
        text = _text(self._resolv_conf) if self._resolv_conf is not None else None
        return parse(text) if text is not None else None


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as source:
            return source.read(_LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return None
