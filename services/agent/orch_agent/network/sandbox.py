"""A pod's own network: a namespace, a pair of interfaces to the node's bridge, an address from the node's range."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from orch.errors import OrchError
from orch_agent.network import pairs
from orch_agent.network.addresses import AddressBook
from orch_agent.network.connections import Connection, addresses_of, connect
from orch_agent.network.pairs import Pair
from orch_agent.runtimes.protocol import SandboxSpec
from orch_agent.volumes.protocol import in_thread

_LOG: Final = logging.getLogger(__name__)
_NAMESPACES: Final = Path("/run/netns")
_COMMAND_TIMEOUT: Final = 20.0


class NetworkError(OrchError):
    """The kernel refused a change of the network; the message is ip's."""


class Sandbox(msgspec.Struct, frozen=True):
    """A pod's place in the network. `namespace` is a path, empty when nothing real stands behind it.

    `shared` is what else its containers have in common.
    """

    address: str
    namespace: str = ""
    shared: SandboxSpec = SandboxSpec()


class Sandboxes(Protocol):
    """Makes and removes sandboxes, by pod uid. Both are repeatable, also across restarts of the agent."""

    async def prepare(self) -> None:
        """Bring the node's own side of the network up."""
        ...

    async def ensure(self, uid: str) -> tuple[Sandbox, bool]:
        """Return the pod's sandbox and whether it had to be made. Raises NetworkError."""
        ...

    async def remove(self, uid: str) -> None:
        """Take the pod's sandbox away; nothing if there is none."""
        ...

    async def owners(self) -> Sequence[str]:
        """Return the uids of the pods that have a sandbox or an address."""
        ...

    async def dial(self, sandbox: Sandbox, port: int, *, own_address: bool) -> Connection:
        """Connect to a port of a pod: on its own address, or on localhost inside of it. Raises DialError."""
        ...

    async def dial_host(self, host: str, port: int) -> Connection:
        """Connect from the node's own network to a host, an address or a name. Raises DialError."""
        ...


def dialled(sandbox: Sandbox, own_address: bool) -> tuple[str, ...]:
    """Return the addresses to try in turn."""
    return (sandbox.address,) if own_address else ("127.0.0.1", "::1")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A way to other nodes' pods: `to` is a range, `via` a gateway, `device` an interface; one of the two suffices."""

    to: str
    via: str = ""
    device: str = ""


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The node's place in the cluster's network.

    `network_namespace` names the namespace that is the node (empty: the one the agent runs in). `blackholes` are the
    ranges of pods and services: what no rule or route of ours takes must not leak outward. Pods' namespaces are named
    by `pod_namespace_prefix` and the pod's uid.
    """

    network_namespace: str = ""
    bridge: str = "orch0"
    mtu: int = 1500
    pod_namespace_prefix: str = "orch-pod-"
    blackholes: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


class NetnsSandboxes:
    """Sandboxes as Linux network namespaces.

    The node's own side is set up once, by iproute2; that of pods by the kernel's own messages (`pairs`).
    """

    def __init__(self, settings: NetworkSettings, addresses: AddressBook) -> None:
        self._settings = settings
        self._addresses = addresses
        self._ready: set[str] = set()
        # Two changes of one bridge or of /run/netns at a time gain nothing and can meet each other half way.
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Create the bridge with the range's first address, the routes and the blackholes."""
        settings = self._settings
        bridge, gateway = settings.bridge, f"{self._addresses.gateway}/{self._addresses.prefix_length}"
        known = await self._in_node(f"link show dev {bridge}", check=False)
        if not known:
            await self._in_node(f"link add name {bridge} mtu {settings.mtu} type bridge")
        commands = [
            "link set dev lo up",
            f"address replace {gateway} dev {bridge}",
            f"link set dev {bridge} up",
            *(f"route replace blackhole {prefix}" for prefix in settings.blackholes),
        ]
        for route in settings.routes:
            via = f" via {route.via}" if route.via else ""
            device = f" dev {route.device}" if route.device else ""
            commands.append(f"route replace {route.to}{via}{device}")
        await self._in_node("\n".join(commands))
        await _run(*self._enter_node(), "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")

    async def ensure(self, uid: str) -> tuple[Sandbox, bool]:
        """Return the pod's sandbox; one that a crash left half made is made anew."""
        name = self._namespace_of(uid)
        path = _NAMESPACES / name
        async with self._lock:
            address = await asyncio.to_thread(self._addresses.take, uid)
            sandbox = Sandbox(address=address, namespace=str(path))
            if uid in self._ready and path.exists():
                return sandbox, False
            if path.exists() and await self._is_complete(name, address):
                self._ready.add(uid)
                return sandbox, False
            if path.exists():
                await self._take_down(uid)
            try:
                await self._set_up(uid, address)
            except NetworkError as error:
                # What is left of an earlier attempt may be in the way; the kernel, too, takes its time with removals.
                _LOG.debug("network of pod %s is made anew: %s", uid, error)
                await self._take_down(uid)
                await self._set_up(uid, address)
            self._ready.add(uid)
            return sandbox, True

    async def remove(self, uid: str) -> None:
        """Remove namespace and interfaces, then give the address back."""
        async with self._lock:
            self._ready.discard(uid)
            await self._take_down(uid)
            await asyncio.to_thread(self._addresses.release, uid)

    async def owners(self) -> Sequence[str]:
        """Return who holds an address: it is taken before and released after everything else."""
        return self._addresses.owners()

    async def dial(self, sandbox: Sandbox, port: int, *, own_address: bool) -> Connection:
        """Connect from inside the pod's namespace, or the node's for a pod that is in the node's network."""
        node = self._settings.network_namespace
        namespace = sandbox.namespace or (str(_NAMESPACES / node) if node else "")
        return await connect(namespace, dialled(sandbox, own_address), port)

    async def dial_host(self, host: str, port: int) -> Connection:
        """Connect from inside the namespace that is the node."""
        node = self._settings.network_namespace
        return await connect(str(_NAMESPACES / node) if node else "", await addresses_of(host, port), port)

    async def _set_up(self, uid: str, address: str) -> None:
        pair = msgspec.structs.replace(
            self._pair(uid),
            address=address,
            prefix_length=self._addresses.prefix_length,
            gateway=self._addresses.gateway,
        )
        try:
            await in_thread(pairs.make, pair)
        except OSError as error:
            raise NetworkError(f"network of pod {uid} cannot be made: {error}") from error

    async def _is_complete(self, name: str, address: str) -> bool:
        routes = await _run("ip", "-n", name, "route", "show", "default", check=False)
        shown = await _run("ip", "-n", name, "-oneline", "address", "show", "dev", "eth0", check=False)
        return f" {address}/" in shown and "default via" in routes

    async def _take_down(self, uid: str) -> None:
        try:
            await in_thread(pairs.remove, self._pair(uid))
        except OSError as error:
            raise NetworkError(f"network of pod {uid} cannot be removed: {error}") from error

    def _pair(self, uid: str) -> Pair:
        settings = self._settings
        node = settings.network_namespace
        return Pair(
            namespace=_NAMESPACES / self._namespace_of(uid),
            node=str(_NAMESPACES / node) if node else "",
            interface=_interface_of(uid),
            bridge=settings.bridge,
            mtu=settings.mtu,
        )

    def _namespace_of(self, uid: str) -> str:
        return f"{self._settings.pod_namespace_prefix}{uid}"

    def _enter_node(self) -> tuple[str, ...]:
        namespace = self._settings.network_namespace
        return ("nsenter", f"--net={_NAMESPACES / namespace}") if namespace else ()

    def _node_option(self) -> tuple[str, ...]:
        """Return what has ip work in the namespace that is the node."""
        namespace = self._settings.network_namespace
        return ("-n", namespace) if namespace else ()

    async def _in_node(self, commands: str, *, check: bool = True) -> str:
        return await _run("ip", *self._node_option(), "-batch", "-", text=f"{commands}\n", check=check)


def _interface_of(uid: str) -> str:
    """Return a name of at most 15 characters, the kernel's limit."""
    return f"veth{hashlib.sha256(uid.encode()).hexdigest()[:11]}"


async def _run(*command: str, text: str = "", check: bool = True) -> str:
    """Run a program on `text` to its end and return its output; "" if it failed and `check` is off."""
    # A file in memory for its input: a program that ends without reading it breaks no pipe.
    source = os.memfd_create("commands")
    try:
        os.write(source, text.encode())
        os.lseek(source, 0, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    finally:
        os.close(source)
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT):
            output, problem = await process.communicate()
    except TimeoutError as error:
        raise NetworkError(f"{' '.join(command)}: no end within {_COMMAND_TIMEOUT:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return output.decode()
    reason = problem.decode().strip()
    if check:
        raise NetworkError(f"{' '.join(command)} ({text.strip()!r}): {reason}")
    _LOG.debug("%s (%r) failed: %s", " ".join(command), text.strip(), reason)
    return ""
