"""Who sends a request over HTTPS. Each way of telling is asked in turn, and the first that knows the sender counts.

The order is kube-apiserver's: the authenticating proxy, the client certificate, then the bearer token, whose kinds are
asked from the cheapest (the token file) to the dearest (a webhook). One that refuses does not end the search; but when
none knows the sender and something was refused, the request is (401), and is not served as anonymous.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from orch.clock import Clock, SystemClock
from orch.errors import UnauthorizedError
from orch_api.auth.certificates import CertificateReader
from orch_api.auth.figures import FIGURES
from orch_api.auth.front_proxy import FrontProxy
from orch_api.auth.identity import ANONYMOUS, Caller
from orch_api.auth.presented import Presented
from orch_api.auth.token_cache import Identified

log = logging.getLogger(__name__)

INVALID: Final = "invalid bearer token"
_LONGEST: Final = 256 << 10
"""Bytes of a token that is looked at; no issuer makes longer ones."""


class TokenAuthenticator(Protocol):
    """Knows tokens of one kind, and for whom each counts."""

    async def identify(self, token: str, audiences: Sequence[str]) -> Identified | None:
        """Return whose token it is and for which of the audiences (none: for no one in particular); None: not known.

        Raises UnauthorizedError saying why a token of this kind does not count, UnavailableError when that cannot be
        told.
        """
        ...


class PlainTokenAuthenticator(Protocol):
    """Knows tokens of one kind, all of which are for the api."""

    async def identify(self, token: str, audiences: Sequence[str]) -> Caller | None:
        """Return whose token it is, None when it is not known. Raises UnauthorizedError."""
        ...


class ForApi:
    """Tokens that do not say whom they are for: they count for the api, whatever it is called."""

    def __init__(self, tokens: PlainTokenAuthenticator, api: Sequence[str]) -> None:
        self._tokens = tokens
        self._api = frozenset(api)

    async def identify(self, token: str, audiences: Sequence[str]) -> Identified | None:
        """Return whose token it is; see TokenAuthenticator."""
        accepted = tuple(one for one in audiences if one in self._api)
        if audiences and not accepted:
            return None
        caller = await self._tokens.identify(token, audiences)
        return None if caller is None else (caller, accepted)


class Anonymity(msgspec.Struct, frozen=True):
    """Whether a request may be anonymous, and where: `paths` are all that may be, or there is no such limit."""

    allowed: bool = True
    paths: frozenset[str] = frozenset()

    def admits(self, path: str) -> bool:
        """Return whether a request for a path may be anonymous."""
        return self.allowed and (not self.paths or path in self.paths)


class Authenticator:
    """Turns what a connection and a request carry into a caller."""

    def __init__(
        self,
        tokens: Sequence[TokenAuthenticator] = (),
        audiences: Sequence[str] = (),
        *,
        clock: Clock | None = None,
        certificates: CertificateReader | None = None,
        front_proxy: FrontProxy | None = None,
        anonymity: Callable[[], Anonymity] = Anonymity,
        background: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self._tokens = tuple(tokens)
        self._clock = clock or SystemClock()
        self._certificates = certificates or CertificateReader()
        self._front_proxy = front_proxy
        self._anonymity = anonymity
        self._background = background
        self.audiences: Final = tuple(audiences)
        """Who the api is to those who make tokens for it."""

    async def run(self) -> None:
        """Keep what is known of others' keys and of files current, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for work in self._background:
                tasks.create_task(_forever(work))

    async def identify(self, presented: Presented) -> Caller:
        """Return the caller, ANONYMOUS when nothing is presented that somebody looks at.

        Raises UnauthorizedError, which says no more than that, and UnavailableError when it cannot be told.
        """
        started = time.perf_counter()
        result = "error"
        try:
            caller = await self._identify(presented)
            result = "success"
        except _NobodyError as error:
            result = "failure"
            raise UnauthorizedError from error
        except UnauthorizedError as error:
            log.info("a request could not be authenticated: %s", error.message)
            raise UnauthorizedError from error
        finally:
            FIGURES.attempt(result, time.perf_counter() - started)
        FIGURES.succeeded(caller.user)
        return caller

    async def _identify(self, presented: Presented) -> Caller:
        refusals: list[str] = []
        if presented.peer is not None:
            try:
                known = self._by_certificate(presented)
            except UnauthorizedError as error:
                refusals.append(error.message)
            else:
                if known is not None:
                    return known.authenticated()
        if token := presented.bearer:
            try:
                return (await self.review(token, self.audiences))[0]
            except UnauthorizedError as error:
                refusals.append(error.message)
        if refusals:
            raise UnauthorizedError(_aggregate(refusals))
        if not self._anonymity().admits(presented.path):
            raise _NobodyError
        return ANONYMOUS

    def _by_certificate(self, presented: Presented) -> Caller | None:
        certificate = self._certificates.read(presented.peer or {})
        certificate.check_time(self._clock)
        refusals: list[str] = []
        if self._front_proxy is not None:
            try:
                found = self._front_proxy.identify(certificate, presented.headers)
            except UnauthorizedError as error:
                refusals.append(error.message)
            else:
                if found is not None:
                    return found
        if certificate.ours:
            return certificate.caller()
        raise UnauthorizedError(_aggregate([*refusals, "x509: certificate signed by unknown authority"]))

    async def review(self, token: str, audiences: Sequence[str]) -> Identified:
        """Return whose token it is, and for which of the audiences it counts; none: for no one in particular.

        Raises UnauthorizedError saying why it does not count, UnavailableError when that cannot be told.
        """
        refusals = [INVALID]
        for kind in self._tokens if len(token) <= _LONGEST else ():
            try:
                found = await kind.identify(token, audiences)
            except UnauthorizedError as error:
                refusals.append(error.message)
                continue
            if found is not None:
                return found[0].authenticated(), found[1]
        raise UnauthorizedError(_aggregate(refusals))


class _NobodyError(UnauthorizedError):
    """Nothing was presented, and nobody may ask for this without."""


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _aggregate(problems: Sequence[str]) -> str:
    """Return what is wrong, as Go's aggregated errors are worded."""
    return problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
