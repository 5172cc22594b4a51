"""GET requests to containers, as kubelet makes them for probes and hooks.

Small on purpose: one request a connection, a body of which 10 KiB are read, redirects that stay on their host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from orch.objects.pods import HTTPHeader
from orch_agent.network.connections import Connection, DialError
from orch_agent.probes.tls import TlsConnection

USER_AGENT: Final = "kube-probe/1.37"
_BODY_LIMIT: Final = 10 << 10
_HEAD_LIMIT: Final = 64 << 10
_MOST_REDIRECTS: Final = 10
_UNQUOTED: Final = "/?%:@!$&'()*+,;=~[]"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Dial = Callable[[str, int], Awaitable[Connection]]
"""Connects to a host's port. Raises DialError."""


class HttpError(DialError):
    """A request had no answer; the message is as Go's client words it."""


class Answer(msgspec.Struct, frozen=True):
    """A response, its body cut at 10 KiB."""

    status: int
    headers: dict[str, str]
    body: bytes


async def get(url: str, headers: Sequence[HTTPHeader], dial: Dial) -> Answer:
    """Make a request; follow redirects to the same host, and return one to another. Raises HttpError."""
    followed = 0
    while True:
        answer = await _get_once(url, headers, dial)
        beyond = _beyond(url, answer)
        if not beyond:
            return answer
        followed += 1
        url = beyond
        if followed >= _MOST_REDIRECTS:
            raise HttpError(f'Get "{url}": stopped after {_MOST_REDIRECTS} redirects')


def _beyond(url: str, answer: Answer) -> str:
    """Return where an answer sends who asked, "" for nowhere or to another host. Raises HttpError."""
    location = answer.headers.get("location", "")
    if answer.status not in _REDIRECTS or not location:
        return ""
    try:
        beyond = urljoin(url, location)
        parts = urlsplit(beyond)
    except ValueError as error:
        raise HttpError(f'Get "{url}": failed to parse Location header "{location}": {error}') from error
    return beyond if parts.scheme in {"http", "https"} and parts.hostname == urlsplit(url).hostname else ""


async def _get_once(url: str, headers: Sequence[HTTPHeader], dial: Dial) -> Answer:
    try:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        connection: Connection = await dial(host, port)
        try:
            if secure:
                tls = TlsConnection(connection, host)
                await tls.handshake()
                connection = tls
            target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_UNQUOTED)
            await connection.write(_head(target, parts.netloc, headers))
            return await _read_answer(connection)
        finally:
            await connection.close()
    except (DialError, ValueError) as error:
        raise HttpError(f'Get "{url}": {error}') from error


def _head(target: str, authority: str, headers: Sequence[HTTPHeader]) -> bytes:
    """Return the request. A header Host takes the place of the URL's; User-Agent and Accept have defaults."""
    given = {each.name.lower() for each in headers}
    lines = [f"GET {target} HTTP/1.1"]
    host = next((each.value for each in headers if each.name.lower() == "host" and each.value), authority)
    lines.append(f"Host: {host}")
    lines += [f"{each.name}: {each.value}" for each in headers if each.name.lower() != "host" and each.value]
    defaults = (("User-Agent", USER_AGENT), ("Accept", "*/*"))
    lines += [f"{name}: {value}" for name, value in defaults if name.lower() not in given]
    lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("net/http: invalid header field value")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


async def _read_answer(connection: Connection) -> Answer:
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = await connection.read()
            if not more:
                raise DialError("EOF" if not data else "unexpected EOF")
            data += more
            if len(data) > _HEAD_LIMIT:
                raise DialError(f"net/http: server response headers exceeded {_HEAD_LIMIT} bytes; aborted")
        head, _, data = data.partition(b"\r\n\r\n")
        status, headers = _parse_head(head.decode("latin-1"))
        if status >= 200:
            break
    return Answer(status, headers, await _read_body(connection, headers, data))


def _parse_head(head: str) -> tuple[int, dict[str, str]]:
    first, *lines = head.split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not code.isdecimal() or len(code) != 3:
        raise DialError(f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{first[:64]}"')
    pairs = (line.partition(":") for line in lines)
    return int(code), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(connection: Connection, headers: dict[str, str], data: bytes) -> bytes:
    """Return the body as it came, at most 10 KiB; of one in chunks only what its first packets hold is told apart."""
    length = headers.get("content-length", "")
    wanted = min(int(length), _BODY_LIMIT) if length.isdecimal() else _BODY_LIMIT
    while len(data) < wanted and (more := await connection.read()):
        data += more
    if headers.get("transfer-encoding", "").lower() == "chunked":
        data = _joined(data)
    return data[:wanted]


def _joined(data: bytes) -> bytes:
    """Return what the complete chunks hold."""
    body = b""
    while True:
        size, found, data = data.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16) if found else 0
        except ValueError:
            return body
        if not length:
            return body
        body += data[:length]
        data = data[length + 2 :]
