"""What becomes of a definition after it was written: it gets its names, is established, and is cleaned up in the end.

One elected process does this for all. It follows apiextensions' naming, establishing and finalizing controllers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock, rfc3339
from orch.errors import ApiError, ConflictError, ExpiredError, InvalidError, NotFoundError, OrchError
from orch.runtime.leader import LeaderElector
from orch.store.protocol import Compare, Store
from orch_api.auth.identity import APISERVER
from orch_api.extensions.follower import DefinitionFollower
from orch_api.extensions.naming import accepted_names, established, with_conditions
from orch_api.extensions.registrations import Registrations
from orch_api.extensions.resources import condition
from orch_api.kinds.definitions import CLEANUP_FINALIZER, GROUP, PLURAL
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document, to_json
from orch_api.strategy import Document, put_section, section

log = logging.getLogger(__name__)

FAILURES: Final = Counter("orch_definitions_failures", "Steps of definitions' lives that failed and are tried again")

_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0
_MANAGER: Final = "kube-apiserver"


class DefinitionLifecycle:
    """Writes the status of definitions, and deletes the objects of those that are deleted."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        registry: Registry,
        pipeline: Pipeline,
        follower: DefinitionFollower,
        identity: str,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._registry = registry
        self._pipeline = pipeline
        self._follower = follower
        self._clock = clock
        self._elector = LeaderElector(store, "definitions", identity, clock=clock)
        self._registrations = Registrations(cache, pipeline, registry)
        self._cleaning: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, tuple[int, Document]] = {}

    async def run(self) -> None:
        """Campaign for ever, and look after the definitions while elected."""
        await self._elector.run(self._lead)

    async def _lead(self) -> None:
        await self._cache.wait_ready()
        backoff = _FIRST_BACKOFF
        async with asyncio.TaskGroup() as tasks:
            while True:
                subscription = self._cache.subscribe(GROUP, PLURAL, since=None)
                self._known.clear()
                try:
                    await self._consider(tasks)
                    async for _ in subscription:
                        await self._consider(tasks)
                        backoff = _FIRST_BACKOFF
                except (OrchError, ExpiredError) as error:
                    FAILURES.inc()
                    log.warning("definitions could not be looked after, next try in %.1f s: %s", backoff, error)
                    await self._clock.sleep(backoff)
                    backoff = min(backoff * 2, _MAX_BACKOFF)
                finally:
                    subscription.close()

    async def _consider(self, tasks: asyncio.TaskGroup) -> None:
        """Bring the definitions of every group in which something changed a step further.

        A name that one definition gives up may be what another of its group waits for.
        """
        self._follower.sync()
        groups = self._read()
        for name, (_, definition) in list(self._known.items()):
            metadata = definition["metadata"]
            if definition["spec"]["group"] not in groups:
                continue
            if not metadata.get("deletionTimestamp"):
                try:
                    await self._name(name, definition)
                except InvalidError as error:  # of one definition; it may be mended, the others wait for nothing
                    FAILURES.inc()
                    log.warning("the status of %s cannot be written: %s", name, error)
            elif CLEANUP_FINALIZER in (metadata.get("finalizers") or ()) and name not in self._cleaning:
                task = tasks.create_task(self._clean_up(name), name=f"clean up {name}")
                self._cleaning[name] = task
                task.add_done_callback(lambda _, name=name: self._cleaning.pop(name, None))
        if groups:
            served = [definition for _, definition in self._known.values()]
            await self._registrations.keep(served, WriteOptions(field_manager=_MANAGER, fence=self._fence()))

    def _read(self) -> set[str]:
        """Read the definitions that changed; return their groups."""
        groups: set[str] = set()
        present: set[str] = set()
        for item in self._cache.select(GROUP, PLURAL):
            name = item.key.name
            present.add(name)
            known = self._known.get(name)
            if known is None or known[0] != item.version:
                self._known[name] = (item.version, to_document(item.json))
                groups.add(self._known[name][1]["spec"]["group"])
        for name in self._known.keys() - present:
            groups.add(self._known.pop(name)[1]["spec"]["group"])
        return groups

    async def _name(self, name: str, definition: Document) -> None:
        group = definition["spec"]["group"]
        others = [one for key, (_, one) in self._known.items() if key != name and one["spec"]["group"] == group]
        names, named = accepted_names(definition, others)
        status = section(definition, "status")
        conditions = with_conditions(definition, (named, established(definition, named)), self._now())
        if names != status.get("acceptedNames") or conditions != status.get("conditions"):
            told = {**status, "acceptedNames": names, "conditions": conditions}
            await self._write({**definition, "status": told})

    async def _clean_up(self, name: str) -> None:
        """Delete the objects of a definition's kind, wait until none is left, and let the definition go."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                if await self._cleaned_up(name):
                    return
            except ApiError as error:
                FAILURES.inc()
                log.warning("the objects of %s could not be deleted, next try in %.1f s: %s", name, backoff, error)
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, _MAX_BACKOFF)

    async def _cleaned_up(self, name: str) -> bool:
        await self._cache.catch_up()
        item = self._cache.get(self._definitions.key("", name))
        if item is None:
            return True
        definition = to_document(item.json)
        self._follower.sync()
        resource = self._follower.stored(name)
        if resource is None:
            return await self._finish(definition, "NeverEstablished", "resource was never established")
        if (condition(definition, "Terminating") or {}).get("reason") != "InstanceDeletionInProgress":
            self._set_terminating(definition, "True", "InstanceDeletionInProgress", _IN_PROGRESS)
            await self._write(definition)
            return False  # every process refuses creations only once it knows
        body, options = b"", WriteOptions(fence=self._fence())
        await self._pipeline.delete_collection(APISERVER, resource, "", "", "", body, options)
        await self._cache.catch_up()
        if self._cache.select(resource.group, resource.plural):
            return False
        return await self._finish(definition, "InstanceDeletionCompleted", "removed all instances")

    async def _finish(self, definition: Document, reason: str, message: str) -> bool:
        self._set_terminating(definition, "False", reason, message)
        metadata = definition["metadata"]
        metadata["finalizers"] = [one for one in metadata.get("finalizers") or () if one != CLEANUP_FINALIZER]
        return await self._write(definition)

    def _set_terminating(self, definition: Document, status: str, reason: str, message: str) -> None:
        wanted = {"type": "Terminating", "status": status, "reason": reason, "message": message}
        put_section(definition, "status")["conditions"] = with_conditions(definition, (wanted,), self._now())

    async def _write(self, definition: Document) -> bool:
        """Write a definition's status; when it has changed meanwhile its change brings it here again."""
        options = WriteOptions(field_manager=_MANAGER, fence=self._fence())
        name: str = section(definition, "metadata")["name"]
        with contextlib.suppress(ConflictError, NotFoundError):
            await self._pipeline.update(
                APISERVER, self._definitions, "", name, to_json(definition), options, subresource="status"
            )
            return True
        return False

    @property
    def _definitions(self) -> Resource:
        found = self._registry.stored(GROUP, PLURAL)
        if found is None:
            raise LookupError("the registry has no definitions")
        return found

    def _fence(self) -> Compare | None:
        fence = self._elector.fence()
        return None if fence is None else Compare(fence.key.encode(), fence.create_revision)

    def _now(self) -> str:
        return rfc3339(self._clock.now())


_IN_PROGRESS: Final = "CustomResource deletion is in progress"
