"""Requests to the api over HTTPS, as few as it takes to get an identity: everything else goes over the bus."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from orch.errors import ApiError, BadRequestError, ConfigError, UnavailableError

ViewT = TypeVar("ViewT")

_TIMEOUT: Final = 10.0
_LARGEST: Final = 4 << 20


def connect_unverified(server: str) -> HttpsApi:
    """Return a client that believes any server: only for what is then verified by a hash, and without credentials."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HttpsApi(server, context)


def connect(server: str, authority: str, *, token: str = "", certificate: Path | None = None) -> HttpsApi:
    """Return a client that trusts one authority (PEM) and shows a token, or a certificate with its key."""
    context = ssl.create_default_context(cadata=authority)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return HttpsApi(server, context, token)


class HttpsApi:
    """The api at an https address. Each request is one connection and blocks.

    Every method raises the ApiError that the api answers, or UnavailableError when it does not in time.
    """

    def __init__(self, server: str, context: ssl.SSLContext, token: str = "") -> None:
        parts = urllib.parse.urlsplit(server)
        try:
            port = parts.port or 6443
        except ValueError as error:
            raise ConfigError("server", str(error)) from error
        if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"}:
            raise ConfigError("server", f"expected an address such as https://10.0.0.1:6443, got {server!r}")
        self.host, self.port = parts.hostname, port
        self._server = server
        self._context = context
        self._token = token

    def get(self, path: str, view: type[ViewT]) -> ViewT:
        """Return what is at a path."""
        return self._ask("GET", path, None, "", view)

    def create(self, path: str, document: object, view: type[ViewT]) -> ViewT:
        """Post an object; return what the api made of it."""
        return self._ask("POST", path, document, "application/json", view)

    def patch(self, path: str, patch: object, view: type[ViewT]) -> ViewT:
        """Apply a merge patch; return what the api made of it."""
        return self._ask("PATCH", path, patch, "application/merge-patch+json", view)

    def _ask(self, method: str, path: str, document: object, content_type: str, view: type[ViewT]) -> ViewT:
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if content_type else {})}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        body = msgspec.json.encode(document) if content_type else None
        connection = http.client.HTTPSConnection(self.host, self.port, context=self._context, timeout=_TIMEOUT)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"the api at {self._server} does not answer: {error}") from error
        finally:
            connection.close()
        try:
            if response.status >= 300:
                raise ApiError.decode(content)
            return msgspec.json.decode(content, type=view)
        except msgspec.MsgspecError as error:
            said = content[:200].decode(errors="replace")
            raise BadRequestError(f"the api at {self._server} answered {response.status}: {said}") from error
