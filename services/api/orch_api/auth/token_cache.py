"""Remembers for a while what somebody else said of a token (k8s.io/apiserver/pkg/authentication/token/cache).

What is kept is bounded in number, and holds no token: only a digest under a secret of this process. Several requests
with one token ask once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from orch.clock import Clock
from orch.errors import UnauthorizedError, UnavailableError
from orch_api.auth.figures import FETCHING, FIGURES
from orch_api.auth.identity import Caller

Identified = tuple[Caller, tuple[str, ...]]
"""A caller, and for which of the audiences asked for its token counts."""

_MOST: Final = 4096
_MOST_ASKED: Final = 256
"""Questions that may be under way at a time, whatever tokens are sent."""


class _Known(msgspec.Struct, frozen=True):
    found: Identified | None
    refusal: str
    until: float


class TokenCache:
    """Keeps answers; seconds of 0 keep none."""

    def __init__(self, clock: Clock, *, success: float, failure: float) -> None:
        self._clock = clock
        self._seconds = (success, failure)
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Known]] = {}

    async def get(
        self, token: str, audiences: Sequence[str], ask: Callable[[], Awaitable[Identified | None]]
    ) -> Identified | None:
        """Return what is known of a token, or else what `ask` returns.

        Raises UnauthorizedError as `ask` did, UnavailableError when too many tokens are being asked about.
        """
        key = self._key(token, audiences)
        known = self._known.get(key)
        if known is not None and known.until > self._clock.monotonic():
            self._known.move_to_end(key)
            FIGURES.token_cache("request", "hit")
            return _told(known)
        FIGURES.token_cache("request", "miss")
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= _MOST_ASKED:
                raise UnavailableError("too many tokens are being asked about at this moment")
            asking = self._asking[key] = asyncio.create_task(self._ask(key, ask), name="token review")
        # whoever asked first may leave; the others still wait for the answer
        return _told(await asyncio.shield(asking))

    async def _ask(self, key: bytes, ask: Callable[[], Awaitable[Identified | None]]) -> _Known:
        FETCHING.labels("in_flight").inc()
        status = "error"
        try:
            found, refusal = await ask(), ""
            status = "ok"
        except UnauthorizedError as error:
            found, refusal = None, error.message
        finally:
            FETCHING.labels("in_flight").dec()
            FIGURES.token_cache("fetch", status)
            del self._asking[key]
        seconds = self._seconds[found is None]
        known = _Known(found, refusal, self._clock.monotonic() + seconds)
        if seconds:
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return known

    def _key(self, token: str, audiences: Sequence[str]) -> bytes:
        told = msgspec.json.encode([token, *audiences])
        return hmac.digest(self._secret, told, hashlib.sha256)


def _told(known: _Known) -> Identified | None:
    if known.refusal:
        raise UnauthorizedError(known.refusal)
    return known.found
