"""An OpenID provider on 127.0.0.1: it publishes keys over HTTPS and signs tokens with them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from certificates import Files
from cryptography.hazmat.primitives.asymmetric import ec
from https_server import Asked, https_server
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class OidcProvider:
    """What the provider publishes and signs; tests change its parts as they please."""

    def __init__(self, files: Files) -> None:
        self.authority = Path(files.ca).read_text()
        self.port = 0
        self.keys: dict[str, Any] = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.published: list[dict[str, Any]] | None = None
        """The keys as they are published; those of `keys` unless it is set."""
        self.issuer = ""
        self.status = 200
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked.target)
        if self.status != 200:
            return self.status, {}
        if asked.target == "/keys":
            return 200, {"keys": self.published or [_jwk(kid, key) for kid, key in self.keys.items()]}
        if asked.target.endswith("/.well-known/openid-configuration"):
            return 200, {"issuer": self.issuer or self.url, "jwks_uri": f"{self.url}/keys"}
        return 404, {}

    def fetches(self) -> int:
        """Return how often the keys were fetched."""
        return self.asked.count("/keys")

    def token(self, claims: dict[str, Any], *, kid: str = "one", algorithm: str = "ES256", **header: Any) -> str:
        """Return a token that one of the keys has signed."""
        return jwt.encode({"iss": self.url, **claims}, self.keys[kid], algorithm, {"kid": kid, **header})


def _jwk(kid: str, key: Any) -> dict[str, Any]:
    public = key.public_key()
    reader = ECAlgorithm if isinstance(public, ec.EllipticCurvePublicKey) else RSAAlgorithm
    parts: dict[str, Any] = json.loads(reader.to_jwk(public))
    parts.pop("key_ops", None)
    return {**parts, "kid": kid, "use": "sig"}


def encoded(part: Any) -> str:
    """Return a part of a token as it is written in it."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@asynccontextmanager
async def oidc_provider(files: Files) -> AsyncIterator[OidcProvider]:
    """Serve a provider until the context ends."""
    provider = OidcProvider(files)
    async with https_server(files, provider.answer) as port:
        provider.port = port
        yield provider
