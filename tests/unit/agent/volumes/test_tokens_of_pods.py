"""Tokens of service accounts: bound to the pod, made anew in time, kept over a restart, private."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import Any

from volume_node import VolumeNode, files_below

from orch.errors import ForbiddenError
from orch.objects.pods import Pod


def projected(node: VolumeNode, **spec: Any) -> Pod:
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000, "audience": "vault"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    node.api.put("configmaps", "kube-root-ca.crt", data={"ca.crt": "CA"})
    return node.pod({"name": "access", "projected": {"sources": sources}}, serviceAccountName="robot", **spec)


async def renewed(node: VolumeNode, seconds: float, *, times: int) -> None:
    """Let time pass, and wait until so many tokens have been made in all."""
    task = asyncio.create_task(node.volumes.run())
    await node.clock.advance(0)
    await node.clock.advance(seconds)
    async with asyncio.timeout(5):
        while len(node.api.tokens) < times:
            await node.clock.advance(0)
            await asyncio.sleep(0.001)
    for _ in range(20):
        await node.clock.advance(0)
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_token_is_bound_to_its_pod(node: VolumeNode) -> None:
    path = await node.shown(projected(node), "access")
    assert set(files_below(path)) == {"token", "ca.crt", "namespace"}
    assert files_below(path)["namespace"] == "default"
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "u1"}
    spec = {"audiences": ["vault"], "expirationSeconds": 1000, "boundObjectRef": bound}
    assert node.api.tokens == [{"namespace": "default", "account": "robot", **spec}]


async def test_it_is_made_anew_at_four_fifths_of_its_life(node: VolumeNode) -> None:
    path = await node.shown(projected(node), "access")
    before = (path / "token").read_text()
    await renewed(node, 785, times=1)
    assert ((path / "token").read_text(), len(node.api.tokens)) == (before, 1)
    await renewed(node, 20, times=2)
    assert ((path / "token").read_text() != before, len(node.api.tokens)) == (True, 2)


async def test_it_outlives_the_agent(node: VolumeNode) -> None:
    pod = projected(node)
    path = await node.shown(pod, "access")
    before = (path / "token").read_text()
    await node.clock.advance(500)
    node.started_again()
    assert await node.shown(pod, "access") == path
    assert ((path / "token").read_text(), len(node.api.tokens)) == (before, 1)
    await renewed(node, 305, times=2)
    assert (path / "token").read_text() != before


async def test_an_old_one_is_kept_while_there_is_no_other(node: VolumeNode) -> None:
    path = await node.shown(projected(node), "access")
    before = (path / "token").read_text()
    node.api.refuses = ForbiddenError("no")
    await renewed(node, 900, times=1)
    assert (path / "token").read_text() == before
    node.api.refuses = None
    await renewed(node, 11, times=2)
    assert (path / "token").read_text() != before


async def test_without_any_token_the_pod_waits(node: VolumeNode) -> None:
    pod = projected(node)
    node.api.refuses = ForbiddenError("no")
    assert await node.volumes.prepare(pod) == 0.5
    assert node.events == ['MountVolume.SetUp failed for volume "access" : [failed to fetch token: no, no]']


async def test_it_is_private_once_it_is_known_whose_it_is(node: VolumeNode) -> None:
    path = await node.shown(projected(node), "access")
    assert stat.S_IMODE((path / "token").stat().st_mode) == 0o644
    spec = {"securityContext": {"runAsUser": os.geteuid()}, "uid": "u2"}
    path = await node.shown(projected(node, **spec), "access")
    assert stat.S_IMODE((path / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((path / "ca.crt").stat().st_mode) == 0o644
