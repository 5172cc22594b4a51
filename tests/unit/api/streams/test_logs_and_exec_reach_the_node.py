import asyncio
import base64
import json

import pytest
from asgi import ADMIN
from websocket_client import WebSocket

from orch.errors import ApiError, BadRequestError
from orch_api.http.connections import READ_SECONDS, STREAM_SECONDS
from orch_pb.v1 import node_pb2

from .conftest import POD


async def test_logs_are_copied_as_they_come(http, pod, node):
    asked = []

    async def handler(request, stream):
        asked.append(node_pb2.LogsRequest.FromString(request))
        await stream.send(1, b"one\n")
        await stream.send(1, b"two\n")
        await stream.end(1)

    await node("logs", handler)
    answer = await http("GET", f"{POD}/log?container=b&tailLines=5&timestamps=true&follow=true")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"one\ntwo\n", "text/plain")
    assert (asked[0].pod, asked[0].container, asked[0].tail_lines, asked[0].timestamps) == ("p", "b", 5, True)
    assert asked[0].follow
    assert asked[0].uid == pod.metadata.uid


@pytest.mark.parametrize("protocol", [None, "binary.k8s.io", "base64.binary.k8s.io"])
async def test_logs_are_messages_over_a_websocket(app, pod, node, protocol):
    async def handler(request, stream):
        for piece in (b"one\n", b"two\n"):
            await stream.send(1, piece)
        await stream.end(1)

    await node("logs", handler)
    socket = WebSocket(app, f"{POD}/log?container=b&follow=true", ("odd", protocol) if protocol else ())
    running = asyncio.ensure_future(socket.run())
    accepted = await socket.message()
    assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", protocol)
    encoded = protocol == "base64.binary.k8s.io"
    for piece in (b"one\n", b"two\n"):
        message = await socket.message()
        assert (base64.b64decode(message["text"]) if encoded else message["bytes"]) == piece
    assert await socket.message() == {"type": "websocket.close", "code": 1000}
    await running


async def test_a_client_that_leaves_a_log_over_a_websocket_ends_it(app, pod, node):
    ended = asyncio.Event()

    async def handler(request, stream):
        try:
            await stream.send(1, b"one")
            async for _ in stream:
                pass
        finally:
            ended.set()

    await node("logs", handler)
    socket = WebSocket(app, f"{POD}/log?container=a&follow=true", ("binary.k8s.io",))
    running = asyncio.ensure_future(socket.run())
    await socket.message()
    socket.leave()
    async with asyncio.timeout(10):
        await ended.wait()
        await running


async def test_an_empty_log_is_no_message(app, pod, node):
    async def handler(request, stream):
        await stream.end(1)

    await node("logs", handler)
    socket = WebSocket(app, f"{POD}/log?container=a", ())
    await socket.run()
    assert [(await socket.message())["type"] for _ in "12"] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "a container name must be specified for pod p, choose one of: [a b]"),
        ("container=x", "container x is not valid for pod p"),
        ("container=a&previous=true", 'previous terminated container "a" in pod "p" not found'),
        ("container=a&tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("container=a&sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
    ],
)
async def test_log_options_that_make_no_sense(http, pod, query, message):
    answer = await http("GET", f"{POD}/log?{query}")
    assert answer.status in {400, 422}
    assert message in answer.json["message"]


async def test_a_node_that_does_not_answer(http, pod):
    answer = await http("GET", f"{POD}/log?container=a")
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    assert "node n does not answer" in answer.json["message"]


async def test_what_a_node_refuses_is_told(http, pod, node):
    async def check(request):
        raise BadRequestError('container "a" in pod "p" is waiting to start: ContainerCreating')

    async def handler(request, stream):
        raise AssertionError

    await node("logs", handler, check)
    answer = await http("GET", f"{POD}/log?container=a")
    assert (answer.status, answer.json["message"]) == (
        400,
        'container "a" in pod "p" is waiting to start: ContainerCreating',
    )


async def test_exec_both_ways(app, pod, node):
    async def handler(request, stream):
        asked = node_pb2.ExecRequest.FromString(request)
        assert list(asked.command) == ["cat", "-"]
        async for channel, data in stream:
            if data is None:
                break
            await stream.send(1, channel.to_bytes(1, "big") + data)
        await stream.send(3, json.dumps({"status": "Success"}).encode())

    await node("exec", handler)
    url = f"{POD}/exec?container=a&command=cat&command=-&stdin=true&stdout=true&stderr=true"
    socket = WebSocket(app, url)
    running = asyncio.ensure_future(socket.run())
    assert await socket.message() == {"type": "websocket.accept", "subprotocol": "v5.channel.k8s.io"}
    assert (await socket.message())["bytes"] == b"\x01"
    socket.say(0, b"hello")
    assert (await socket.message())["bytes"] == b"\x01\x00hello"
    socket.say(255, b"\x00")
    assert json.loads((await socket.message())["bytes"][1:])["status"] == "Success"
    assert (await socket.message())["type"] == "websocket.close"
    await running


async def test_a_client_that_leaves_ends_the_stream(app, pod, node):
    ended = asyncio.Event()

    async def handler(request, stream):
        try:
            async for _ in stream:
                pass
        finally:
            ended.set()

    await node("exec", handler)
    socket = WebSocket(app, f"{POD}/exec?container=a&command=sleep&stdin=true&stdout=true")
    running = asyncio.ensure_future(socket.run())
    await socket.message()
    socket.leave()
    await running
    async with asyncio.timeout(10):
        await ended.wait()


async def test_exec_that_fails_on_the_node_says_why(app, pod, node):
    async def handler(request, stream):
        raise ApiError("no such program")

    await node("exec", handler)
    socket = WebSocket(app, f"{POD}/exec?container=a&command=x&stdout=true")
    running = asyncio.ensure_future(socket.run())
    await socket.message()
    await socket.message()
    error = (await socket.message())["bytes"]
    assert error[0] == 3
    assert "no such program" in json.loads(error[1:])["message"]
    await running


@pytest.mark.parametrize(
    ("url", "peer", "protocols", "status"),
    [
        (f"{POD}/exec?stdout=true&container=a", ADMIN, ("v5.channel.k8s.io",), 400),
        (f"{POD}/exec?command=x&container=a", ADMIN, ("v5.channel.k8s.io",), 400),
        (f"{POD}/exec?command=x&stdout=true", ADMIN, ("v5.channel.k8s.io",), 400),
        (f"{POD}/exec?command=x&stdout=true&container=a", ADMIN, ("unknown",), 400),
        (f"{POD}/exec?command=x&stdout=true&container=a", None, ("v5.channel.k8s.io",), 403),
        ("/api/v1/namespaces/default/pods/q/exec?command=x&stdout=true", ADMIN, ("v5.channel.k8s.io",), 404),
        ("/api/v1/namespaces/default/nothing", ADMIN, (), 404),
        (f"{POD}/log?container=a", ADMIN, ("v4.channel.k8s.io",), 400),
        (f"{POD}/log", ADMIN, (), 400),
        (f"{POD}/log?container=a", ADMIN, (), 503),
        (f"{POD}/log?container=a", None, (), 403),
    ],
)
async def test_refused_before_it_is_accepted(app, pod, url, peer, protocols, status):
    socket = WebSocket(app, url, protocols, peer)
    await socket.run()
    start = await socket.message()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert json.loads((await socket.message())["body"])["code"] == status


async def test_a_log_that_a_person_stopped_is_kept_for_minutes(served, pod, node, eventually):
    async def endless(request, stream):
        while True:
            await stream.send(1, b"x" * 65536)

    await node("logs", endless)
    wire = await served.connect(limit=1024)
    await wire.ask(f"GET {POD}/log?container=a&follow=true HTTP/1.1\nHost: api\nAuthorization: Bearer secret\n")
    assert wire.status == 200
    await eventually(lambda: max(served.waiting(), default=0) > 1 << 16)
    served.later(0)
    served.later(READ_SECONDS + 1)
    assert len(served.waiting()) == 1
    assert max(served.waiting()) < 1 << 20  # and no more of it is kept meanwhile
    served.later(STREAM_SECONDS + 1)
    await eventually(lambda: not served.waiting())
