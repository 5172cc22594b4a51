"""The objects of a kind as a plugin reads them, decoded again only when one of them changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from orch_api.storage.cache import ObjectCache

ViewT = TypeVar("ViewT")


class Known(Generic[ViewT]):
    """All objects of a kind that has no namespaces and few objects, by name."""

    def __init__(self, cache: ObjectCache, group: str, plural: str, decode: Callable[[bytes], ViewT]) -> None:
        self._cache = cache
        self._kind = (group, plural)
        self._decode = decode
        self._found: Mapping[str, ViewT] = {}
        self._at = -1

    def all(self) -> Mapping[str, ViewT]:
        """Return the objects that the cache has, by name."""
        changed = self._cache.changed(*self._kind)
        if changed != self._at:
            self._found = {item.key.name: self._decode(item.json) for item in self._cache.select(*self._kind)}
            self._at = changed
        return self._found

    async def find(self, name: str) -> ViewT | None:
        """Return one object, also when it was created a moment ago through another process."""
        found = self.all().get(name)
        if found is None:
            await self._cache.catch_up()
            found = self.all().get(name)
        return found
