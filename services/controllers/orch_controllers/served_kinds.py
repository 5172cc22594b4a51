"""Which kinds there are: those that orch itself knows, and all else that the api serves, custom resources included."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import OrchError
from orch.objects.meta import Object
from orch.objects.scheme import KINDS, Kind
from orch.runtime.client import Client

log = logging.getLogger(__name__)

_PERIOD: Final = 2.0
_NEEDED: Final = frozenset({"delete", "list", "watch"})
_FAILURES: Final = Counter("orch_controllers_discovery_failures", "Times that the api did not say which kinds it keeps")

_OWN: Final[Mapping[tuple[str, str], Kind[Any]]] = {(kind.group, kind.resource): kind for kind in KINDS}

Added = Callable[[Kind[Any]], None]
Removed = Callable[[Kind[Any]], None]


class ServedKinds:
    """Follows what is served. Whoever wants to know is told of each kind as it comes and goes."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str], Kind[Any]] = {}
        self._listeners: list[tuple[Added, Removed]] = []

    @property
    def known(self) -> tuple[Kind[Any], ...]:
        """The kinds that were served when the api was last asked."""
        return tuple(self._known.values())

    def listen(self, added: Added, removed: Removed) -> None:
        """Call `added` for each kind that is known or comes, `removed` for each that goes."""
        self._listeners.append((added, removed))
        for kind in self.known:
            added(kind)

    async def run(self) -> None:
        """Ask the api again and again, for ever."""
        while True:
            try:
                await self.refresh()
            except OrchError as error:
                _FAILURES.inc()
                log.debug("the api did not say which kinds it keeps: %s", error)
            await self._clock.sleep(_PERIOD)

    async def refresh(self) -> tuple[Kind[Any], ...]:
        """Ask the api, and return the kinds whose objects can be listed, watched and deleted. Raises OrchError."""
        served: dict[tuple[str, str], Kind[Any]] = {}
        for one in await self._client.kinds():
            if set(one.verbs) >= _NEEDED:
                own = _OWN.get((one.group, one.resource))
                kind = own or Kind(one.group, one.version, one.resource, one.kind, one.namespaced, Object)
                served[one.group, one.resource] = kind
        before, self._known = self._known, served
        for name, kind in before.items():
            if served.get(name) != kind:
                for _, removed in self._listeners:
                    removed(kind)
        for name, kind in served.items():
            if before.get(name) != kind:
                for added, _ in self._listeners:
                    added(kind)
        return self.known
