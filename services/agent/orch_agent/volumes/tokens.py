"""Tokens of service accounts, bound to a pod, made anew at 80 % of their life (pkg/kubelet/token/token_manager.go)."""

from __future__ import annotations

import base64
import binascii
import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, parse_rfc3339
from orch.errors import ApiError, BusError, UnavailableError
from orch.objects.meta import Object, View
from orch.objects.pods import Pod
from orch.objects.scheme import Kind, ObjectT
from orch.objects.volumes import TokenProjection
from orch_agent.volumes.protocol import VolumeError

_LOG: Final = logging.getLogger(__name__)
_MADE: Final = Counter("orch_agent_tokens_total", "Tokens of service accounts that the api has made for pods.")
_FAILED: Final = Counter("orch_agent_token_failures_total", "Tokens of service accounts that could not be had.")

_SPARE: Final = 0.2
_OLDEST: Final = timedelta(hours=24)
_JITTER: Final = 10.0
_AGAIN: Final = timedelta(seconds=10)


class TokenStatus(View, frozen=True):
    """A token and its end."""

    token: str = ""
    expiration_timestamp: str = ""


class TokenRequest(Object, frozen=True):
    """What the api answers when it is asked for a token."""

    status: TokenStatus = TokenStatus()


_REQUESTS: Final = Kind("", "v1", "serviceaccounts", "TokenRequest", True, TokenRequest)


class _Bound(msgspec.Struct):
    warnafter: int | None = None


class _Claims(msgspec.Struct):
    exp: int
    iat: int
    kubernetes: _Bound = msgspec.field(name="kubernetes.io", default_factory=_Bound)


class Token(msgspec.Struct, frozen=True):
    """A token, and when another one is to be asked for."""

    text: bytes
    stale_at: datetime


class TokenIssuer(Protocol):
    """The part of the api's client by which tokens are asked for."""

    async def create(
        self, kind: Kind[ObjectT], namespace: str, body: Mapping[str, Any], *, name: str = "", subresource: str = ""
    ) -> ObjectT:
        """Post to a subresource of an object. Raises ApiError, UnavailableError."""
        ...


class Tokens:
    """The tokens of a node's pods. None is held here: what a volume's file holds is the memory."""

    def __init__(self, issuer: TokenIssuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock

    async def token(self, pod: Pod, wanted: TokenProjection, before: bytes | None) -> Token:
        """Return the token of `before`, if it is fresh, or a new one.

        One that is stale stays while no other can be had, until it ends. Raises VolumeError.
        """
        held = None if before is None else self._held(before)
        now = self._clock.now()
        if held is not None and now < held[0].stale_at:
            return held[0]
        try:
            return await self._ask(pod, wanted)
        except (ApiError, BusError, UnavailableError) as error:
            _FAILED.inc()
            if held is None or now >= held[1]:
                raise VolumeError(f"failed to fetch token: {error}") from error
            _LOG.warning("pod %s keeps its old token: %s", pod.metadata.name, error)
            return Token(held[0].text, now + _AGAIN)

    async def _ask(self, pod: Pod, wanted: TokenProjection) -> Token:
        meta, account = pod.metadata, pod.spec.service_account_name or "default"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        seconds = wanted.expiration_seconds
        spec: dict[str, Any] = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": seconds,
            "boundObjectRef": bound,
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        asked = self._clock.now()
        answer = await self._issuer.create(_REQUESTS, meta.namespace, body, name=account, subresource="token")
        _MADE.inc()
        end = parse_rfc3339(answer.status.expiration_timestamp)
        return Token(answer.status.token.encode(), _stale_at(asked, end, timedelta(seconds=seconds)))

    @staticmethod
    def _held(before: bytes) -> tuple[Token, datetime] | None:
        """Return a token by what it says itself, and its end; None when it is no token."""
        try:
            payload = before.split(b".")[1]
            claims = msgspec.json.decode(
                base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)), type=_Claims, strict=True
            )
        except (IndexError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
            return None
        made = datetime.fromtimestamp(claims.iat, UTC)
        # The api lets tokens live on for a year that were asked for with Kubernetes' usual 3607 s, and says so.
        end = datetime.fromtimestamp(claims.kubernetes.warnafter or claims.exp, UTC)
        return Token(before, _stale_at(made, end, end - made)), datetime.fromtimestamp(claims.exp, UTC)


def _stale_at(made: datetime, end: datetime, life: timedelta) -> datetime:
    """Return when a token is old: not all of a node's at once."""
    stale = min(end - life * _SPARE, made + _OLDEST)
    return stale - timedelta(seconds=random.uniform(0, _JITTER))  # noqa: S311 - spreads requests, no secret
