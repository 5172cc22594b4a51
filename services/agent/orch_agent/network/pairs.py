"""Makes and removes what joins a pod to its node's network: a named namespace, and the pair of interfaces into it.

A namespace is entered by a thread, which keeps it until it ends; so each piece of work has a thread of its own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from orch_agent.network.netlink import Netlink
from orch_agent.volumes.kernel import MS_BIND, MS_REC, MS_SHARED, mount, unmount

_OWN: Final = "/proc/thread-self/ns/net"
_CLONE_NEWNET: Final = 0x4000_0000
_INSIDE: Final = "eth0"
_LOOPBACK: Final = 1
"""The index that it has in every namespace."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be there. `node` is the namespace that is the node, a path, "" for the one that this process is in."""

    namespace: Path
    node: str
    interface: str
    bridge: str
    mtu: int
    address: str = ""
    prefix_length: int = 0
    gateway: str = ""


def make(pair: Pair) -> None:
    """Make all of it; the default route comes last, and says that the rest is there. Blocks; raises OSError."""
    _in_thread(lambda: _make(pair))


def remove(pair: Pair) -> None:
    """Remove what is there of it. Blocks; raises OSError."""
    _in_thread(lambda: _remove(pair))


def _make(pair: Pair) -> None:
    _prepare(pair.namespace.parent)
    _enter(pair.node)
    bridge = socket.if_nametoindex(pair.bridge)
    with Netlink() as node:
        os.close(os.open(pair.namespace, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        _check(_libc.unshare(_CLONE_NEWNET))
        mount(_OWN, pair.namespace, flags=MS_BIND)
        own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            node.add_pair(pair.interface, _INSIDE, mtu=pair.mtu, master=bridge, namespace=own)
        finally:
            os.close(own)
    with Netlink() as pod:
        pod.set_up(_LOOPBACK)
        index = socket.if_nametoindex(_INSIDE)
        pod.set_up(index)
        pod.add_address(index, pair.address, pair.prefix_length)
        pod.add_default_route(index, pair.gateway)


def _remove(pair: Pair) -> None:
    # The pair goes first and by itself: the kernel removes a namespace's interfaces only some time later.
    with _unless(errno.ENODEV, errno.ENOENT):  # nor is there anything of it when the node itself is gone
        _enter(pair.node)
        with Netlink() as node:
            node.delete_link(pair.interface)
    if pair.namespace.exists():
        with _unless(errno.EINVAL):  # a file at which nothing was mounted yet
            unmount(pair.namespace)
        pair.namespace.unlink(missing_ok=True)


@contextmanager
def _unless(*numbers: int) -> Generator[None]:
    """Take these errors for success: what is to be removed is not there."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _prepare(folder: Path) -> None:
    """See to it that what is mounted in the folder of namespaces is seen, and goes, everywhere, as ip does."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        mount("", folder, flags=MS_SHARED | MS_REC)
    except OSError:  # it is no place of mounts yet
        mount(str(folder), folder, flags=MS_BIND | MS_REC)
        mount("", folder, flags=MS_SHARED | MS_REC)


def _enter(namespace: str) -> None:
    if namespace:
        entrance = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(entrance, _CLONE_NEWNET))
        finally:
            os.close(entrance)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_thread(work: Callable[[], None]) -> None:
    """Run in a thread that ends. Raises what `work` raises."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run, name="network of a pod")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
