"""uvicorn with what Kubernetes clients need of it: the client's certificate, for HTTP and for WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PEER = "orch.peer"
"""The scope's key of the client certificate: what ssl's getpeercert() returns, None without one."""


def _peer(transport: asyncio.Transport) -> dict[str, Any] | None:
    channel = transport.get_extra_info("ssl_object")
    return (channel.getpeercert() or None) if channel is not None else None


class _ScopedApp:
    """The application with the connection's certificate in each scope."""

    __slots__ = ("_app", "_peer")

    def __init__(self, app: Any, peer: dict[str, Any] | None) -> None:
        self._app = app
        self._peer = peer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope[PEER] = self._peer
        await self._app(scope, receive, send)


class CertificateHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 that reads the client's certificate once a connection."""

    _peer: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start serving a connection."""
        super().connection_made(transport)
        self._peer = _peer(transport)

    def on_message_begin(self) -> None:
        """Start reading a request."""
        super().on_message_begin()
        self.scope[PEER] = self._peer  # type: ignore[typeddict-unknown-key]


class CertificateWebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket that reads the client's certificate once a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start serving a connection."""
        super().connection_made(transport)
        self.app = _ScopedApp(self.app, _peer(transport))  # type: ignore[assignment]


class Server(uvicorn.Server):
    """A server that leaves signals to the service's own handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signal handlers as they are."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that several processes may share by address (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def server(app: Any, *, certificate: str, key: str, client_ca: str) -> Server:
    """Return a server for `app`; client certificates are optional and verified against `client_ca`."""
    return Server(
        uvicorn.Config(
            app,
            http=CertificateHttpProtocol,
            ws=CertificateWebSocketProtocol,
            ws_max_size=1 << 20,
            ws_per_message_deflate=False,
            loop="none",
            lifespan="off",
            proxy_headers=False,
            date_header=True,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=5,
            backlog=4096,
            ssl_certfile=certificate or None,
            ssl_keyfile=key or None,
            ssl_ca_certs=client_ca or None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if client_ca else ssl.CERT_NONE,
        )
    )
