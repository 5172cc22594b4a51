"""Local APIServices: one for every group and version that the api serves itself, so that clients see all in one place.

Those of the built-in groups are there from the start; those of definitions come and go with them (kube-apiserver's
autoregister and crdregistration controllers). Others' APIServices are left alone: who is kept is told by a label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from orch.errors import AlreadyExistsError, NotFoundError
from orch_api.auth.identity import APISERVER
from orch_api.group_order import CUSTOM, FIRST, PLACES, Place
from orch_api.kinds.api_services import GROUP, PLURAL
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.resource import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_json
from orch_api.strategy import Document

LABEL: Final = "kube-aggregator.kubernetes.io/automanaged"

_ALWAYS: Final = "true"
_FROM_THE_START: Final = "onstart"


def built_in(resources: Iterable[Resource]) -> Iterator[Document]:
    """Yield the APIServices of the groups and versions of built-in resources."""
    for group, version in sorted({one.group_version for one in resources}):
        if group != FIRST:
            yield _local(group, version, PLACES.get((group, version), CUSTOM), _FROM_THE_START)


class Registrations:
    """Keeps the APIServices of definitions."""

    def __init__(self, cache: ObjectCache, pipeline: Pipeline, registry: Registry) -> None:
        self._cache = cache
        self._pipeline = pipeline
        self._registry = registry

    async def keep(self, definitions: Iterable[Document], options: WriteOptions) -> None:
        """Create what is missing, delete what stands for nothing any more. Raises ApiError."""
        resource = self._registry.stored(GROUP, PLURAL)
        if resource is None:
            return
        wanted = {f"{version}.{group}": (group, version) for group, version in _served(definitions)}
        present: set[str] = set()
        for item in self._cache.select(GROUP, PLURAL):
            name = item.key.name
            present.add(name)
            if item.labels.get(LABEL) == _ALWAYS and name not in wanted:
                with contextlib.suppress(NotFoundError):
                    await self._pipeline.delete(APISERVER, resource, "", name, b"", options)
        for name in wanted.keys() - present:
            group, version = wanted[name]
            document = to_json(_local(group, version, CUSTOM, _ALWAYS))
            with contextlib.suppress(AlreadyExistsError):
                await self._pipeline.create(APISERVER, resource, "", document, options)


def _served(definitions: Iterable[Document]) -> Iterator[tuple[str, str]]:
    for definition in definitions:
        spec: Document = definition["spec"]
        for version in spec["versions"]:
            if version.get("served"):
                yield spec["group"], version["name"]


def _local(group: str, version: str, place: Place, kept: str) -> Document:
    return {
        "metadata": {"name": f"{version}.{group}", "labels": {LABEL: kept}},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": place.group,
            "versionPriority": place.version,
        },
    }
