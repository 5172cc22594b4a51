"""The reader of NATS' protocol: whatever way the bytes are cut, every message is delivered once, whole and in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from orch.bus.nats.reader import Reader
from orch.bus.nats.received import Header, Received
from orch.bus.nats.session import Session

HEAD = b"NATS/1.0\r\nNats-Msg-Id: 7\r\nOther: a: b\r\n\r\n"


class Client:
    """What nats-py's parser calls for what is no message."""

    def __init__(self) -> None:
        self.pongs = 0
        self.pings = 0
        self.errors: list[str] = []

    async def _process_ping(self) -> None:
        self.pings += 1

    async def _process_pong(self) -> None:
        self.pongs += 1

    async def _process_err(self, error: str) -> None:
        self.errors.append(error)


def reading() -> tuple[Reader, Client, list[tuple[str, str, bytes, bytes]]]:
    """Return a reader, its client, and where messages of subscription 1 arrive."""
    got: list[tuple[str, str, bytes, bytes]] = []

    def deliver(message: Received) -> None:
        got.append((message.subject, message.reply, message.head, message.data))

    client: Any = Client()
    return Reader(client, {1: deliver}), client, got


def plain(subject: str, data: bytes, reply: str = "", number: int = 1) -> bytes:
    middle = f"{reply} " if reply else ""
    return f"MSG {subject} {number} {middle}{len(data)}\r\n".encode() + data + b"\r\n"


def headed(subject: str, data: bytes, reply: str = "", head: bytes = HEAD) -> bytes:
    middle = f"{reply} " if reply else ""
    return f"HMSG {subject} 1 {middle}{len(head)} {len(head) + len(data)}\r\n".encode() + head + data + b"\r\n"


def pieces(wire: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut the bytes at the given places."""
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    return (wire[start:end] for start, end in itertools.pairwise(edges))


WIRE = (
    plain("a.b", b"")
    + b"PING\r\n"
    + plain("a.b", b"MSG a 1 5\r\nhello\r\n", reply="_INBOX.1")
    + headed("c", b"{}\r\n", reply="r.1.2")
    + b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n"
    + plain("other", b"nobody listens", number=9)
    + b"PONG\r\n"
    + headed("d", b"")
)
WANTED = [
    ("a.b", "", b"", b""),
    ("a.b", "_INBOX.1", b"", b"MSG a 1 5\r\nhello\r\n"),
    ("c", "r.1.2", HEAD, b"{}\r\n"),
    ("d", "", HEAD, b""),
]


@given(st.lists(st.integers(0, len(WIRE)), max_size=12))
async def test_messages_arrive_however_their_bytes_are_cut(cuts: list[int]) -> None:
    reader, client, got = reading()
    for piece in pieces(WIRE, cuts):
        await reader.parse(piece)
    assert got == WANTED
    assert (client.pings, client.pongs) == (1, 1)
    assert client.errors == ["'permissions violation for publish to \"x\"'"]


async def test_single_bytes_are_enough() -> None:
    reader, _, got = reading()
    for at in range(len(WIRE)):
        await reader.parse(WIRE[at : at + 1])
    assert got == WANTED


async def test_a_large_message_is_joined_once_it_is_whole() -> None:
    reader, _, got = reading()
    data = bytes(range(256)) * 4096
    wire = plain("big", data) + plain("next", b"1")
    for at in range(0, len(wire), 32768):
        await reader.parse(wire[at : at + 32768])
    assert [(subject, len(body)) for subject, _, _, body in got] == [("big", len(data)), ("next", 1)]
    assert got[0][3] == data


@pytest.mark.parametrize("line", [b"MSG a x 5\r\n", b"MSG a\r\n", b"HMSG a 1 x 5\r\n", b"NONSENSE\r\n", b"x" * 70000])
async def test_what_is_no_protocol_ends_the_connection(line: bytes) -> None:
    reader, _, got = reading()
    with pytest.raises(ProtocolError):
        await reader.parse(line)
    assert got == []


async def test_a_listener_that_fails_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    got: list[bytes] = []

    def deliver(message: Received) -> None:
        if message.data == b"bad":
            raise ValueError(message.data)
        got.append(message.data)

    client: Any = Client()
    reader = Reader(client, {1: deliver})
    await reader.parse(plain("a", b"bad") + plain("a", b"good"))
    assert got == [b"good"]
    assert "The listener of a message on a failed" in caplog.text


@pytest.mark.parametrize(
    ("head", "data", "status"),
    [
        (b"", b"", ""),
        (HEAD, b"", ""),
        (b"NATS/1.0 503\r\n\r\n", b"", "503"),
        (b"NATS/1.0 503\r\n\r\n", b"data", ""),
        (b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 12\r\n\r\n", b"", "100"),
    ],
)
def test_the_servers_status_stands_in_place_of_a_message(head: bytes, data: bytes, status: str) -> None:
    assert Received("a", "", head, data).status == status


def test_headers_are_found_by_name() -> None:
    message = Received("a", "", b"NATS/1.0 100 Idle\r\nNats-Last-Consumer: 12\r\nX:  spaced \r\n\r\n", b"")
    assert message.header(Header("Nats-Last-Consumer")) == "12"
    assert message.header(Header("X")) == "spaced"
    assert message.header(Header("Consumer")) == ""


@pytest.mark.parametrize(("said", "there"), [(b"", False), (plain("a", b"anything"), True)])
async def test_a_server_that_says_anything_is_there(said: bytes, there: bool) -> None:
    session: Any = Session(None)

    async def ping(_: object) -> None:
        if said:
            await session._ps.parse(said)

    session._send_ping = ping
    assert await session.answers(0.01) is there
