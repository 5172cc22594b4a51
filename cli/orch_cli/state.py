"""What a local cluster remembers from one `orch up` to the next, and the lock that keeps it to one supervisor."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Literal

import msgspec

from orch.config import TelemetryConfig
from orch.errors import ConfigError, OrchError
from orch_cli.layout import Layout
from orch_cli.pki import write_private

Runtime = Literal["podman", "simulated"]

MAX_PODMAN_NODES = 100
MAX_SIMULATED_NODES = 10_000


class Ports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ports on 127.0.0.1. The API's is the user's choice, the others were free when they were chosen."""

    api: int
    etcd: int
    etcd_peer: int
    nats: int


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster's lasting choices. `cluster` names it on this machine: in namespaces and in `/run`."""

    version: Literal[1] = 1
    cluster: str
    ports: Ports
    nodes: int
    runtime: Runtime
    mirror: str = ""
    """The storage folder of a registry that stands in for docker.io; empty when the real one is used."""
    otlp: str = ""
    """Where all services send their spans; empty: nowhere."""

    def node_names(self) -> list[str]:
        """Return node-1, node-2, ..."""
        return [f"node-{number}" for number in range(1, self.nodes + 1)]

    def telemetry(self) -> TelemetryConfig:
        """Return where services send what they tell of themselves."""
        return TelemetryConfig(otlp_endpoint=self.otlp)


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for; None leaves what is remembered, or else the default."""

    port: int | None = None
    nodes: int | None = None
    runtime: Runtime | None = None
    mirror: Path | None = None
    otlp: str | None = None


class LockedError(OrchError):
    """Another supervisor runs this cluster."""


def load_state(layout: Layout) -> ClusterState | None:
    """Return what is remembered, None when there is no cluster. Raises ConfigError when the file is unusable."""
    try:
        content = layout.state_file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(content, type=ClusterState)
    except msgspec.MsgspecError as error:
        raise ConfigError(str(layout.state_file), str(error)) from error


def settle_state(layout: Layout, wishes: Wishes) -> ClusterState:
    """Return the cluster's state as wished, and remember it."""
    known = load_state(layout)
    runtime = wishes.runtime or (known.runtime if known else "podman")
    nodes = wishes.nodes or (known.nodes if known else 2)
    most = MAX_PODMAN_NODES if runtime == "podman" else MAX_SIMULATED_NODES
    if nodes > most:
        raise ConfigError("--nodes", f"{nodes} is more than the {most} that the {runtime} runtime supports")
    api = wishes.port or (known.ports.api if known else 6443)
    if known is None:
        etcd, etcd_peer, nats = free_ports(3, avoid=api)
        ports = Ports(api=api, etcd=etcd, etcd_peer=etcd_peer, nats=nats)
        known = ClusterState(cluster=cluster_name(layout.root), ports=ports, nodes=nodes, runtime=runtime)
    ports = _still_free(msgspec.structs.replace(known.ports, api=api))
    mirror = known.mirror if wishes.mirror is None else str(wishes.mirror)
    otlp = known.otlp if wishes.otlp is None else wishes.otlp
    state = msgspec.structs.replace(known, ports=ports, nodes=nodes, runtime=runtime, mirror=mirror, otlp=otlp)
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(layout.state_file, msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    return state


def cluster_name(root: Path) -> str:
    """Return a short name that differs between state folders: interface and socket names hold few characters."""
    return hashlib.blake2s(os.fsencode(root), digest_size=3).hexdigest()


def free_ports(count: int, *, avoid: int = 0) -> list[int]:
    """Return distinct ports on 127.0.0.1 that nothing listens on."""
    with contextlib.ExitStack() as opened:
        found: list[int] = []
        while len(found) < count:
            listener = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            if port != avoid:
                found.append(port)
        return found


def port_is_free(port: int) -> bool:
    """Say whether a server could listen on 127.0.0.1 at `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _still_free(ports: Ports) -> Ports:
    """Replace those of our own ports that something else has taken since; the API's stays as the user chose it."""
    names = ("etcd", "etcd_peer", "nats")
    taken = [name for name in names if not port_is_free(getattr(ports, name))]
    return msgspec.structs.replace(ports, **dict(zip(taken, free_ports(len(taken), avoid=ports.api), strict=True)))


@contextlib.contextmanager
def only_supervisor(layout: Layout) -> Generator[None]:
    """Hold the cluster's lock within the context. Raises LockedError when another process holds it."""
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(layout.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"the cluster in {layout.root} is already up") from error
        yield
    finally:
        os.close(descriptor)
