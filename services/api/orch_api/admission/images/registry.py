"""Reads what an image's registry has of it: manifests and blobs, within bounds (the OCI distribution specification)."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from orch.errors import ConfigError, OrchError
from orch_api.admission.images.configured import RegistrySettings, password_of
from orch_api.admission.images.references import Reference
from orch_api.extensions.https import Header, Request, ask, trust
from orch_api.extensions.outgoing import Guard

_HOSTS: Final = {"docker.io": "registry-1.docker.io"}
_MANIFESTS: Final = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_MAX_MANIFEST: Final = 1 << 20
_MAX_BLOB: Final = 128 << 10
_MAX_TOKEN: Final = 64 << 10
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DEFAULT: Final = RegistrySettings()


class RegistryError(OrchError):
    """A registry cannot be asked, or answers something else."""


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class _Answered(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    headers: dict[bytes, bytes]


class Registries:
    """Asks registries."""

    def __init__(self, settings: dict[str, RegistrySettings], guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def manifest(self, image: Reference, reference: str) -> bytes | None:
        """Return a manifest of an image's repository, None when there is none. Raises RegistryError."""
        answer = await self._get(image, f"manifests/{reference}", _MANIFESTS, _MAX_MANIFEST)
        return None if answer is None else answer.body

    async def blob(self, image: Reference, digest: str) -> bytes:
        """Return a blob whose digest was verified. Raises RegistryError."""
        answer = await self._get(image, f"blobs/{digest}", "*/*", _MAX_BLOB)
        if answer is None:
            raise RegistryError(f"{image.registry} has no blob {digest}")
        found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if found != digest:
            raise RegistryError(f"{image.registry} answers with {found} instead of {digest}")
        return answer.body

    async def _get(self, image: Reference, what: str, accept: str, limit: int) -> _Answered | None:
        """Return what the registry has at a path. Raises RegistryError.

        Where it keeps blobs elsewhere, one redirect is followed, through the guard and without credentials: the digest
        says whether it was the right one.
        """
        settings = self._settings.get(image.registry, _DEFAULT)
        scheme = "http" if settings.plain_http else "https"
        url = f"{scheme}://{_HOSTS.get(image.registry, image.registry)}/v2/{image.repository}/{what}"
        headers: list[Header] = [(b"accept", accept.encode())]
        try:
            answer = await self._ask(url, headers, settings, limit)
            if answer.status == 401:
                headers.append((b"authorization", await self._credentials(image, answer, settings)))
                answer = await self._ask(url, headers, settings, limit)
            if answer.status in _REDIRECTS and what.startswith("blobs/"):
                answer = await self._ask(_elsewhere(answer, settings), [], settings, limit)
        except (OSError, ValueError, ConfigError) as error:
            raise RegistryError(f"{image.registry} cannot be asked: {error or type(error).__name__}") from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise RegistryError(f"{image.registry} answers with the status code {answer.status}")
        return answer

    async def _credentials(self, image: Reference, answer: _Answered, settings: RegistrySettings) -> bytes:
        """Return what a registry wants to be shown. Raises OSError and ValueError."""
        basic = b""
        if settings.username:
            pair = f"{settings.username}:{password_of(settings)}"
            basic = b"Basic " + base64.b64encode(pair.encode())
        challenge = answer.headers.get(b"www-authenticate", b"").decode("latin-1")
        kind, _, parameters = challenge.partition(" ")
        if kind.lower() == "basic" and basic:
            return basic
        told: dict[str, str] = dict(_CHALLENGE.findall(parameters))
        realm = told.get("realm", "")
        if kind.lower() != "bearer" or not realm:
            raise ValueError("it asks for credentials that nobody configured")
        if urlsplit(realm).scheme != "https" and not settings.plain_http:
            raise ValueError("it wants credentials to be fetched without TLS")
        query = {"service": told.get("service", ""), "scope": f"repository:{image.repository}:pull"}
        headers: list[Header] = [(b"authorization", basic)] if basic else []
        token = await self._ask(f"{realm}?{urlencode(query)}", headers, settings, _MAX_TOKEN)
        found = msgspec.json.decode(token.body, type=_Token) if token.status == 200 else _Token()
        if not (found.token or found.access_token):
            raise ValueError(f"its token server answers with the status code {token.status}")
        return b"Bearer " + (found.token or found.access_token).encode()

    async def _ask(self, url: str, headers: list[Header], settings: RegistrySettings, limit: int) -> _Answered:
        parts = urlsplit(url)
        host = parts.hostname or ""
        tls = self._tls(settings) if parts.scheme == "https" else None
        path = quote(parts.path or "/", safe="/:@%+~")
        request = Request(
            host=host,
            port=parts.port or (80 if tls is None else 443),
            server_name=host,
            tls=tls,
            guard=self._guard,
            target=f"{path}?{parts.query}".encode() if parts.query else path.encode(),
            headers=((b"host", parts.netloc.encode()), (b"user-agent", b"orch-api"), *headers),
        )
        async with ask(request) as answer:
            body = await answer.body(limit)
        return _Answered(answer.status, body, dict(answer.headers))

    def _tls(self, settings: RegistrySettings) -> ssl.SSLContext:
        made = self._contexts.get(settings.ca_file)
        if made is None:
            bundle = Path(settings.ca_file).read_text() if settings.ca_file else None
            made = self._contexts[settings.ca_file] = trust(bundle)
        return made


def _elsewhere(answer: _Answered, settings: RegistrySettings) -> str:
    location = answer.headers.get(b"location", b"").decode("latin-1")
    scheme = urlsplit(location).scheme
    if scheme != "https" and not (scheme == "http" and settings.plain_http):
        raise ValueError("it redirects to a place without TLS")
    return location
