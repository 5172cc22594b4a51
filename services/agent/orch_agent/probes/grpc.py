"""One question of the gRPC health protocol (grpc.health.v1.Health/Check) over a connection to a pod."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from orch.errors import OrchError
from orch_agent.network.connections import Connection
from orch_agent.probes.http import USER_AGENT

SERVING: Final = "SERVING"
UNIMPLEMENTED: Final = "Unimplemented"
_STATUSES: Final = ("UNKNOWN", SERVING, "NOT_SERVING", "SERVICE_UNKNOWN")
_CODES: Final = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    UNIMPLEMENTED,
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
_PREFIX: Final = struct.Struct(">?I")
_BODY_LIMIT: Final = 64 << 10


class GrpcError(OrchError):
    """The call failed; `code` is gRPC's name for how, `detail` what the server says."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code = code
        self.detail = message


async def check_health(connection: Connection, authority: str, service: str) -> str:
    """Return the serving status of a service, "" for the server's own. Raises GrpcError or DialError."""
    call = _Call()
    try:
        await connection.write(call.begin(authority, service))
        while not call.over:
            data = await connection.read()
            if not data:
                raise GrpcError("Unavailable", "error reading from server: EOF")
            answer = call.receive(data)
            if answer:
                await connection.write(answer)
    except H2Error as error:
        raise GrpcError("Unavailable", f"connection error: desc = {str(error)!r}") from error
    return call.status()


class _Call:
    """One unary call: bytes out, bytes in, and what they came to."""

    def __init__(self) -> None:
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._headers: dict[str, str] = {}
        self._body = b""
        self.over = False

    def begin(self, authority: str, service: str) -> bytes:
        self._h2.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", USER_AGENT),
        ]
        self._h2.send_headers(1, headers)
        question = _question(service)
        self._h2.send_data(1, _PREFIX.pack(False, len(question)) + question, end_stream=True)
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> bytes:
        for event in self._h2.receive_data(data):
            self._take(event)
        return self._h2.data_to_send()

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            self._headers |= _texts(event.headers or ())
        elif isinstance(event, DataReceived):
            self._body += (event.data or b"")[: _BODY_LIMIT - len(self._body)]
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, 1)
        elif isinstance(event, StreamEnded):
            self.over = True
        elif isinstance(event, StreamReset):
            raise GrpcError("Internal", f"stream terminated by RST_STREAM with error code: {event.error_code}")
        elif isinstance(event, ConnectionTerminated):
            raise GrpcError("Unavailable", f"the connection is draining: error code {event.error_code}")

    def status(self) -> str:
        """Return the answer. Raises GrpcError."""
        told = self._headers.get("grpc-status", "")
        if not told.isdecimal():
            http = self._headers.get(":status", "")
            raise GrpcError("Unknown", f"unexpected HTTP status code received from server: {http}")
        if told != "0":
            code = _CODES[int(told)] if int(told) < len(_CODES) else f"Code({told})"
            raise GrpcError(code, self._headers.get("grpc-message", ""))
        message = self._body[_PREFIX.size :]
        number = message[1] if len(message) >= 2 and message[0] == 0x08 else 0
        return _STATUSES[number] if number < len(_STATUSES) else str(number)


def _texts(headers: Iterable[tuple[str | bytes, str | bytes]]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in headers}


def _text(part: str | bytes) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _question(service: str) -> bytes:
    """Return a HealthCheckRequest: its field 1 is the service's name, left out when it is empty."""
    name = service.encode()
    if not name:
        return b""
    length, size = bytearray(), len(name)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"\x0a" + bytes(length) + name
