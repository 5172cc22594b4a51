"""metrics.k8s.io: what nodes said last, beside what they said before."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from orch.bus import subjects
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

NODES = "/apis/metrics.k8s.io/v1beta1/nodes"
PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
SECOND = 1_000_000_000
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
async def measured(http: Any, api: Any) -> str:
    """A node with a pod, of which two samples are known; returns the pod's uid."""
    await http("POST", "/api/v1/nodes", {"metadata": {"name": "one", "labels": {"zone": "a"}}})
    container = {"name": "main", "image": "x"}
    body = {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"containers": [container]}}
    made = await http("POST", "/api/v1/namespaces/default/pods", body)
    uid: str = made.json["metadata"]["uid"]
    now = time.time_ns()
    async with asyncio.timeout(10):
        await api.core.bus.publish(
            subjects.metrics_subject("one"), _sample(uid, now - 10 * SECOND, 1).SerializeToString()
        )
        # Only the newest sample of a node is kept on the bus: the second may come when the first was taken.
        while not api.core.usage._samples:  # noqa: ASYNC110 - nor has this
            await asyncio.sleep(0)
        await api.core.bus.publish(subjects.metrics_subject("one"), _sample(uid, now, 6).SerializeToString())
        while not (await http("GET", NODES)).json["items"]:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
    return uid


def _sample(uid: str, at: int, used: int) -> UsageSample:
    """Return what the node says at a moment: its containers had used so many seconds of a processor."""
    usage = ContainerUsage(container="main", cpu_nanos=used * SECOND, memory_bytes=64 << 20)
    pods = [
        PodUsage(namespace="default", name=name, uid=which, containers=[usage])
        for name, which in (("web", uid), ("gone", "gone"))
    ]
    return UsageSample(node="one", unix_nanos=at, cpu_nanos=2 * used * SECOND, memory_bytes=128 << 20, pods=pods)


async def test_use_is_the_difference_of_two_samples(http: Any, measured: str) -> None:
    _ = measured
    (node,) = (await http("GET", NODES)).json["items"]
    assert node["kind"] == "NodeMetrics"
    assert node["usage"] == {"cpu": f"{SECOND}n", "memory": "131072Ki"}
    assert node["window"] == "10s"
    (pod,) = (await http("GET", PODS)).json["items"]
    assert pod["metadata"]["name"] == "web"
    assert pod["containers"] == [{"name": "main", "usage": {"cpu": f"{SECOND // 2}n", "memory": "65536Ki"}}]
    assert (await http("GET", f"{PODS}/web")).json == pod
    missing = await http("GET", f"{PODS}/gone")
    assert (missing.status, missing.json["message"]) == (404, 'pods "gone" not found')


async def test_what_is_not_measured_yet_is_told_apart_from_what_is_not_there(http: Any, measured: str) -> None:
    _ = measured
    body = {"metadata": {"name": "new"}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    await http("POST", "/api/v1/namespaces/default/pods", body)
    await http("POST", "/api/v1/nodes", {"metadata": {"name": "two"}})
    pod, node = await http("GET", f"{PODS}/new"), await http("GET", f"{NODES}/two")
    assert (pod.status, pod.json["message"]) == (404, 'podmetrics.metrics.k8s.io "default/new" not found')
    assert (node.status, node.json["message"]) == (404, 'nodemetrics.metrics.k8s.io "two" not found')


async def test_selectors_and_tables(http: Any, measured: str) -> None:
    _ = measured
    assert len((await http("GET", f"{PODS}?labelSelector=app=web")).json["items"]) == 1
    assert (await http("GET", f"{PODS}?labelSelector=app=other")).json["items"] == []
    assert (await http("GET", f"{NODES}?labelSelector=zone=b")).json["items"] == []
    (row,) = (await http("GET", PODS, **TABLE)).json["rows"]
    assert row["cells"] == ["web", "500m", "64Mi", "10s"]


async def test_nothing_can_be_written_or_watched(http: Any) -> None:
    assert (await http("POST", PODS, {})).status == 405
    assert (await http("GET", f"{PODS}?watch=true")).status == 405
    served = (await http("GET", "/apis/metrics.k8s.io/v1beta1")).json["resources"]
    assert {one["name"]: one["kind"] for one in served} == {"nodes": "NodeMetrics", "pods": "PodMetrics"}
