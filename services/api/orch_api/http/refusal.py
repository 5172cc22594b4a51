"""Failures as answers: every error becomes the Status that Kubernetes' clients know, in this one place."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from orch.errors import (
    ApiError,
    BadRequestError,
    InternalError,
    MethodNotAllowedError,
    ServiceUnavailableError,
    UnauthorizedError,
    UnavailableError,
)
from orch_api.http.exchange import Exchange, Header, Send

log = logging.getLogger(__name__)


def as_api_error(error: BaseException) -> ApiError:
    """Return what a client is told about a failure; what is no ApiError is logged here."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UnavailableError):
        return ServiceUnavailableError(str(error))
    if isinstance(error, RecursionError):  # only documents of clients are nested as they please
        log.warning("a document was nested too deeply: %s", error)
        return BadRequestError("the object provided is nested too deeply: exceeded max depth")
    log.error("a request failed", exc_info=error)
    return InternalError(f"Internal error occurred: {error}")


def warning_header(warning: str) -> bytes:
    """Return a Warning header's value (RFC 7234): `299 - "text"`."""
    escaped = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return f'299 - "{escaped}"'.encode()


async def refuse(exchange: Exchange, failure: BaseException) -> None:
    """Answer with the Status of a failure, unless an answer has begun."""
    error = as_api_error(failure)
    if exchange.started:
        log.warning("a request failed after its answer had begun: %s", error.message)
        return
    headers: list[Header] = []
    if isinstance(error, UnauthorizedError):
        headers.append((b"www-authenticate", b"Bearer"))
    if error.details is not None and error.details.retry_after_seconds:
        headers.append((b"retry-after", b"%d" % error.details.retry_after_seconds))
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", b"GET, POST, PUT, PATCH, DELETE"))
    headers.extend((b"warning", warning_header(warning)) for warning in error.warnings)
    await exchange.answer(error.code, error.encode(), headers=headers)


async def refuse_websocket(send: Send, failure: BaseException) -> None:
    """Answer the request for a WebSocket with the Status of a failure instead."""
    error = as_api_error(failure)
    body = error.encode()
    headers: Sequence[Header] = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    )
    await send({"type": "websocket.http.response.start", "status": error.code, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
