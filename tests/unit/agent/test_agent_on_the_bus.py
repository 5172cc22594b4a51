"""The whole process, simulated, between an in-memory bus and an api that is played by the test."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from agent_cluster import Cluster, agent, pod, until

from orch.bus import subjects
from orch.bus.permissions import CONTROLLERS
from orch.bus.streams import open_stream
from orch.errors import ApiError, BadRequestError
from orch_agent.runtimes.protocol import State
from orch_pb.v1 import node_pb2, object_pb2


async def test_nodes_register_and_show_that_they_live(cluster: Cluster) -> None:
    controllers = cluster.broker.connect(CONTROLLERS)
    async with (
        agent(cluster),
        controllers.subscribe(subjects.HEARTBEATS_OF_ALL) as beats,
        controllers.subscribe(subjects.METRICS_OF_ALL) as samples,
    ):
        await until(lambda: len(cluster.nodes) == 2)
        node = cluster.nodes["node-2"]
        assert node["spec"]["podCIDR"] == "10.64.1.0/24"
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-2"
        assert {each["type"] for each in node["status"]["conditions"]} == {
            "Ready",
            "MemoryPressure",
            "DiskPressure",
            "PIDPressure",
        }
        assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.0+orch"
        beat = node_pb2.Heartbeat.FromString((await anext(beats)).data)
        assert beat.node in {"node-1", "node-2"}
        sample = node_pb2.UsageSample.FromString((await anext(samples)).data)
        assert sample.node in {"node-1", "node-2"}


async def test_an_assigned_pod_runs_and_a_deleted_one_is_reported_terminated(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await cluster.assign(pod("b", "node-2"))
        await until(lambda: cluster.status("a").get("phase") == "Running" == cluster.status("b").get("phase"))
        deletion = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
        await cluster.assign(pod("a", **deletion), object_pb2.ChangeType.MODIFIED)
        await until(lambda: cluster.pods["a"].terminated)
        await cluster.assign(pod("a", **deletion), object_pb2.ChangeType.DELETED)
        assert await places[0].runtime.containers() == []
        assert len(await places[1].runtime.containers()) == 1


async def test_a_lost_stream_stops_no_pod_that_the_api_still_has(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await cluster.assign(pod("gone"))
        await until(lambda: cluster.status("a").get("phase") == cluster.status("gone").get("phase") == "Running")
        await cluster.assign(pod("gone"), object_pb2.ChangeType.DELETED)
        await cluster.assign(pod("a"), object_pb2.ChangeType.DELETED)
        cluster.exists = {"a"}
        runtime = places[0].runtime

        await until(lambda: cluster.questions == 2 and len(runtime._containers) == 1)
        [info] = await runtime.containers()
        assert info.identity.pod == "a"
        assert info.state is State.RUNNING


async def test_a_pod_whose_name_another_node_has_now_is_gone(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await until(lambda: cluster.status("a").get("phase") == "Running")
        cluster.refused = {"a"}
        await cluster.assign(pod("a"), object_pb2.ChangeType.DELETED)
        await until(lambda: not places[0].runtime._containers)


async def test_a_new_process_adopts_what_runs_and_removes_what_is_not_wanted(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await cluster.assign(pod("old"))
        await until(lambda: cluster.status("a").get("phase") == cluster.status("old").get("phase") == "Running")
        kept = cluster.status("a")["containerStatuses"][0]["containerID"]
    await cluster.bus.purge(subjects.NODES.name, subjects.node_pod_subject("node-1", "default", "old"))
    cluster.exists = {"a"}
    cluster.pods.clear()
    await cluster.mark("node-1")
    async with agent(cluster, places):
        await until(lambda: cluster.status("a").get("phase") == "Running")
        web = cluster.status("a")["containerStatuses"][0]
        assert web["containerID"] == kept
        assert web["restartCount"] == 0
        await until(lambda: len(places[0].runtime._containers) == 1)


async def logs(cluster: Cluster, **request: Any) -> bytes:
    wanted = node_pb2.LogsRequest(namespace="default", pod="a", uid="uid-a", **request)
    subject = subjects.node_rpc_subject("node-1", "logs")
    received = b""
    async with await open_stream(cluster.bus, subject, wanted.SerializeToString()) as stream:
        async for _, data in stream:
            received += data or b""
    return received


async def exec_in(cluster: Cluster, *command: str, feed: bytes = b"") -> tuple[dict[int, bytes], dict[str, Any]]:
    wanted = node_pb2.ExecRequest(
        namespace="default", pod="a", uid="uid-a", command=command, stdin=bool(feed), stdout=True, stderr=True
    )
    subject = subjects.node_rpc_subject("node-1", "exec")
    channels: dict[int, bytes] = {}
    async with await open_stream(cluster.bus, subject, wanted.SerializeToString()) as stream:
        if feed:
            await stream.send(0, feed)
            await stream.end(0)
        async for channel, data in stream:
            channels[channel] = channels.get(channel, b"") + (data or b"")
    return channels, msgspec.json.decode(channels.pop(3))


async def test_logs_and_commands_go_over_the_bus(cluster: Cluster) -> None:
    async with agent(cluster):
        await cluster.assign(pod("a"))
        await until(lambda: cluster.status("a").get("phase") == "Running")
        assert await logs(cluster) == b"web started\n"
        assert (await logs(cluster, timestamps=True)).endswith(b"Z web started\n")
        assert await logs(cluster, limit_bytes=3) == b"web"
        assert await logs(cluster, tail_lines=0) == b""
        with pytest.raises(BadRequestError, match='previous terminated container "web" in pod "a" not found'):
            await logs(cluster, previous=True)
        with pytest.raises(BadRequestError, match="container nope is not valid for pod a"):
            await logs(cluster, container="nope")
        output, status = await exec_in(cluster, "cat", feed=b"hello")
        assert (output, status["status"]) == ({1: b"hello"}, "Success")
        output, status = await exec_in(cluster, "exit", "3")
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        with pytest.raises(ApiError, match="at least 1 command"):
            await exec_in(cluster)


async def test_what_never_started_has_written_nothing(cluster: Cluster) -> None:
    never = pod("a")
    never["spec"]["restartPolicy"] = "Never"
    never["spec"]["containers"][0]["env"] = [{"name": "SIMULATED_START_ERROR", "value": "no such program"}]
    async with agent(cluster):
        await cluster.assign(never)
        await until(lambda: cluster.status("a").get("phase") == "Failed")
        assert cluster.status("a")["containerStatuses"][0]["state"]["terminated"]["reason"] == "StartError"
        for follow in (False, True):
            assert await logs(cluster, follow=follow) == b""
