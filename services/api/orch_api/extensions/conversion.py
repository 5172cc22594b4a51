"""How documents of a definition's versions become one another: by their apiVersion alone, or by a webhook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from orch_api.extensions.documents import CustomSchema
from orch_api.patch.documents import clone

Document = dict[str, Any]


class Converter(Protocol):
    """Turns documents of any version of a kind into another."""

    async def convert(self, documents: Sequence[Document], api_version: str) -> list[Document]:
        """Return the documents in `api_version`, in order. Raises ApiError."""
        ...


class NoConverter:
    """The versions differ in their name only."""

    async def convert(self, documents: Sequence[Document], api_version: str) -> list[Document]:
        """Return the documents with another apiVersion."""
        return [document | {"apiVersion": api_version} for document in documents]


class VersionConversion:
    """The way between one served version and the stored one (orch_api.resource.Conversion)."""

    def __init__(self, converter: Converter, served: CustomSchema, stored: CustomSchema) -> None:
        self._converter = converter
        self._served = served
        self._stored = stored

    async def to_storage(self, documents: Sequence[Document]) -> list[Document]:
        """Return documents of the served version as the stored one. Raises ApiError."""
        return await self._converter.convert(documents, _api_version(self._stored))

    async def to_served(self, documents: Sequence[Document]) -> list[Document]:
        """Return stored documents as the served version: pruned and defaulted by its schema. Raises ApiError.

        What is stored may be older than the schema, and of any version that was the stored one at some time.
        """
        converted = await self._converter.convert(documents, _api_version(self._served))
        result: list[Document] = []
        for document in converted:
            shown = clone(document)
            self._served.complete(shown)
            result.append(shown)
        return result


def _api_version(schema: CustomSchema) -> str:
    return f"{schema.group}/{schema.version}"
