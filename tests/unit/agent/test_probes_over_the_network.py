"""Probes of real sockets: servers on this machine's loopback stand for containers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import certificates
import grpc
import msgspec
import pytest

from orch.clock import SystemClock
from orch.objects.pods import Container, Pod, Probe
from orch_agent.network.connections import Connection, addresses_of, connect
from orch_agent.network.sandbox import Sandbox
from orch_agent.probes.node import NodeProber
from orch_agent.probes.outcome import Outcome, ProbeError, ProbeKind, ProbeResult, ProbeTarget
from orch_agent.runtimes.simulated import SimulatedRuntime

LOOPBACK = "127.0.0.1"


class Loopback:
    """Sandboxes that are all this machine."""

    async def dial(self, sandbox: Sandbox, port: int, *, own_address: bool) -> Connection:
        assert own_address
        return await connect("", (sandbox.address,), port)

    async def dial_host(self, host: str, port: int) -> Connection:
        return await connect("", await addresses_of(host, port), port)


def target(**container: Any) -> ProbeTarget:
    return ProbeTarget(
        pod=msgspec.convert({"metadata": {"name": "web-1"}}, Pod),
        container=msgspec.convert({"name": "web", **container}, Container),
        id="c1",
        sandbox=Sandbox(LOOPBACK),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


async def ask(probe: dict[str, Any], **container: Any) -> ProbeResult:
    prober = NodeProber(SimulatedRuntime(SystemClock()), Loopback(), SystemClock())  # type: ignore[arg-type]
    asked = msgspec.convert({"timeoutSeconds": 1, **probe}, Probe)
    return await prober.probe(target(**container), ProbeKind.LIVENESS, asked)


Answerer = Callable[[str], bytes | None]


@asynccontextmanager
async def serving(answer: Answerer, tls: ssl.SSLContext | None = None) -> AsyncGenerator[tuple[int, list[str]]]:
    """Answer each request by its head; None: not at all. Yields the port and the heads that came."""
    heads: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            heads.append(head)
            if (said := answer(head)) is not None:
                writer.write(said)
                await writer.drain()
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            heads.append("")
        finally:
            writer.close()

    server = await asyncio.start_server(handle, LOOPBACK, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        await server.wait_closed()


def response(status: int, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


@pytest.mark.parametrize(
    ("status", "outcome", "output"),
    [
        (200, Outcome.SUCCESS, "body"),
        (204, Outcome.SUCCESS, ""),
        (304, Outcome.WARNING, "Probe terminated redirects, Response body: "),
        (404, Outcome.FAILURE, "HTTP probe failed with statuscode: 404"),
        (500, Outcome.FAILURE, "HTTP probe failed with statuscode: 500"),
    ],
)
async def test_the_status_of_an_answer_decides(status: int, outcome: Outcome, output: str) -> None:
    async with serving(lambda _: response(status, "body" if status == 200 else "")) as (port, _):
        assert await ask({"httpGet": {"port": port}}) == ProbeResult(outcome, output)


async def test_the_request_is_kubelet_s_with_the_headers_that_were_given() -> None:
    headers = [{"name": "X-Asked", "value": "a"}, {"name": "X-Asked", "value": "b"}, {"name": "Host", "value": "web"}]
    async with serving(lambda _: response(200)) as (port, heads):
        ports = [{"name": "http", "containerPort": port}]
        await ask({"httpGet": {"port": "http", "path": "/healthz?full=1", "httpHeaders": headers}}, ports=ports)
        await ask({"httpGet": {"port": port, "httpHeaders": [{"name": "User-Agent", "value": "me"}]}})
    assert heads[0].splitlines()[:-1] == [
        "GET /healthz?full=1 HTTP/1.1",
        "Host: web",
        "X-Asked: a",
        "X-Asked: b",
        "User-Agent: kube-probe/1.37",
        "Accept: */*",
        "Connection: close",
    ]
    assert f"Host: {LOOPBACK}:{port}" in heads[1]
    assert "User-Agent: me" in heads[1]
    assert "kube-probe" not in heads[1]


async def test_redirects_are_followed_on_the_same_host_alone() -> None:
    def answer(head: str) -> bytes:
        path = head.split()[1]
        if path == "/":
            return response(302, Location="/healthy")
        return response(302, "away", Location="http://elsewhere.example/") if path == "/away" else response(200, "well")

    async with serving(answer) as (port, heads):
        assert await ask({"httpGet": {"port": port}}) == ProbeResult(Outcome.SUCCESS, "well")
        warned = ProbeResult(Outcome.WARNING, "Probe terminated redirects, Response body: away")
        assert await ask({"httpGet": {"port": port, "path": "away"}}) == warned
    assert [head.split()[1] for head in heads] == ["/", "/healthy", "/away"]


async def test_redirects_without_end_are_a_failure() -> None:
    async with serving(lambda _: response(301, Location="/")) as (port, heads):
        result = await ask({"httpGet": {"port": port}})
    assert result == ProbeResult(Outcome.FAILURE, f'Get "http://{LOOPBACK}:{port}/": stopped after 10 redirects')
    assert len(heads) == 10


async def test_addresses_that_cannot_be_read_are_a_failure() -> None:
    assert (await ask({"httpGet": {"port": 80, "host": "[bad"}})).outcome is Outcome.FAILURE
    async with serving(lambda _: response(302, Location="http://[bad/")) as (port, heads):
        result = await ask({"httpGet": {"port": port, "path": "/a b?c=d e"}})
    assert "failed to parse Location header" in result.output
    assert heads[0].startswith("GET /a%20b?c=d%20e HTTP/1.1")


async def test_certificates_are_not_asked_for(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = certificates.make(tmp_path)
    tls.load_cert_chain(files.cert, files.key)
    async with serving(lambda _: response(200, "well"), tls) as (port, _):
        assert await ask({"httpGet": {"port": port, "scheme": "HTTPS"}}) == ProbeResult(Outcome.SUCCESS, "well")


async def test_who_does_not_answer_in_time_has_failed() -> None:
    async with serving(lambda _: None) as (port, _):
        result = await ask({"httpGet": {"port": port, "path": "/slow"}})
    why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    assert result == ProbeResult(Outcome.FAILURE, f'Get "http://{LOOPBACK}:{port}/slow": {why}')


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"", "EOF"),
        (b"SSH-2.0-server\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 70000, "server response headers exceeded"),
    ],
)
async def test_what_is_no_answer_is_a_failure(said: bytes, problem: str) -> None:
    async with serving(lambda _: said) as (port, _):
        result = await ask({"httpGet": {"port": port}})
    assert result.outcome is Outcome.FAILURE
    assert problem in result.output


async def test_a_body_is_read_to_ten_kilobytes_and_joined() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    for said, output in ((response(200, "x" * 100_000), "x" * 10240), (chunked, "abcde")):
        async with serving(lambda _, said=said: said) as (port, _):
            assert await ask({"httpGet": {"port": port}}) == ProbeResult(Outcome.SUCCESS, output)


async def test_a_connection_is_all_that_a_socket_probe_asks_for() -> None:
    async with serving(lambda _: None) as (port, _):
        assert (await ask({"tcpSocket": {"port": port}})).outcome is Outcome.SUCCESS
        assert (await ask({"tcpSocket": {"port": port, "host": "localhost"}})).outcome is Outcome.SUCCESS
    refused = ProbeResult(Outcome.FAILURE, f"dial tcp {LOOPBACK}:{port}: connect: connection refused")
    assert await ask({"tcpSocket": {"port": port}}) == refused


@pytest.mark.parametrize(
    ("probe", "problem"),
    [
        ({"tcpSocket": {"port": "none"}}, 'strconv.Atoi: parsing "none": invalid syntax'),
        ({"httpGet": {"port": 70000}}, "invalid port number: 70000"),
        ({}, "missing probe handler for web-1:web"),
        ({"exec": {"command": ["true"]}}, "no container with ID c1 found"),
    ],
)
async def test_what_cannot_be_asked_says_nothing_of_the_container(probe: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProbeError, match=problem):
        await ask(probe)


# -- gRPC ------------------------------------------------------------------------------------------------------------

HealthCheck = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def health_server(check: HealthCheck | None) -> AsyncGenerator[int]:
    server = grpc.aio.server()
    if check is not None:
        handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def _check(question: bytes, context: Any) -> bytes:
    if question == b"\n\x04gone":
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    if question == b"\n\x04slow":
        await asyncio.sleep(30)
    return b"\x08\x02" if question == b"\n\x03ill" else b"\x08\x01"


async def test_the_health_protocol_over_grpc() -> None:
    long = "s" * 300
    async with health_server(_check) as port:

        async def about(service: str) -> ProbeResult:
            return await ask({"grpc": {"port": port, "service": service}})

        assert await about("") == ProbeResult(Outcome.SUCCESS, "service healthy")
        assert await about(long) == ProbeResult(Outcome.SUCCESS, "service healthy")
        assert await about("ill") == ProbeResult(Outcome.FAILURE, 'service unhealthy (responded with "NOT_SERVING")')
        gone = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
        assert await about("gone") == ProbeResult(Outcome.FAILURE, gone)
        assert await about("slow") == ProbeResult(Outcome.FAILURE, "timeout: health rpc did not complete within 1s")


async def test_a_server_without_the_health_protocol_is_told_apart() -> None:
    async with health_server(None) as port:
        result = await ask({"grpc": {"port": port}})
    lacking = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
    assert result.outcome is Outcome.FAILURE
    assert result.output.startswith(lacking)
    assert "rpc error" not in result.output


async def test_a_server_that_speaks_something_else_fails_a_grpc_probe() -> None:
    async with serving(lambda _: response(400)) as (port, _):
        assert (await ask({"grpc": {"port": port}})).outcome is Outcome.FAILURE
    refused = f"dial tcp {LOOPBACK}:{port}: connect: connection refused"
    message = f'error: failed to connect service at "{LOOPBACK}:{port}": {refused}'
    assert await ask({"grpc": {"port": port}}) == ProbeResult(Outcome.FAILURE, message)
