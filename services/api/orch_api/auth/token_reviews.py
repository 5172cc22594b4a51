"""Asks a webhook whose a token is: a TokenReview over HTTPS, and the answer kept for a while.

Follows k8s.io/apiserver/plugin/pkg/authenticator/token/webhook.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.auth.kubeconfig import Webhook
from orch_api.auth.token_cache import Identified, TokenCache
from orch_api.extensions.https import Header, Request, ask
from orch_api.extensions.outgoing import OPEN

log = logging.getLogger(__name__)

REQUESTS: Final = Counter(
    "apiserver_delegated_authn_request", "Questions to the token webhook by the status of the answer", ("code",)
)

Version = Literal["v1", "v1beta1"]

_STEPS: Final = 5
_FIRST_BACKOFF: Final = 0.5
_FACTOR: Final = 1.5
_JITTER: Final = 0.2
_TIMEOUT: Final = 30.0
_LONGEST: Final = 1 << 20


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...]] | None = None


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: tuple[str, ...] | None = None
    error: str = ""


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


_decode: Final = msgspec.json.Decoder(_Review).decode


class _RetryError(Exception):
    """The webhook could not answer; it may the next time."""


class TokenReviews:
    """Tokens that a webhook knows."""

    def __init__(self, webhook: Webhook, version: Version, ttl: float, api: Sequence[str], clock: Clock) -> None:
        self._webhook = webhook
        self._version = version
        self._api = tuple(api)
        self._clock = clock
        self._cache = TokenCache(clock, success=ttl, failure=ttl)

    async def identify(self, token: str, audiences: Sequence[str]) -> Identified | None:
        """Return whose token it is and for which of the audiences, None when the webhook does not know it.

        Raises UnauthorizedError when it says what is wrong, or cannot be asked.
        """
        wanted = tuple(audiences)
        return await self._cache.get(token, wanted, lambda: self._reviewed(token, wanted))

    async def _reviewed(self, token: str, audiences: tuple[str, ...]) -> Identified | None:
        status = (await self._ask(token, audiences)).status
        accepted = audiences
        if audiences:
            meant = status.audiences or self._api
            accepted = tuple(one for one in audiences if one in meant)
            if not accepted:
                return None
        if not status.authenticated:
            if status.error:
                raise UnauthorizedError(status.error)
            return None
        user = status.user
        extra = tuple((key, values) for key, values in sorted((user.extra or {}).items()))
        return Caller(user.username, user.groups or (), user.uid, extra), accepted

    async def _ask(self, token: str, audiences: tuple[str, ...]) -> _Review:
        """Return the webhook's answer. Raises UnauthorizedError when there is none, or no TokenReview."""
        spec: dict[str, object] = {"token": token}
        if audiences:
            spec["audiences"] = audiences
        question = {"kind": "TokenReview", "apiVersion": f"authentication.k8s.io/{self._version}", "spec": spec}
        body = msgspec.json.encode({**question, "metadata": {}, "status": {"user": {}}})
        backoff = _FIRST_BACKOFF
        for step in range(1, _STEPS + 1):
            try:
                return _decode(await self._post(body))
            except (ValueError, RecursionError) as error:
                raise UnauthorizedError(f"the token webhook did not answer with a TokenReview: {error}") from error
            except _RetryError as error:
                log.warning("the token webhook at %s cannot be asked (try %d): %s", self._webhook.url, step, error)
                if step == _STEPS:
                    raise UnauthorizedError(f"the token webhook cannot be asked: {error}") from error
            await self._clock.sleep(backoff * random.uniform(1, 1 + _JITTER))  # noqa: S311 - spreads load, hides nothing
            backoff *= _FACTOR
        raise AssertionError("the last step returns or raises")

    async def _post(self, body: bytes) -> bytes:
        """Return the body of a successful answer. Raises _RetryError and ValueError."""
        webhook = self._webhook
        try:
            headers: list[Header] = [
                (b"host", f"{webhook.host}:{webhook.port}".encode()),
                (b"content-type", b"application/json"),
                (b"accept", b"application/json"),
            ]
            if token := await asyncio.to_thread(webhook.bearer):
                headers.append((b"authorization", f"Bearer {token}".encode()))
            request = Request(
                host=webhook.host,
                port=webhook.port,
                server_name=webhook.server_name,
                tls=webhook.tls,
                guard=OPEN,  # the operator has named it
                method="POST",
                target=webhook.target.encode(),
                headers=headers,
                body=body,
                timeout=_TIMEOUT,
            )
            async with asyncio.timeout(_TIMEOUT), ask(request) as answer:
                said = await answer.body(_LONGEST)
        except OSError as error:  # TimeoutError is an OSError
            REQUESTS.labels("<error>").inc()
            raise _RetryError(str(error) or "no answer in time") from error
        REQUESTS.labels(str(answer.status)).inc()
        if answer.status == 429 or answer.status >= 500:
            raise _RetryError(f"the server responded with the status code {answer.status}")
        if answer.status not in {200, 201}:
            raise ValueError(f"the server responded with the status code {answer.status}")
        return said
