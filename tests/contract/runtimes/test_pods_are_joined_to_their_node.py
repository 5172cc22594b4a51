"""A pod's namespace and the pair of interfaces that joins it to its node, made and removed in the kernel itself."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from orch_agent.network import pairs
from orch_agent.network.netlink import Netlink
from orch_agent.network.pairs import Pair

_NAMES = f"{os.getpid()}"


def ip(*words: str) -> str:
    return subprocess.run(("ip", *words), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def pair() -> Generator[Pair]:
    node = f"join-node-{_NAMES}"
    ip("netns", "add", node)
    ip("-n", node, "link", "add", "br0", "type", "bridge")
    made = Pair(
        namespace=Path(f"/run/netns/join-pod-{_NAMES}"),
        node=f"/run/netns/{node}",
        interface="vethjoin0",
        bridge="br0",
        mtu=1400,
        address="10.214.0.7",
        prefix_length=24,
        gateway="10.214.0.1",
    )
    yield made
    pairs.remove(made)
    ip("netns", "delete", node)


def test_a_pod_has_an_address_a_way_out_and_its_place_on_the_bridge(pair: Pair) -> None:
    pairs.make(pair)
    pod, node = pair.namespace.name, Path(pair.node).name
    inside = ip("-n", pod, "-oneline", "address", "show", "dev", "eth0")
    assert " 10.214.0.7/24 " in inside
    assert "default via 10.214.0.1 dev eth0" in ip("-n", pod, "route")
    assert "mtu 1400" in ip("-n", pod, "link", "show", "up", "dev", "eth0")
    assert ip("-n", pod, "link", "show", "up", "dev", "lo")
    outside = ip("-n", node, "link", "show", "up", "dev", "vethjoin0")
    assert "master br0" in outside
    assert "mtu 1400" in outside


def test_six_is_spoken_too(pair: Pair) -> None:
    pairs.make(msgspec.structs.replace(pair, address="fd00:214::7", prefix_length=64, gateway="fd00:214::1"))
    assert "default via fd00:214::1" in ip("-6", "-n", pair.namespace.name, "route")


def test_nothing_is_left_and_nothing_need_be_there(pair: Pair) -> None:
    pairs.make(pair)
    pairs.remove(pair)
    assert not pair.namespace.exists()
    assert "vethjoin0" not in ip("-n", Path(pair.node).name, "link")
    assert str(pair.namespace) not in Path("/proc/self/mountinfo").read_text()
    pairs.remove(pair)


def test_what_a_crash_left_half_made_can_be_removed(pair: Pair) -> None:
    pair.namespace.touch()
    pairs.remove(pair)
    assert not pair.namespace.exists()
    pairs.remove(msgspec.structs.replace(pair, node="/run/netns/gone"))


def test_the_kernels_reasons_are_told(pair: Pair) -> None:
    pairs.make(pair)
    with pytest.raises(FileExistsError):
        pairs.make(pair)
    other = msgspec.structs.replace(pair, namespace=pair.namespace.with_name(f"join-other-{_NAMES}"))
    try:
        with pytest.raises(FileExistsError):  # the name of its interface is taken
            pairs.make(other)
    finally:
        pairs.remove(msgspec.structs.replace(other, interface="vethjoin1"))
    with Netlink() as netlink, pytest.raises(OSError, match="No such device"):
        netlink.delete_link("vethnone0")


def test_no_thread_that_serves_others_is_left_in_a_namespace(pair: Pair) -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116 - what the link shows, not the link
    pairs.make(pair)
    assert os.stat("/proc/thread-self/ns/net").st_ino == before  # noqa: PTH116
    assert "vethjoin0" not in {name for _, name in socket.if_nameindex()}
