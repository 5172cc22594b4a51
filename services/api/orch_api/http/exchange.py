"""One HTTP exchange: the ASGI messages behind reading a bounded body and sending an answer."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from orch.errors import BadRequestError, TooLargeError
from orch_api.http.preferences import accepts_gzip
from orch_api.http.whole_answers import ANSWER, AnswerWhole

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY: Final = 3 * 1024 * 1024
"""Bytes of a request's body; Kubernetes' limit."""

_COMPRESS_FROM: Final = 128 * 1024
_PIECE: Final = 256 * 1024
"""Bytes of a large list that are joined, encrypted and sent in one go: they fit into a processor's cache."""

_BODY_DEADLINE: Final = 30.0

Header = tuple[bytes, bytes]

_JSON: Final = "application/json"
_DIGITS: Final = f"{random.getrandbits(76):019x}"  # tells processes apart, guards nothing
_PROCESS: Final = f"{_DIGITS[:8]}-{_DIGITS[8:12]}-4{_DIGITS[12:15]}-a{_DIGITS[15:18]}-".encode()
_COUNT: Final = itertools.count(random.getrandbits(40))
_PRETTY: Final = re.compile(rb"(?:^|&)pretty=([^&]+)")
_TRUE: Final = frozenset({b"1", b"t", b"T", b"true", b"TRUE", b"True"})
_READ_BY_PEOPLE: Final = (b"curl", b"Wget", b"Mozilla/5.0")

NOT_CACHED: Final[Header] = (b"cache-control", b"no-cache, private")


class Disconnected(Exception):  # noqa: N818 - not an error of ours: the client has left
    """The client went away before its request was complete."""


class Witness(Protocol):
    """Is told what a request carries and what it is answered."""

    def asked(self, body: bytes, media_type: str) -> None:
        """Note the request's body."""
        ...

    def answered(self, status: int, body: bytes, media_type: str) -> None:
        """Note the answer."""
        ...

    def begun(self, status: int) -> None:
        """Note that an answer of unknown length has begun."""
        ...


class Joined(msgspec.Struct, frozen=True):
    """A document that consists of items with commas between."""

    head: bytes
    items: Sequence[bytes]
    tail: bytes

    @property
    def length(self) -> int:
        """Bytes of the whole document."""
        return len(self.head) + sum(map(len, self.items)) + max(len(self.items) - 1, 0) + len(self.tail)

    def whole(self) -> bytes:
        """Return the document; its items are copied only once."""
        if not self.items:
            return self.head + self.tail
        parts = list(self.items)
        parts[0] = self.head + parts[0]
        parts[-1] += self.tail
        return b",".join(parts)

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the document in pieces of about `size` bytes."""
        items = self.items
        step = max(size * len(items) // max(self.length, 1), 1)
        yield self.head
        for start in range(0, len(items), step):
            piece = b",".join(items[start : start + step])
            yield piece if start + step >= len(items) else piece + b","
        yield self.tail


def audit_id(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the id by which a request is known in the audit log: the client's own, or a new one, a UUID."""
    given = headers.get(b"audit-id")
    if given and given.isascii() and given.decode().isprintable():
        return given
    return b"%b%012x" % (_PROCESS, next(_COUNT))


class Exchange:
    """A request that is being answered. An answer is sent once, whole or as a stream.

    `status` is the answer's, 0 before it begins; `size` counts its body's bytes as they were sent. `extra` are headers
    that go with the answer, whatever it is. A watch calls `settled` when it has sent what there was. The `witness` is
    told of the bodies.
    """

    __slots__ = (
        "_receive",
        "_send",
        "audit_id",
        "extra",
        "headers",
        "method",
        "scope",
        "settled",
        "size",
        "started",
        "status",
        "witness",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self.started = False
        self.status = 0
        self.size = 0
        self.audit_id = audit_id(self.headers)
        self.extra: list[Header] = [(b"audit-id", self.audit_id), NOT_CACHED]
        self.settled: Callable[[], None] | None = None
        self.witness: Witness | None = None

    def header(self, name: bytes) -> str:
        """Return a request header, "" when it is absent; `name` is in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes:
        """Return the request's body. Raises TooLargeError past MAX_BODY, BadRequestError when it does not arrive."""
        body = await self._body()
        if self.witness is not None:
            self.witness.asked(body, self.header(b"content-type"))
        return body

    async def _body(self) -> bytes:
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > MAX_BODY:
            raise TooLargeError(f"Request entity too large: limit is {MAX_BODY}")
        message = await self._receive()
        piece: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body") and len(piece) <= MAX_BODY:
            return piece
        try:
            async with asyncio.timeout(_BODY_DEADLINE):
                return await self._rest_of_body(message)
        except TimeoutError as error:
            raise BadRequestError("the request's body did not arrive in time") from error

    async def _rest_of_body(self, message: MutableMapping[str, Any]) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise Disconnected
            piece = message.get("body", b"")
            size += len(piece)
            if size > MAX_BODY:
                raise TooLargeError(f"Request entity too large: limit is {MAX_BODY}")
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)
            message = await self._receive()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the request's body as it comes, however long it is. Raises Disconnected."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def gone(self) -> None:
        """Return when the client has disconnected; the body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(
        self, status: int, body: bytes, media_type: str = "application/json", headers: Sequence[Header] = ()
    ) -> None:
        """Send a whole answer, compressed when it is large and the client can read that."""
        if self.witness is not None:
            self.witness.answered(status, body, media_type)
        if media_type == _JSON and self._wants_indents():
            body = msgspec.json.format(body)
        fields: list[Header] = [(b"content-type", media_type.encode()), *self.extra, *headers]
        if len(body) >= _COMPRESS_FROM and accepts_gzip(self.header(b"accept-encoding")):
            body = await asyncio.to_thread(gzip.compress, body, 1)
            fields += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        fields.append((b"content-length", b"%d" % len(body)))
        self.started = True
        self.status = status
        self.size = len(body)
        at_once: AnswerWhole | None = self.scope.get(ANSWER)
        if at_once is not None and not headers and at_once(status, fields, body):
            return
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def answer_list(self, listed: Joined) -> None:
        """Send a list in JSON. A large one is joined piece by piece as the client takes it: it is never there whole."""
        length = listed.length
        compressed = length >= _COMPRESS_FROM and accepts_gzip(self.header(b"accept-encoding"))
        if length <= 2 * _PIECE or compressed or self.witness is not None or self._wants_indents():
            await self.answer(200, listed.whole())
            return
        fields: list[Header] = [(b"content-type", _JSON.encode()), *self.extra, (b"content-length", b"%d" % length)]
        self._begun(200)
        self.size = length
        await self._send({"type": "http.response.start", "status": 200, "headers": fields})
        if self.method != "HEAD":
            for piece in listed.pieces(_PIECE):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _wants_indents(self) -> bool:
        """Return whether a person reads the answer: said so in the query, or else by the program that asks."""
        query: bytes = self.scope["query_string"]
        if b"pretty" in query and (found := _PRETTY.search(query)):
            return found[1] in _TRUE
        return self.headers.get(b"user-agent", b"").startswith(_READ_BY_PEOPLE)

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Begin an answer that is another server's, with its headers as they are."""
        self._begun(status)
        named = [*headers, (b"audit-id", self.audit_id)]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    def switched(self) -> None:
        """Note that the client was answered 101: its connection is no longer HTTP."""
        self._begun(101)

    async def start(self, media_type: str, headers: Sequence[Header] = ()) -> None:
        """Begin an answer of unknown length."""
        self._begun(200)
        fields: list[Header] = [(b"content-type", media_type.encode()), *self.extra, *headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": fields})

    def _begun(self, status: int) -> None:
        self.started = True
        self.status = status
        if self.witness is not None:
            self.witness.begun(status)

    async def write(self, piece: bytes) -> None:
        """Send a piece of the answer; returns when the transport's buffer has room again."""
        self.size += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """End an answer that was started."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
