"""Volumes that are mounted show changes of their objects and of the pod, and keep what they had when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from volume_node import VolumeNode, files_below

from orch.bus import rpc, subjects
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import API, permissions_of
from orch_agent.volumes.upkeep import VolumeUpkeep
from orch_pb.v1 import node_pb2, rpc_pb2

SETTINGS = {"name": "settings", "configMap": {"name": "app"}}


@asynccontextmanager
async def kept(node: VolumeNode) -> AsyncGenerator[None]:
    task = asyncio.create_task(node.volumes.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except FileNotFoundError:  # a reader by names meets the moment at which they are exchanged
        return False


async def until(node: VolumeNode, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds(condition):
            await node.clock.advance(0)
            await asyncio.sleep(0.001)  # files are written by threads


def changed(node: VolumeNode, name: str, version: int, resource: str = "configmaps") -> None:
    node.volumes.changed(node.refer(resource, name), version)


async def test_a_change_is_shown(node: VolumeNode) -> None:
    node.api.config_map("app", colour="blue")
    path = await node.shown(node.pod(SETTINGS), "settings")
    async with kept(node):
        changed(node, "app", node.api.config_map("app", colour="green", size="5"))
        await until(node, lambda: files_below(path) == {"colour": "green", "size": "5"})
        asked = len(node.api.asked)
        changed(node, "app", node.api.version)  # told twice
        changed(node, "other", node.api.version + 5)
        await node.clock.advance(10)
    assert len(node.api.asked) == asked


async def test_one_question_serves_all_pods(node: VolumeNode) -> None:
    node.api.config_map("app", colour="blue")
    paths = [await node.shown(node.pod(SETTINGS, uid=f"u{number}"), "settings") for number in range(5)]
    asked = len(node.api.asked)
    async with kept(node):
        changed(node, "app", node.api.config_map("app", colour="green"))
        await until(node, lambda: all(files_below(path) == {"colour": "green"} for path in paths))
    assert len(node.api.asked) - asked < 5


async def test_a_new_pod_sees_what_was_written_before_it(node: VolumeNode) -> None:
    node.api.config_map("app", colour="blue")
    await node.shown(node.pod(SETTINGS), "settings")
    node.api.config_map("app", colour="green")  # and nobody has told yet
    assert files_below(await node.shown(node.pod(SETTINGS, uid="u2"), "settings")) == {"colour": "green"}


async def test_what_is_immutable_is_not_followed(node: VolumeNode) -> None:
    node.api.config_map("app", colour="blue", immutable=True)
    path = await node.shown(node.pod(SETTINGS), "settings")
    asked = len(node.api.asked)
    async with kept(node):
        changed(node, "app", node.api.config_map("app", colour="green"))
        await node.clock.advance(300)
    assert (files_below(path), len(node.api.asked)) == ({"colour": "blue"}, asked)
    assert node.volumes.followed() == {}


async def test_what_is_deleted_stays_shown_and_is_told_of(node: VolumeNode) -> None:
    node.api.secret("keys", token="s3cret")
    path = await node.shown(node.pod({"name": "keys", "secret": {"secretName": "keys"}}), "keys")
    async with kept(node):
        node.api.objects.clear()
        changed(node, "keys", node.api.version + 1, "secrets")
        await until(node, lambda: bool(node.events))
        assert node.events == ['MountVolume.SetUp failed for volume "keys" : secret "keys" not found']
        assert files_below(path) == {"token": "s3cret"}
        node.api.secret("keys", token="again")
        await node.clock.advance(0.5)
        await until(node, lambda: files_below(path) == {"token": "again"})


async def test_what_may_be_absent_goes_and_comes(node: VolumeNode) -> None:
    node.api.config_map("app", colour="blue")
    optional = {"name": "settings", "configMap": {"name": "app", "optional": True}}
    path = await node.shown(node.pod(optional), "settings")
    async with kept(node):
        node.api.objects.clear()
        changed(node, "app", node.api.version + 1)
        await until(node, lambda: files_below(path) == {})
        changed(node, "app", node.api.config_map("app", colour="red"))
        await until(node, lambda: files_below(path) == {"colour": "red"})


async def test_the_pods_own_fields_are_followed(node: VolumeNode) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "one", "fieldRef": {"fieldPath": "metadata.labels['a']"}},
        {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "who", "fieldRef": {"fieldPath": "metadata.uid"}, "mode": 0o400},
        {"path": "cpu", "resourceFieldRef": {"containerName": "web", "resource": "limits.cpu"}},
        {"path": "mem", "resourceFieldRef": {"containerName": "web", "resource": "limits.memory", "divisor": "1Mi"}},
    ]
    meta = {"labels": {"b": "2", "a": "1"}, "annotations": {"note": 'line "one"\nline\ttwo \x01 é'}}
    pod = node.pod({"name": "me", "downwardAPI": {"items": items}}, meta=meta)
    path = await node.shown(pod, "me")
    assert files_below(path) == {
        "labels": 'a="1"\nb="2"',
        "one": "1",
        "notes": r'note="line \"one\"\nline\ttwo \x01 é"',
        "who": "u1",
        "cpu": "4",
        "mem": "1024",
    }
    assert (path / "who").stat().st_mode & 0o777 == 0o400
    async with kept(node):
        node.volumes.update(msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, labels={})))
        await until(node, lambda: (path / "labels").read_text() == "")


@asynccontextmanager
async def on_a_bus(node: VolumeNode) -> AsyncGenerator[tuple[MemoryBroker, VolumeUpkeep]]:
    broker = MemoryBroker(permissions=permissions_of)
    api, bus = broker.connect(API), broker.connect("system:node:node-1")

    async def versions(user: str, request: rpc_pb2.VersionsRequest) -> rpc_pb2.VersionsReply:
        assert user == "system:node:node-1"
        found = [node.api.objects.get((ref.resource, ref.namespace, ref.name)) for ref in request.refs]
        return rpc_pb2.VersionsReply(
            revisions=[int(each["metadata"]["resourceVersion"]) if each else 0 for each in found]
        )

    served = await rpc.serve(api, "versions", rpc_pb2.VersionsRequest, versions)
    upkeep = VolumeUpkeep(bus, "node-1", node.volumes, node.clock)
    task = asyncio.create_task(upkeep.run())
    try:
        await node.clock.advance(0)
        yield broker, upkeep
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await served.stop()
        await bus.close()
        await api.close()


async def test_the_relay_tells_what_changed(node: VolumeNode) -> None:
    node.api.config_map("app", colour="blue")
    path = await node.shown(node.pod(SETTINGS), "settings")
    async with on_a_bus(node) as (broker, _):
        relay = broker.connect(API)
        version = node.api.config_map("app", colour="green")
        change = node_pb2.ObjectChanged(resource="configmaps", namespace="default", name="app", revision=version)
        await relay.publish(subjects.node_changes("node-1"), b"\xff\xff")  # what says nothing harms nobody
        message = node_pb2.ObjectsChanged(objects=[change])
        await relay.publish(subjects.node_changes("node-1"), message.SerializeToString())
        await until(node, lambda: files_below(path) == {"colour": "green"})
        await relay.close()


async def test_what_was_not_told_is_found_within_minutes(node: VolumeNode) -> None:
    optional = {"name": "more", "configMap": {"name": "more", "optional": True}}
    node.api.config_map("app", colour="blue")
    pod = node.pod(SETTINGS, optional)
    app, more = await node.shown(pod, "settings"), await node.shown(pod, "more")
    async with on_a_bus(node):
        node.api.config_map("app", colour="green")
        node.api.config_map("more", a="1")
        assert node.volumes.followed() == {node.refer("configmaps", "app"): 101, node.refer("configmaps", "more"): 0}
        await node.clock.advance(80)
        await until(node, lambda: (files_below(app), files_below(more)) == ({"colour": "green"}, {"a": "1"}))


async def test_a_bundle_of_trust_is_looked_up_again(node: VolumeNode) -> None:
    one, two = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("AA", "BB"))
    labels = {"matchLabels": {"a": "b"}}
    spec = {"signerName": "example.com/x", "trustBundle": f"comment\n{one}{one}"}
    node.api.put("clustertrustbundles", "roots", namespace="", spec=spec)
    sources = [
        {"clusterTrustBundle": {"name": "roots", "path": "named.pem"}},
        {"clusterTrustBundle": {"signerName": "example.com/x", "labelSelector": labels, "path": "signed.pem"}},
        {"clusterTrustBundle": {"name": "none", "optional": True, "path": "none.pem"}},
    ]
    path: Path = await node.shown(node.pod({"name": "ca", "projected": {"sources": sources}}), "ca")
    assert files_below(path) == {"named.pem": one, "signed.pem": one, "none.pem": ""}
    assert "clustertrustbundles?a=b&spec.signerName=example.com/x" in node.api.asked
    async with kept(node):
        node.api.put("clustertrustbundles", "roots", namespace="", spec={"trustBundle": two + one})
        await node.clock.advance(60)
        await until(node, lambda: (path / "named.pem").read_text() == one + two)


async def test_a_mistake_about_one_volume_leaves_the_others(node: VolumeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.api.config_map("app", colour="blue")
    node.api.config_map("bad", colour="blue")
    bad = {"name": "bad", "configMap": {"name": "bad"}}
    pod = node.pod(SETTINGS, bad)
    path, broken = await node.shown(pod, "settings"), await node.shown(pod, "bad")
    get = node.api.get

    async def mistaken(kind: Any, namespace: str, name: str) -> Any:
        if name == "bad":
            raise ZeroDivisionError
        return await get(kind, namespace, name)

    monkeypatch.setattr(node.api, "get", mistaken)
    async with kept(node):
        changed(node, "bad", node.api.config_map("bad", colour="green"))
        changed(node, "app", node.api.config_map("app", colour="green"))
        await until(node, lambda: files_below(path) == {"colour": "green"})
        changed(node, "app", node.api.config_map("app", colour="red"))
        await until(node, lambda: files_below(path) == {"colour": "red"})
    assert files_below(broken) == {"colour": "blue"}
