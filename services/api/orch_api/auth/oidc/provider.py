"""One issuer's keys, as it publishes them now: found by OpenID's discovery, over HTTPS alone, and kept.

They are fetched when the api starts, again every few minutes, and at once when a token is signed by none of them; but
not more often than every few seconds, whatever tokens are sent.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final
from urllib.parse import urlsplit

import msgspec
from prometheus_client import Gauge

from orch.clock import Clock
from orch_api.auth.oidc.configuration import Issuer
from orch_api.auth.oidc.key_sets import KeySet
from orch_api.extensions.https import Request, ask
from orch_api.extensions.outgoing import OPEN

log = logging.getLogger(__name__)

FETCHED: Final = Gauge(
    "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
    "When an issuer's keys were fetched last, by outcome",
    ("result", "jwt_issuer_hash"),
)

PATIENCE: Final = 10.0
"""Seconds between two fetches, at least."""
PERIOD: Final = 300.0
"""Seconds after which keys are fetched again though all tokens are signed by them: one may have been withdrawn."""
_FIRST_BACKOFF: Final = 1.0
_TIMEOUT: Final = 30.0
_LONGEST: Final = 1 << 20
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_HTTPS: Final = 443


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str = ""
    jwks_uri: str = ""


_discovery: Final = msgspec.json.Decoder(_Discovery).decode


class Provider:
    """Knows the keys of one issuer."""

    def __init__(self, issuer: Issuer, digest: str, clock: Clock) -> None:
        self._issuer = issuer
        self._digest = digest
        self._clock = clock
        self._tls = ssl.create_default_context(cadata=issuer.certificate_authority or None)
        self._fetching: asyncio.Task[None] | None = None
        self._fetched = float("-inf")
        self.keys: KeySet | None = None
        """The keys, None before they were fetched for the first time."""
        self.ready = asyncio.Event()
        self.problem = "not initialized"
        """Why the keys could not be fetched last time, "" when they could."""

    async def run(self) -> None:
        """Fetch the keys, at first until that succeeds and then every few minutes, for ever."""
        backoff = _FIRST_BACKOFF
        while True:
            await self.refresh()
            if self.keys is None:
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, PATIENCE)
            else:
                await self._clock.sleep(PERIOD)

    async def refresh(self) -> None:
        """Fetch the keys; who asks meanwhile waits for the same answer. What goes wrong is in `problem`."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="issuer's keys")
        await asyncio.shield(self._fetching)

    async def refresh_if_due(self) -> bool:
        """Fetch the keys unless that was done a moment ago; return whether it was done now."""
        if self._fetching is None and self._clock.monotonic() - self._fetched < PATIENCE:
            return False
        await self.refresh()
        return True

    async def _fetch(self) -> None:
        self._fetched = self._clock.monotonic()
        try:
            async with asyncio.timeout(_TIMEOUT):
                self.keys = await self._published()
            self.problem = ""
            self.ready.set()
        except (OSError, ValueError, RecursionError) as error:  # TimeoutError is an OSError
            self.problem = str(error) or "no answer in time"
            log.warning("the keys of the issuer %s cannot be fetched: %s", self._issuer.url, self.problem)
        except Exception as error:
            self.problem = f"internal error: {error}"
            log.exception("the keys of the issuer %s cannot be fetched", self._issuer.url)
        finally:
            self._fetching = None
            result = "failure" if self.problem else "success"
            FETCHED.labels(result, self._digest).set(self._clock.now().timestamp())

    async def _published(self) -> KeySet:
        """Return the keys as they are published now. Raises OSError and ValueError."""
        place = self._issuer.discovery_url or f"{self._issuer.url.rstrip('/')}{_WELL_KNOWN}"
        found = _discovery(await self._get(place))
        if found.issuer != self._issuer.url:
            told = f'expected "{self._issuer.url}" got "{found.issuer}"'
            raise ValueError(f"oidc: issuer did not match the issuer returned by provider, {told}")
        if not found.jwks_uri:
            raise ValueError("provider did not return JWKS URL")
        keys = KeySet.parse(await self._get(found.jwks_uri))
        if not len(keys):
            raise ValueError(f"{found.jwks_uri} publishes no key that can verify tokens")
        return keys

    async def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"{url} is no HTTPS address")
        request = Request(
            host=parts.hostname,
            port=parts.port or _HTTPS,
            server_name=parts.hostname,
            tls=self._tls,
            guard=OPEN,  # the operator has named the issuer, and trusts what it publishes
            target=f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode(),
            headers=((b"host", parts.netloc.rpartition("@")[2].encode()), (b"accept", b"application/json")),
            timeout=_TIMEOUT,
        )
        async with ask(request) as answer:
            body = await answer.body(_LONGEST)
        if answer.status != 200:  # redirects too: what is published elsewhere is not the issuer's
            raise ValueError(f"{url} answered with the status code {answer.status}")
        return body
