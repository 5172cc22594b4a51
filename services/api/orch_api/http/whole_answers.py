"""Whole answers in one write: head and body together are one TLS record and one system call.

uvicorn writes them one after the other and checks each header; for small answers that costs more than making them. What
is sent here has headers of our own making only. Everything else goes the way of ASGI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

ANSWER: Final = "orch.answer"
"""The scope's key of an AnswerWhole; absent where there is no connection."""

AnswerWhole = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], bool]
"""Sends status, headers and body as the whole answer. Returns False, having done nothing, when that cannot be now."""

_JOINED: Final = 64 << 10
"""Up to this size a copy is cheaper than a second write."""


def answer_whole(cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Answer the request of a cycle, see AnswerWhole. `headers` name the body's length."""
    if cycle.flow.write_paused or cycle.disconnected or cycle.response_started:
        return False
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    parts: list[bytes] = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        parts += (name, b": ", value, b"\r\n")
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    if cycle.scope["method"] == "HEAD":
        body = b""
    if len(body) <= _JOINED:
        parts.append(body)
        cycle.transport.write(b"".join(parts))
    else:
        cycle.transport.write(b"".join(parts))
        cycle.transport.write(body)
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
