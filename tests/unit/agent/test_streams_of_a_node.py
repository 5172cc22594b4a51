"""What may be asked of a node beside logs and commands: terminals, connections to ports, and what it is and runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from agent_cluster import Cluster, agent, pod, until

from orch.bus import subjects
from orch.bus.streams import FrameStream, open_stream
from orch.errors import BadRequestError, NotFoundError, ServiceUnavailableError
from orch_agent.network.simulated import FIRST_SILENT_PORT
from orch_pb.v1 import node_pb2, object_pb2


async def ask(cluster: Cluster, verb: str, request: Any) -> FrameStream:
    return await open_stream(cluster.bus, subjects.node_rpc_subject("node-1", verb), request.SerializeToString())


async def received(stream: FrameStream) -> dict[int, bytes]:
    """Return what came on each channel until the end."""
    channels: dict[int, bytes] = {}
    async with stream:
        async for channel, data in stream:
            channels[channel] = channels.get(channel, b"") + (data or b"")
    return channels


@pytest.fixture
async def running(cluster: Cluster) -> AsyncGenerator[Any]:
    """Pod a of one container with an input, on node-1; what is yielded changes it."""
    document = pod("a")
    document["spec"] |= {"restartPolicy": "Never"}
    document["spec"]["containers"][0] |= {"stdin": True}
    async with agent(cluster) as places:
        await cluster.assign(document)
        await until(lambda: cluster.status("a").get("phase") == "Running")
        yield document, places


def attach(**fields: Any) -> node_pb2.AttachRequest:
    wanted = {"namespace": "default", "pod": "a", "uid": "uid-a", "stdin": True, "stdout": True, **fields}
    return node_pb2.AttachRequest(**wanted)


async def test_attaching_shows_what_comes_from_now_on_and_feeds_the_input(cluster: Cluster, running: Any) -> None:
    async with await ask(cluster, "attach", attach()) as stream:
        await stream.send(4, b'{"Width":80,"Height":24}\n{"Width":90,"Height":30}\n')
        await stream.send(0, b"hello")
        assert await anext(stream) == (1, b"hello")
        await stream.end(0)  # the end of its input is this container's
        rest = {channel: data async for channel, data in stream if data}
    assert msgspec.json.decode(rest[3])["status"] == "Success"
    await until(lambda: cluster.status("a")["phase"] == "Succeeded")


async def test_all_who_are_attached_see_the_same(cluster: Cluster, running: Any) -> None:
    async with await ask(cluster, "attach", attach()) as one, await ask(cluster, "attach", attach(stdin=False)) as two:
        await one.send(0, b"both")
        assert await anext(one) == await anext(two) == (1, b"both")


async def test_leaving_does_not_end_the_container(cluster: Cluster, running: Any) -> None:
    async with await ask(cluster, "attach", attach()) as stream:
        await stream.send(0, b"x")
        await anext(stream)
    async with await ask(cluster, "attach", attach()) as stream:
        await stream.send(0, b"y")
        assert await anext(stream) == (1, b"y")


class Stuck:
    """A command that takes no input, says nothing and does not end."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.closed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        self.writing.set()
        await asyncio.Event().wait()

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        await asyncio.Event().wait()
        yield 1, b""

    async def close(self) -> None:
        self.closed.set()


async def test_a_caller_that_leaves_is_noticed_while_nobody_takes_its_input(
    cluster: Cluster, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, places = running
    stuck = Stuck()

    async def attached(container: str, *, stdin: bool) -> Stuck:
        return stuck

    monkeypatch.setattr(places[0].runtime, "attach", attached)
    async with asyncio.timeout(10):
        async with await ask(cluster, "attach", attach()) as stream:
            await stream.send(0, b"x")
            await stuck.writing.wait()
        await stuck.closed.wait()


async def test_attaching_to_what_does_not_run(cluster: Cluster, running: Any) -> None:
    with pytest.raises(BadRequestError, match="container nope is not valid for pod a"):
        await ask(cluster, "attach", attach(container="nope"))
    with pytest.raises(NotFoundError):
        await ask(cluster, "attach", attach(uid="uid-b", pod="b"))
    async with await ask(cluster, "attach", attach()) as stream:
        await stream.end(0)
        async for _ in stream:
            pass
    await until(lambda: cluster.status("a")["phase"] == "Succeeded")
    with pytest.raises(BadRequestError, match=r'container not found \("web"\)'):
        await ask(cluster, "attach", attach())


def forward(port: int, **fields: Any) -> node_pb2.PortForwardRequest:
    return node_pb2.PortForwardRequest(namespace="default", pod="a", uid="uid-a", port=port, **fields)


async def test_connections_to_a_port(cluster: Cluster, running: Any) -> None:
    async with await ask(cluster, "portforward", forward(80)) as echo:
        await echo.send(0, b"ping")
        assert await anext(echo) == (0, b"ping")
        await echo.end(0)
        assert await anext(echo) == (0, None)
    web = await ask(cluster, "portforward", forward(80))
    await web.send(0, b"GET / HTTP/1.1\r\n")
    await web.send(0, b"host: a\r\n\r\n")
    await web.end(0)
    assert (await received(web))[0].startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("own_address", "problem"),
    [
        (False, 'failed to connect to localhost:{0} inside namespace "uid-a", dial tcp 127.0.0.1:{0}: connect: '),
        (True, "dial tcp 10.64.0.2:{0}: connect: connection refused"),
    ],
)
async def test_a_port_that_nobody_listens_on(cluster: Cluster, running: Any, own_address: bool, problem: str) -> None:
    stream = await ask(cluster, "portforward", forward(FIRST_SILENT_PORT, own_address=own_address))
    with pytest.raises(ServiceUnavailableError) as refused:
        await received(stream)
    assert refused.value.message.startswith(problem.format(FIRST_SILENT_PORT))


async def test_a_pod_without_a_network_has_no_ports(cluster: Cluster, running: Any) -> None:
    async with await ask(cluster, "attach", attach()) as stream:
        await stream.end(0)
        async for _ in stream:
            pass
    await until(lambda: cluster.status("a")["phase"] == "Succeeded")
    with pytest.raises(BadRequestError, match="network namespace for pod a is closed"):
        await ask(cluster, "portforward", forward(80))


async def query(cluster: Cluster, path: str, **fields: Any) -> tuple[int, str, bytes]:
    """Ask node-1; return (status, content type, body)."""
    asked = node_pb2.NodeQuery(node="node-1", path=path, **{"method": "GET", **fields})
    channels = await received(await ask(cluster, "query", asked))
    answer = node_pb2.NodeAnswer.FromString(channels[0])
    return answer.status, answer.content_type, channels.get(1, b"")


async def test_what_a_node_says_of_itself(cluster: Cluster, running: Any) -> None:
    assert await query(cluster, "/healthz") == (200, "text/plain; charset=utf-8", b"ok")
    _, _, pods = await query(cluster, "/pods")
    listed = msgspec.json.decode(pods)
    assert (listed["kind"], [each["metadata"]["name"] for each in listed["items"]]) == ("PodList", ["a"])
    assert listed["items"][0]["spec"]["containers"][0]["stdin"] is True
    _, _, summary = await query(cluster, "/stats/summary")
    told = msgspec.json.decode(summary)
    assert told["node"]["nodeName"] == "node-1"
    assert told["pods"][0]["podRef"] == {"name": "a", "namespace": "default", "uid": "uid-a"}
    assert told["pods"][0]["containers"][0]["memory"]["workingSetBytes"] == told["node"]["memory"]["workingSetBytes"]
    _, kind, figures = await query(cluster, "/metrics/resource")
    assert kind.startswith("text/plain; version=0.0.4")
    assert b'container_memory_working_set_bytes{container="web",namespace="default",pod="a"} ' in figures
    assert b"orch_agent_pods " in (await query(cluster, "/metrics"))[2]
    _, _, settings = await query(cluster, "/configz")
    assert msgspec.json.decode(settings)["kubeletconfig"]["podCIDR"] == "10.64.0.0/24"


async def test_what_a_node_does_not_say(cluster: Cluster, running: Any) -> None:
    assert (await query(cluster, "/exec/default/a"))[0] == 404
    assert (await query(cluster, "/pods", method="POST"))[0] == 405
    with pytest.raises(NotFoundError):
        await received(await ask(cluster, "query", node_pb2.NodeQuery(node="node-9", path="/pods", method="GET")))


async def test_ephemeral_containers_are_reached_like_others(cluster: Cluster, running: Any) -> None:
    document, _ = running
    document["spec"]["ephemeralContainers"] = [
        {"name": "look", "image": "busybox:1", "stdin": True, "targetContainerName": "web"}
    ]
    await cluster.assign(document, object_pb2.ChangeType.MODIFIED)
    await until(lambda: "running" in states(cluster).get("look", {}))
    async with await ask(cluster, "attach", attach(container="look")) as stream:
        await stream.send(0, b"seen")
        assert await anext(stream) == (1, b"seen")
    wanted = node_pb2.LogsRequest(namespace="default", pod="a", uid="uid-a", container="look")
    assert (await received(await ask(cluster, "logs", wanted)))[1] == b"look started\nseen"
    command = node_pb2.ExecRequest(
        namespace="default", pod="a", uid="uid-a", container="look", command=["echo", "hi"], stdout=True
    )
    assert (await received(await ask(cluster, "exec", command)))[1] == b"hi\n"


def states(cluster: Cluster) -> dict[str, Any]:
    """Return the states of the ephemeral containers by name."""
    return {each["name"]: each["state"] for each in cluster.status("a").get("ephemeralContainerStatuses", ())}


async def test_a_slow_reader_holds_the_pod_back(cluster: Cluster, running: Any) -> None:
    async with await ask(cluster, "portforward", forward(80)) as stream:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await stream.send(0, b"z" * 32_768)
                sent += 32_768

        flooding = asyncio.ensure_future(flood())
        held = -1
        while sent != held:  # what is on its way fills up; then nothing more is taken
            assert sent < 4 << 20
            held = sent
            for _ in range(1000):
                await asyncio.sleep(0)
        assert held
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
