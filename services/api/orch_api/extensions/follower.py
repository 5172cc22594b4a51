"""Keeps one process's registry in step with the definitions that are stored: every api process has its own."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ExpiredError
from orch_api.extensions.resources import ConverterOf, condition, resources_of
from orch_api.kinds.definitions import GROUP, PLURAL
from orch_api.registry import Registry, Resource
from orch_api.schema import Schemas
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import section

log = logging.getLogger(__name__)

UNUSABLE: Final = Counter("orch_definitions_unusable", "Stored definitions that could not be served")
RESTARTS: Final = Counter("orch_definitions_relisted", "Times that the changes of definitions came too fast to follow")

_PAUSE: Final = 0.1


class DefinitionFollower:
    """Serves what the definitions say, from within milliseconds of their being established."""

    def __init__(
        self, cache: ObjectCache, registry: Registry, schemas: Schemas, webhook: ConverterOf, clock: Clock
    ) -> None:
        self._cache = cache
        self._registry = registry
        self._schemas = schemas
        self._webhook = webhook
        self._clock = clock
        self._seen = -1
        self._versions: dict[str, int] = {}
        self._served: dict[str, bytes] = {}  # the hash of what of a definition decides what is served
        self._shapes: dict[str, bytes] = {}  # the hash of what of it decides what its objects look like
        self._stored: dict[str, Resource] = {}

    async def run(self) -> None:
        """Follow the definitions, for ever."""
        await self._cache.wait_ready(timeout=300)
        while True:
            subscription = self._cache.subscribe(GROUP, PLURAL, since=None)
            try:
                self.sync()
                async for _ in subscription:
                    self.sync()
            except ExpiredError:
                RESTARTS.inc()
                await self._clock.sleep(_PAUSE)
            finally:
                subscription.close()

    async def catch_up(self) -> None:
        """Serve all that was established before this call. Raises UnavailableError when the store cannot be asked."""
        await self._cache.catch_up()
        self.sync()

    def stored(self, name: str) -> Resource | None:
        """Return in which form the objects of a definition are stored, None until it was established."""
        return self._stored.get(name)

    def sync(self) -> None:
        """Bring the registry up to what the cache holds."""
        changed = self._cache.changed(GROUP, PLURAL)
        if changed == self._seen:
            return
        self._seen = changed
        present: set[str] = set()
        for item in self._cache.select(GROUP, PLURAL):
            name = item.key.name
            present.add(name)
            if self._versions.get(name) != item.version:
                self._versions[name] = item.version
                self._serve(name, item)
        for name in self._versions.keys() - present:
            del self._versions[name]
            self._withdraw(name)

    def _serve(self, name: str, item: Cached) -> None:
        definition = to_document(item.json)
        decisive = _decisive(definition)
        if self._served.get(name) == decisive:
            return
        self._served[name] = decisive
        shape = _shape(definition)
        lasting = self._shapes.get(name) == shape
        self._shapes[name] = shape
        try:
            resources = resources_of(definition, self._schemas, self._webhook)
            self._registry.replace(name, resources, lasting=lasting)
        except Exception as error:
            UNUSABLE.inc()
            log.error("the definition %s cannot be served", name, exc_info=error)
            self._withdraw(name, keep=True)
            return
        if resources:
            self._stored[name] = resources[0].storage

    def _withdraw(self, name: str, *, keep: bool = False) -> None:
        if not keep:
            self._served.pop(name, None)
            self._shapes.pop(name, None)
        self._stored.pop(name, None)
        self._registry.replace(name, ())


def _decisive(definition: dict[str, Any]) -> bytes:
    """Return the hash of what of a definition decides what is served."""
    status = section(definition, "status")
    conditions = [(condition(definition, kind) or {}).get("status") for kind in ("Established", "Terminating")]
    generation = definition["metadata"].get("generation")
    decisive = msgspec.json.encode([definition["spec"], status.get("acceptedNames"), conditions, generation])
    return hashlib.sha256(decisive).digest()


def _shape(definition: dict[str, Any]) -> bytes:
    """Return the hash of what decides under which names objects are served, and what they look like."""
    names = section(definition, "status").get("acceptedNames")
    return hashlib.sha256(msgspec.json.encode([definition["spec"], names])).digest()
