"""Plain HTTPS to the api, for what kubectl would hide: raw bodies, headers, statuses, watches."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

JSON = "application/json"


class Answer(NamedTuple):
    """What came back: the HTTP status, its headers by lower-case name, the body as JSON or else as text."""

    status: int
    headers: Mapping[str, str]
    body: Any


class RefusedError(OSError):
    """The api answered a watch with another status than 200."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body.decode(errors='replace')}")
        self.status = status


class Connection(http.client.HTTPSConnection):
    """One whose socket is there to be closed when the handshake fails, too."""

    def __init__(self, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__("127.0.0.1", port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


class Rest:
    """A client of the api with one identity: a certificate, a token, or none at all."""

    def __init__(self, port: int, pki: Path, *, identity: str = "", token: str = "") -> None:
        self._port = port
        self._token = token
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if identity:
            self._context.load_cert_chain(pki / f"{identity}.crt", pki / f"{identity}.key")

    def present(self, certificate: Path, key: Path) -> None:
        """Be whom a certificate names that is not among the cluster's own."""
        self._context.load_cert_chain(certificate, key)

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = JSON,
        timeout: float = 30,
        headers: Mapping[str, str] | None = None,
        **query: object,
    ) -> Answer:
        """Send one request on a connection of its own. A `body` that is not bytes is sent as JSON."""
        connection = self._connect(timeout)
        try:
            response = self._send(connection, method, path, body, content_type, headers or {}, query)
            content = response.read()
        finally:
            connection.close()
        names = {name.lower(): value for name, value in response.getheaders()}
        is_json = names.get("content-type", "").startswith(JSON)
        return Answer(response.status, names, json.loads(content) if is_json else content.decode(errors="replace"))

    @contextmanager
    def watch(self, path: str, *, timeout: float = 30, **query: object) -> Generator[Generator[dict[str, Any]]]:
        """Open a watch; yield its events as they come. Silence for `timeout` seconds raises TimeoutError.

        Raises RefusedError when there is none to be had.
        """
        connection = self._connect(timeout)
        try:
            response = self._send(connection, "GET", path, None, JSON, {}, {"watch": "true", **query})
            if response.status != 200:
                raise RefusedError(response.status, response.read())
            yield (json.loads(line) for line in iter(response.readline, b""))
        finally:
            connection.close()

    def _connect(self, timeout: float) -> Connection:
        return Connection(self._port, self._context, timeout)

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: object,
        content_type: str,
        headers: Mapping[str, str],
        query: Mapping[str, object],
    ) -> http.client.HTTPResponse:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Accept": JSON, **({"Content-Type": content_type} if content is not None else {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        target = f"{path}?{urlencode(query)}" if query else path
        connection.request(method, target, content, {**sent, **headers})
        return connection.getresponse()
