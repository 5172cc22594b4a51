"""Keeps to the AuthenticationConfiguration as its file says it now.

A file that is wrong, or names an issuer whose keys cannot be fetched, changes nothing: what was good before goes on,
and the file is tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import ConfigError
from orch_api.auth.authenticator import Anonymity
from orch_api.auth.oidc.configuration import AuthenticationConfiguration, JwtIssuer
from orch_api.auth.oidc.rules import read
from orch_api.auth.oidc.tokens import IssuerTokens, JwtTokens

log = logging.getLogger(__name__)

RELOADS: Final = Counter(
    "apiserver_authentication_config_controller_automatic_reloads",
    "Times that the authentication configuration had changed",
    ("status",),
)
LAST: Final = Gauge(
    "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
    "When the authentication configuration was reloaded last",
    ("status",),
)

PERIOD: Final = 5.0
"""Seconds between two looks at the file."""
HEALTH_SECONDS: Final = 60.0
"""For how long new issuers may take to answer."""
_SETTING: Final = "authentication_config_file"


class ConfigurationFile:
    """Follows one file. `tokens` are those of its issuers, `anonymity` is what it says of anonymous requests."""

    def __init__(self, file: Path, own_issuers: Iterable[str], clock: Clock, anonymity: Anonymity) -> None:
        self._file = file
        self._own = tuple(own_issuers)
        self._clock = clock
        self._default = anonymity
        self._seen = self._digest()
        first = read(file, self._own)
        self._issuers = [IssuerTokens(one, clock) for one in first.jwt]
        self._running: dict[JwtIssuer, asyncio.Task[None]] = {}
        self.tokens = JwtTokens()
        self.tokens.replace(self._issuers)
        self.anonymity = _anonymity(first, anonymity)

    async def run(self) -> None:
        """Keep the issuers' keys, and to the file, for ever."""
        try:
            self._start(self._issuers)
            while True:
                await self._clock.sleep(PERIOD)
                await self._look()
        finally:
            await self._stop(self._running)

    async def _look(self) -> None:
        """Take over what the file says if it has changed."""
        try:
            digest = self._digest()
            if digest == self._seen:
                return
            await self._take_over(read(self._file, self._own))
        except ConfigError as error:
            self._note("failure")
            log.error("the authentication configuration stays as it was: %s", error)
        else:
            self._seen = digest
            self._note("success")
            log.info("the authentication configuration was read again from %s", self._file)

    async def _take_over(self, config: AuthenticationConfiguration) -> None:
        known = {one.config: one for one in self._issuers}
        issuers = [known.get(one) or IssuerTokens(one, self._clock) for one in config.jwt]
        new = [one for one in issuers if one.config not in known]
        self._start(new)
        try:
            await self._wait_ready(new, config)
        except ConfigError:
            await self._stop([one.config for one in new])
            raise
        self.tokens.replace(issuers)
        self._issuers = issuers
        self.anonymity = _anonymity(config, self._default)
        await self._stop([one for one in known if one not in config.jwt])

    async def _wait_ready(self, issuers: Sequence[IssuerTokens], config: AuthenticationConfiguration) -> None:
        """Wait until the keys of all issuers are there. Raises ConfigError naming one that takes too long."""
        ready = asyncio.create_task(_all_ready(issuers))
        late = asyncio.ensure_future(self._clock.sleep(HEALTH_SECONDS))
        try:
            await asyncio.wait((ready, late), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            late.cancel()
            await asyncio.gather(ready, late, return_exceptions=True)
        for one in issuers:
            if not one.provider.ready.is_set():
                problem = f'the issuer "{one.config.issuer.url}" is not healthy: {one.provider.problem}'
                raise ConfigError(f"{self._file}: jwt[{config.jwt.index(one.config)}].issuer", problem)

    def _start(self, issuers: Iterable[IssuerTokens]) -> None:
        for one in issuers:
            self._running[one.config] = asyncio.create_task(one.provider.run(), name=f"keys of {one.config.issuer.url}")

    async def _stop(self, configs: Iterable[JwtIssuer]) -> None:
        tasks = [self._running.pop(one) for one in list(configs)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, status: str) -> None:
        RELOADS.labels(status).inc()
        LAST.labels(status).set(self._clock.now().timestamp())

    def _digest(self) -> bytes:
        """Return what tells two contents of the file apart. Raises ConfigError."""
        try:
            return hashlib.sha256(self._file.read_bytes()).digest()
        except OSError as error:
            raise ConfigError(_SETTING, str(error)) from error


async def _all_ready(issuers: Sequence[IssuerTokens]) -> None:
    for one in issuers:
        await one.provider.ready.wait()


def _anonymity(config: AuthenticationConfiguration, default: Anonymity) -> Anonymity:
    said = config.anonymous
    if said is None:
        return default
    return Anonymity(allowed=said.enabled, paths=frozenset(one.path for one in said.conditions))
