"""Keeps to the AuthorizationConfiguration as its file says it now.

A file that is wrong changes nothing: what was good before goes on, and the file is tried again. As in Kubernetes, Node
and RBAC can be put in another order, but neither added nor removed while the api runs: what holds the cluster together
is not to be lost by a slip in a file.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import ConfigError
from orch_api.auth.authorizer import Authorizer, MakeChain, default_chain
from orch_api.auth.webhook.configuration import AuthorizationConfiguration, make_chain, read_configuration

log = logging.getLogger(__name__)

RELOADS: Final = Counter(
    "apiserver_authorization_config_controller_automatic_reloads",
    "Times that the authorization configuration had changed",
    ("status",),
)
LAST: Final = Gauge(
    "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
    "When the authorization configuration was reloaded last",
    ("status",),
)

PERIOD: Final = 5.0
"""Seconds between two looks at the file."""
_SETTING: Final = "authorization_config_file"
_FIXED: Final = ("Node", "RBAC")


class ChainFile:
    """Follows the file of one chain of authorizers; without a file the chain is the default one."""

    def __init__(self, file: str, clock: Clock) -> None:
        """Read the file. Raises ConfigError."""
        self._file = Path(file) if file else None
        self._clock = clock
        self._tried = b""
        self._fixed: tuple[str, ...] = ()
        self.chain: MakeChain = default_chain
        if self._file is not None:
            self._tried = _digest(self._file)
            found = read_configuration(self._file)
            self._fixed = _fixed(found)
            self.chain = make_chain(found, self._file, clock)

    async def run(self, authorizer: Authorizer) -> None:
        """Keep `authorizer` to the file, for ever."""
        while self._file is not None:
            await self._clock.sleep(PERIOD)
            self._look(self._file, authorizer)

    def _look(self, file: Path, authorizer: Authorizer) -> None:
        """Take over what the file says if it has changed."""
        try:
            digest = _digest(file)
            if digest == self._tried:
                return
            chain = self._changed(file)
        except ConfigError as error:
            self._note("failure")
            log.error("the authorization configuration stays as it was: %s", error)
            return
        self._tried = digest
        authorizer.replace(chain)
        self._note("success")
        log.info("the authorization configuration was read again from %s", file)

    def _changed(self, file: Path) -> MakeChain:
        """Return what makes the chain that the file names now. Raises ConfigError."""
        found = read_configuration(file)
        if _fixed(found) != self._fixed:
            problem = "Node and RBAC can be neither added nor removed while the api runs"
            raise ConfigError(f"{file}: authorizers", problem)
        return make_chain(found, file, self._clock)

    def _note(self, status: str) -> None:
        RELOADS.labels(status).inc()
        LAST.labels(status).set(self._clock.now().timestamp())


def _fixed(found: AuthorizationConfiguration) -> tuple[str, ...]:
    kinds = {place.type for place in found.authorizers}
    return tuple(kind for kind in _FIXED if kind in kinds)


def _digest(file: Path) -> bytes:
    """Return what tells two contents of the file apart. Raises ConfigError."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        raise ConfigError(_SETTING, str(error)) from error
