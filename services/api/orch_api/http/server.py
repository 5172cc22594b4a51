"""uvicorn with what Kubernetes clients need of it: the client's certificate, and other upgrades than WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httptools
import uvicorn
from prometheus_client import Counter
from websockets.datastructures import Headers
from websockets.server import ServerProtocol

from orch_api.auth.certificates import peer_of
from orch_api.http.connections import BoundedHttpProtocol, BoundedWebSocketProtocol, look_after
from orch_api.http.upgrade import UPGRADE, Upgrade

log = logging.getLogger(__name__)

RELOADS: Final = Counter("orch_api_certificate_reloads", "Times that the api took up other certificates", ["outcome"])

PEER = "orch.peer"
"""The scope's key of the client certificate: what certificates.peer_of() returns, None without one."""

_MAX_EARLY: Final = 64 << 10
"""Bytes that a client may send before it was told that its upgrade is accepted."""
_PROXIED: Final = re.compile(rb"/api/v1/(namespaces/[^/]+/(pods|services)|nodes)/[^/]+/proxy(/|\?|$)")
"""Behind these paths a WebSocket is spoken to somebody else: the api only passes it on."""
_LOOK_EVERY: Final = 50  # tenths of a second
_READ_EVERY: Final = 5  # tenths of a second
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def _peer(transport: asyncio.Transport) -> Mapping[str, Any] | None:
    channel = transport.get_extra_info("ssl_object")
    return peer_of(channel) if channel is not None else None


class _ScopedApp:
    """The application with the connection's certificate in each scope."""

    __slots__ = ("_app", "_peer")

    def __init__(self, app: Any, peer: Mapping[str, Any] | None) -> None:
        self._app = app
        self._peer = peer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope[PEER] = self._peer
        await self._app(scope, receive, send)


class CertificateHttpProtocol(BoundedHttpProtocol):
    """HTTP/1.1 that reads the client's certificate once a connection, and offers upgrades to the application."""

    _peer: Mapping[str, Any] | None = None
    _early: bytes | None = None
    """What came after a request that offers an upgrade; None as long as there was no such request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start serving a connection."""
        super().connection_made(transport)
        self._peer = _peer(transport)

    def on_message_begin(self) -> None:
        """Start reading a request."""
        super().on_message_begin()
        self.scope[PEER] = self._peer  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Serve the request; one that offers an upgrade is the last on its connection, whatever becomes of it."""
        super().on_headers_complete()
        if self.parser is not None and self.parser.should_upgrade() and not self._should_upgrade():
            self.cycle.keep_alive = False
            offered = (self._get_upgrade() or b"").decode("latin-1")
            self.scope[UPGRADE] = Upgrade(offered, self._hand_over, self.connections)  # type: ignore[typeddict-unknown-key]

    def data_received(self, data: bytes) -> None:
        """Read a request; what comes after one that offers an upgrade is kept for whoever accepts it."""
        if self.parser is None:
            return  # the connection is lost
        if self._early is not None:
            self._keep(data)
            return
        if not self.takes(data):
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._early = b""
                self._keep(data[upgrade.args[0] :])
                self.flow.pause_reading()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _keep(self, data: bytes) -> None:
        self._early = (self._early or b"") + data
        if len(self._early) > _MAX_EARLY:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        return super()._should_upgrade() and _PROXIED.match(self.url) is None

    def _hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """Give the connection away; nothing more is read or written here."""
        self.cycle.response_started = self.cycle.response_complete = True
        self.connections.discard(self)
        return self.transport, self._early or b""


class _AnySubprotocol(ServerProtocol):
    """A handshake that leaves subprotocols to the application: kubectl's `SPDY/3.1+portforward.k8s.io` is no token."""

    def process_subprotocol(self, headers: Headers) -> None:
        """Choose nothing; uvicorn answers with what the application accepts."""


class CertificateWebSocketProtocol(BoundedWebSocketProtocol):
    """WebSocket that reads the client's certificate once a connection."""

    def __init__(self, config: uvicorn.Config, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self.conn = _AnySubprotocol(max_size=config.ws_max_size, logger=self.logger)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start serving a connection."""
        super().connection_made(transport)
        self.app = _ScopedApp(self.app, _peer(transport))  # type: ignore[assignment]

    def keepalive_timeout(self) -> None:
        """Give up a client that answers no ping, unless its answer stands behind what we have not read yet."""
        if self.read_paused and self.ping_timeout is not None and not self.transport.is_closing():
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
        else:
            super().keepalive_timeout()


class TlsFiles:
    """The files that a context was made of. When they change, connections that are made from then on go by them."""

    def __init__(self, context: ssl.SSLContext, certificate: str, key: str, authorities: Sequence[str]) -> None:
        self._context = context
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._seen = self._look()

    def follow(self) -> None:
        """Take up files that have changed. What cannot be used changes nothing, and is looked at again."""
        seen = self._look()
        if seen == self._seen:
            return
        try:
            # Another context tries them: one that fails halfway would have the new certificate with the old key.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._context):
                context.load_cert_chain(self._certificate, self._key)
                for file in self._authorities:
                    context.load_verify_locations(file)
        except OSError as error:
            RELOADS.labels("failure").inc()
            log.warning("the certificates are served as they were: %s", error)
            return
        self._seen = seen
        RELOADS.labels("success").inc()
        log.info("new connections are served with the certificate that is now in %s", self._certificate)

    def _look(self) -> tuple[tuple[int, int], ...]:
        return tuple(_changed(Path(file)) for file in (self._certificate, self._key, *self._authorities))


def _changed(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


class Server(uvicorn.Server):
    """A server that leaves signals to the service's own handling, and follows its certificates' files."""

    def __init__(self, config: uvicorn.Config, files: TlsFiles | None = None) -> None:
        super().__init__(config)
        self._files = files

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signal handlers as they are."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second; every few seconds look after the connections, too."""
        if counter % _LOOK_EVERY == 0:
            look_after(self.server_state.connections, asyncio.get_running_loop().time())
        if self._files is not None and counter % _READ_EVERY == 0:
            self._files.follow()
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that several processes may share by address (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Connections take these over: a client that vanished without a word is noticed within a minute.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE.items():
        listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    listener.bind((host, port))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def server(app: Any, *, certificate: str, key: str, client_ca: str, proxy_ca: str = "") -> Server:
    """Return a server for `app`.

    Client certificates are optional and verified against `client_ca` or, an authenticating proxy's, `proxy_ca`; which
    of them has vouched for one is for the authenticator to find out.
    """
    authorities = [file for file in (client_ca, proxy_ca) if file]
    config = uvicorn.Config(
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
        ssl_ca_certs=authorities[0] if authorities else None,
        ssl_cert_reqs=ssl.CERT_OPTIONAL if authorities else ssl.CERT_NONE,
    )
    config.load()
    if config.ssl is None:
        return Server(config)
    for authority in authorities[1:]:
        config.ssl.load_verify_locations(authority)
    return Server(config, TlsFiles(config.ssl, certificate, key, authorities))
