"""What is read but not stored: answers that are found out when somebody asks, by the kind that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orch.errors import NotFoundError
from orch.store.keys import ObjectKey
from orch_api.components import Components, Document
from orch_api.kinds.component_statuses import KIND as COMPONENT_STATUS
from orch_api.registry import Resource
from orch_api.storage.objects import Cached
from orch_api.usage import Usage


class Computed:
    """Finds the documents of kinds that are read but not stored."""

    def __init__(self, usage: Usage, components: Components) -> None:
        self._usage = usage
        self._components = components

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """Return one document in JSON. Raises NotFoundError."""
        if resource.kind != COMPONENT_STATUS:
            return self._usage.get(resource, namespace, name)
        for document in await self._components.documents():
            if document["metadata"]["name"] == name:
                return msgspec.json.encode(document)
        raise NotFoundError.of(resource.singular, resource.group, name)

    async def documents(self, resource: Resource, namespace: str) -> Sequence[tuple[Cached, Document]]:
        """Return each document with what selectors select it by."""
        if resource.kind != COMPONENT_STATUS:
            return list(self._usage.documents(resource, namespace))
        return [(_selectable(resource, one), one) for one in await self._components.documents()]


def _selectable(resource: Resource, document: Document) -> Cached:
    key = ObjectKey(resource.group, resource.plural, "", document["metadata"]["name"])
    return Cached(key, "", 0, msgspec.json.encode(document), {})
