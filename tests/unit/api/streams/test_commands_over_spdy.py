"""exec and attach over SPDY, through the real server: the upgrade, what refuses it, and both ways of a command."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from spdy_client import ResetError

from orch.errors import BadRequestError
from orch_api.http.streams import commands
from orch_pb.v1 import node_pb2

from .conftest import POD

V4, V1 = "v4.channel.k8s.io", "channel.k8s.io"
EXEC = f"{POD}/exec?container=a&command=cat&stdin=true&stdout=true&stderr=true"
SUCCESS = {"status": "Success"}
FAILURE = {"status": "Failure", "message": "command terminated with exit code 3", "reason": "NonZeroExitCode"}


def echo(end: dict[str, Any]) -> Any:
    """Return a handler that answers input on both outputs until it ends, and says `end`."""

    async def handler(request: bytes, stream: Any) -> None:
        async for channel, data in stream:
            if data is None:
                break
            await stream.send(1, b"%d " % channel + data)
            await stream.send(2, b"!")
        await stream.send(3, json.dumps(end).encode())
        await stream.end(3)

    return handler


async def test_both_ways_and_the_end(served: Any, pod: Any, node: Any) -> None:
    await node("exec", echo(SUCCESS))
    client = await served.spdy(EXEC, "v5.channel.k8s.io", V4)
    error, stdin = await client.open(streamtype="error"), await client.open(streamtype="stdin")
    stdout, stderr = await client.open(streamtype="stdout"), await client.open(streamtype="stderr")
    await error.send(b"", fin=True)
    await stdin.send(b"hello")
    assert (await stdout.read(), await stderr.read()) == (b"0 hello", b"!")
    await stdin.send(b"", fin=True)
    assert json.loads(await error.read_all()) == SUCCESS
    assert (await stdout.read_all(), await stdin.read_all()) == (b"", b"")
    async with asyncio.timeout(5):
        await client.gone_away.wait()


@pytest.mark.parametrize(
    ("protocol", "end", "told"),
    [
        (V4, FAILURE, json.dumps(FAILURE).encode()),
        ("v3.channel.k8s.io", FAILURE, b"command terminated with exit code 3"),
        ("v2.channel.k8s.io", FAILURE, b"command terminated with exit code 3"),
        (V1, SUCCESS, b""),
        ("", FAILURE, b"command terminated with exit code 3"),
    ],
)
async def test_the_end_as_each_version_tells_it(
    served: Any, pod: Any, node: Any, protocol: str, end: dict[str, Any], told: bytes
) -> None:
    async def handler(request: bytes, stream: Any) -> None:
        await stream.send(3, json.dumps(end).encode())

    await node("exec", handler)
    client = await served.spdy(f"{POD}/exec?container=a&command=x&stdout=true", *([protocol] if protocol else []))
    error, stdout = await client.open(streamtype="error"), await client.open(streamtype="stdout")
    assert (await error.read_all(), await stdout.read_all()) == (told, b"")


async def test_a_terminal_has_its_size(served: Any, pod: Any, node: Any) -> None:
    sizes: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(request: bytes, stream: Any) -> None:
        asked = node_pb2.AttachRequest.FromString(request)
        assert (asked.container, asked.tty, asked.stderr) == ("b", True, False)
        async for channel, data in stream:
            if channel == 4 and data:
                sizes.put_nowait(data)

    await node("attach", handler)
    client = await served.spdy(f"{POD}/attach?container=b&stdin=true&stdout=true&tty=true", V4)
    for kind in ("error", "stdin", "stdout"):
        await client.open(streamtype=kind)
    resize = await client.open(streamtype="resize")
    await resize.send(b'{"Width":80,"Height":24}\n')
    async with asyncio.timeout(5):
        assert await sizes.get() == b'{"Width":80,"Height":24}\n'


async def test_a_client_that_leaves_ends_the_command(served: Any, pod: Any, node: Any) -> None:
    ended = asyncio.Event()

    async def handler(request: bytes, stream: Any) -> None:
        try:
            async for _ in stream:
                pass
        finally:
            ended.set()

    await node("exec", handler)
    wire = await served.upgrade(f"{POD}/exec?container=a&command=x&stdout=true", V4)
    assert wire.status == 101
    wire.writer.close()
    async with asyncio.timeout(5):
        await ended.wait()


async def test_streams_that_were_not_asked_for_are_refused(served: Any, pod: Any, node: Any) -> None:
    await node("exec", echo(SUCCESS))
    client = await served.spdy(f"{POD}/exec?container=a&command=x&stdout=true", V4)
    for kind in ("stdin", "resize", "what", ""):
        with pytest.raises(ResetError):
            await client.open(streamtype=kind)


async def test_streams_that_do_not_come_are_not_waited_for_for_ever(
    served: Any, pod: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_STREAM_DEADLINE", 0.05)
    await node("exec", echo(SUCCESS))
    client = await served.spdy(f"{POD}/exec?container=a&command=x&stdout=true", V4)
    await client.open(streamtype="error")
    async with asyncio.timeout(5):
        await client.gone_away.wait()


async def test_megabytes_pass_both_ways(served: Any, pod: Any, node: Any) -> None:
    async def handler(request: bytes, stream: Any) -> None:
        async for _, data in stream:
            if data is None:
                break
            await stream.send(1, data)
        await stream.send(3, json.dumps(SUCCESS).encode())

    await node("exec", handler)
    client = await served.spdy(f"{POD}/exec?container=a&command=x&stdin=true&stdout=true", V4)
    await client.open(streamtype="error")
    stdin, stdout = await client.open(streamtype="stdin"), await client.open(streamtype="stdout")
    content = bytes(range(256)) * 12_000

    async def feed() -> None:
        for start in range(0, len(content), 32_768):
            await stdin.send(content[start : start + 32_768])
        await stdin.send(b"", fin=True)

    feeding = asyncio.ensure_future(feed())
    assert await stdout.read_all() == content
    await feeding


async def test_what_is_refused_before_the_upgrade(served: Any, pod: Any, node: Any) -> None:
    async def check(request: bytes) -> None:
        raise BadRequestError('container not found ("a")')

    await node("exec", echo(SUCCESS), check)
    refused = await served.upgrade(EXEC, V4)
    assert (refused.status, refused.header("connection")) == (400, "close")
    assert json.loads(await refused.body())["message"] == 'container not found ("a")'

    refused = await served.upgrade(EXEC, "v9.channel.k8s.io")
    assert refused.status == 403
    accepted = [value for name, value in refused.headers if name == "x-accepted-stream-protocol-versions"]
    assert accepted == list(commands.SPDY_PROTOCOLS)
    assert b"client supports [v9.channel.k8s.io], server accepts [v5.channel.k8s.io" in await refused.body()

    assert (await served.upgrade(EXEC, V4, token="weak")).status == 403
    assert (await served.upgrade(EXEC, V4, token="wrong")).status == 401
    assert (await served.upgrade(f"{POD}/exec?stdout=true&container=a", V4)).status == 400
    assert (await served.upgrade(f"{POD}/exec?command=x&stdout=true&container=a", V4, method="PUT")).status == 405
    assert (await served.upgrade("/api/v1/namespaces/default/pods/q/exec?command=x&stdout=true", V4)).status == 404
    silent = await served.upgrade(f"{POD}/attach?container=a&stdout=true", V4)
    assert silent.status == 503  # nobody serves attach on that node


async def test_an_upgrade_may_be_asked_for_by_get(served: Any, pod: Any, node: Any) -> None:
    await node("exec", echo(SUCCESS))
    wire = await served.upgrade(EXEC, V4, method="GET")
    assert (wire.status, wire.header("upgrade")) == (101, "SPDY/3.1")
    assert wire.header("x-stream-protocol-version") == V4


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\nUpgrade: h2c\n"])
async def test_without_an_upgrade_there_is_no_command(served: Any, pod: Any, upgrade: str) -> None:
    wire = await served.connect()
    head = f"POST {EXEC} HTTP/1.1\nHost: api\nAuthorization: Bearer secret\nContent-Length: 0\n{upgrade}"
    await wire.ask(head)
    assert wire.status == 400
    assert json.loads(await wire.body())["message"] == "Upgrade request required"


async def test_what_a_client_sends_too_early_is_bounded(served: Any, pod: Any) -> None:
    wire = await served.connect()
    wire.writer.write(
        f"POST {EXEC} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer secret\r\nContent-Length: 0\r\n"
        "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n".encode()
        + b"x" * 1_000_000
    )
    async with asyncio.timeout(20):
        while await wire.read():
            pass
