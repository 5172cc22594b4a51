"""Where the api may be led to connect by what users write, and where not: every form of an address is the address."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import certificates
import pytest
from https_server import Asked, https_server

from orch.clock import ManualClock
from orch.errors import ConfigError
from orch_api.extensions.connections import Connections
from orch_api.extensions.https import Request, ask, trust
from orch_api.extensions.outgoing import OPEN, Guard, RefusedAddressError, guard, kind_of_address

CLOSED = guard((), ("https://127.0.0.1:2379", "tls://127.0.0.1:4222", "10.0.0.9:6443"))
LOCAL = guard(("127.0.0.0/8", "::1/128"), ("https://127.0.0.1:2379", "tls://127.0.0.1:4222"))


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.255.0.9", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::ffff:7f00:1", "a loopback address"),
        ("::127.0.0.1", "a loopback address"),
        ("64:ff9b::7f00:1", "a loopback address"),
        ("2002:7f00:1::", "a loopback address"),
        ("2002:a9fe:a9fe::", "a link-local address"),
        ("169.254.169.254", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("fd00:ec2::254", "a metadata address"),
        ("100.100.100.200", "a metadata address"),
        ("168.63.129.16", "a metadata address"),
        ("0.0.0.0", "an unspecified address"),  # noqa: S104 - looked at, not listened on
        ("0.1.2.3", "an unspecified address"),
        ("::", "an unspecified address"),
        ("::ffff:0.0.0.0", "an unspecified address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("255.255.255.255", "a reserved address"),
        ("240.0.0.1", "a reserved address"),
        ("10.1.2.3", ""),
        ("192.168.0.1", ""),
        ("8.8.8.8", ""),
        ("fd12:3456::1", ""),
        ("2001:4860::1", ""),
    ],
)
def test_what_an_address_is(address: str, kind: str) -> None:
    assert kind_of_address(ip_address(address)) == kind


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0"],
)
async def test_no_form_of_loopback_is_dialled(host: str) -> None:
    with pytest.raises(RefusedAddressError, match="may not be reached by outgoing requests"):
        await CLOSED.addresses(host.strip("[]"), 443)


async def test_a_name_means_what_was_looked_at_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["192.0.2.1"], ["127.0.0.1"]]
    dialled: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def dial(host: str, port: int, **_: Any) -> Any:
        dialled.append(host)
        raise ConnectionRefusedError(host)

    monkeypatch.setattr(asyncio, "open_connection", dial)
    request = Request(host="rebind.example.com", port=443, server_name="x", tls=None, guard=Guard(resolve=resolve))
    with pytest.raises(ConnectionRefusedError):
        async with ask(request):
            pass
    assert dialled == ["192.0.2.1"], "the name is resolved once, and its address is dialled, not the name"
    with pytest.raises(RefusedAddressError, match=r"127\.0\.0\.1:443 \(rebind\.example\.com\): a loopback address"):
        async with ask(request):
            pass
    assert dialled == ["192.0.2.1"]


async def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["192.0.2.1", "169.254.169.254"]

    with pytest.raises(RefusedAddressError, match="a link-local address"):
        await Guard(resolve=resolve).addresses("mixed.example.com", 80)


async def test_ports_of_the_control_plane_stay_closed_where_loopback_is_open() -> None:
    assert await LOCAL.addresses("127.0.0.1", 9443) == ["127.0.0.1"]
    assert await LOCAL.addresses("::ffff:127.0.0.1", 9443) == ["127.0.0.1"]
    for port in (2379, 4222):
        for host in ("127.0.0.1", "127.8.8.8", "::1"):
            with pytest.raises(RefusedAddressError, match="a port of the control plane"):
                await LOCAL.addresses(host, port)
    with pytest.raises(RefusedAddressError, match="a port of the control plane"):
        await CLOSED.addresses("10.0.0.9", 6443)
    assert await CLOSED.addresses("192.0.2.7", 6443) == ["192.0.2.7"], "another cluster's api"
    exactly = guard(("127.0.0.1:2379",), ("https://127.0.0.1:2379",))
    assert await exactly.addresses("127.0.0.1", 2379) == ["127.0.0.1"]
    with pytest.raises(RefusedAddressError):
        await exactly.addresses("127.0.0.1", 2380)


async def test_the_control_plane_is_closed_by_its_names_too() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if host == "gone.example.com":
            raise OSError("no such host")
        return ["10.0.0.7"]

    closed = Guard((), (("etcd.example.com", 2379), ("gone.example.com", 2379)), resolve=resolve)
    for host in ("etcd.example.com", "alias.example.com", "10.0.0.7", "::ffff:10.0.0.7"):
        with pytest.raises(RefusedAddressError, match="a port of the control plane"):
            await closed.addresses(host, 2379)
    assert await closed.addresses("10.0.0.8", 2379) == ["10.0.0.8"]
    assert await closed.addresses("alias.example.com", 443) == ["10.0.0.7"]


async def test_metadata_can_be_allowed_by_name_only() -> None:
    with pytest.raises(RefusedAddressError):
        await LOCAL.addresses("169.254.169.254", 80)
    told = guard(("169.254.169.254:80", "fd00:ec2::254"), ())
    assert await told.addresses("169.254.169.254", 80) == ["169.254.169.254"]
    assert await told.addresses("fd00:ec2::254", 80) == ["fd00:ec2::254"]


async def test_names_that_cannot_be_resolved() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(OSError, match=r"lookup nothing\.example\.com: no such host"):
        await Guard(resolve=resolve).addresses("nothing.example.com", 80)
    assert await OPEN.addresses("127.0.0.1", 80) == ["127.0.0.1"]


@pytest.mark.parametrize("text", ["loopback", "127.0.0.1/33", "127.0.0.1:99999", "127.0.0.1:http", ""])
def test_settings_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"outgoing_allowed\[0\]: expected addresses such as 127\.0\.0\.0/8"):
        guard((text,), ())


def test_old_versions_of_tls_are_not_spoken() -> None:
    context = trust(None)
    assert context.minimum_version.name == "TLSv1_2"
    assert context.check_hostname


async def test_connections_are_kept_and_made_anew_when_the_server_left(tmp_path: Path) -> None:
    files = certificates.make(tmp_path, "h")
    trusted = trust(certificate_of(files))
    clock = ManualClock()
    connections = Connections(clock)

    async def answer(asked: Asked) -> tuple[int, Any]:
        return 200, {"path": asked.target}

    async with https_server(files, answer) as port:
        request = Request(
            host="127.0.0.1",
            port=port,
            server_name="127.0.0.1",
            tls=trusted,
            guard=LOCAL,
            headers=((b"host", b"h"),),
        )
        for _ in range(3):
            assert await connections.ask(request, 1 << 20) == (200, b'{"path": "/"}')
        with pytest.raises(ValueError, match="the answer is longer than 5 bytes"):
            await connections.ask(request, 5)


def certificate_of(files: certificates.Files) -> str:
    return Path(files.ca).read_text()


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        writer.close()
        await writer.wait_closed()
    except (ConnectionError, asyncio.CancelledError):
        writer.transport.abort()


class Keeping:
    """A plain HTTP server that leaves connections open; `hangs_up` after an answer."""

    def __init__(self) -> None:
        self.connections = 0
        self.hangs_up = False
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[int]:
        """Listen on a port, which is yielded; in the end no connection is left."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
                if self.hangs_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            await _closed(writer)
            self._serving.discard(task)


async def test_a_connection_serves_many_questions() -> None:
    keeping = Keeping()
    clock = ManualClock()
    connections = Connections(clock)
    running = asyncio.ensure_future(connections.run())
    headers = ((b"host", b"h"),)
    async with keeping.listening() as port:
        request = Request(host="127.0.0.1", port=port, server_name="", tls=None, guard=LOCAL, headers=headers)
        for _ in range(5):
            assert await connections.ask(request, 10) == (200, b"ok")
        assert keeping.connections == 1
        keeping.hangs_up = True
        assert await connections.ask(request, 10) == (200, b"ok")
        assert await connections.ask(request, 10) == (200, b"ok")
        assert keeping.connections == 2
        keeping.hangs_up = False
        await connections.ask(request, 10)
        await clock.advance(120)
        await connections.ask(request, 10)
        assert keeping.connections == 4, "what nobody needed for a minute was closed"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_host_with_several_addresses_is_tried_at_each() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.3", 0))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.3", "127.0.0.1"]

    guard = Guard(LOCAL._allowed, resolve=resolve)
    headers = ((b"host", b"h"),)
    async with Keeping().listening() as port:
        request = Request(host="two.example.com", port=port, server_name="", tls=None, guard=guard, headers=headers)
        async with ask(request) as answer:
            assert await answer.body(10) == b"ok"
