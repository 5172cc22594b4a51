"""Documents of kinds that are served in several versions, on their way between a request and the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orch_api.registry import Resource
from orch_api.storage.objects import to_document, to_json

Document = dict[str, Any]


async def as_stored(resource: Resource, document: Document) -> Document:
    """Return a document of the served version in the one that is stored. Raises ApiError."""
    if resource.conversion is None:
        return document
    (converted,) = await resource.conversion.to_storage((document,))
    return converted


async def as_served(resource: Resource, document: Document) -> Document:
    """Return a stored document in the version that is served. Raises ApiError."""
    if resource.conversion is None:
        return document
    (converted,) = await resource.conversion.to_served((document,))
    return converted


def judge_of(resource: Resource) -> Resource:
    """Return in which version documents are validated: a user-defined kind's in that of the request."""
    return resource if resource.schema is not None else resource.storage


async def as_judged(resource: Resource, document: Document) -> Document:
    """Return a stored document in the version in which it is validated. Raises ApiError."""
    return document if resource.schema is None else await as_served(resource, document)


async def served_documents(resource: Resource, stored: Sequence[bytes]) -> Sequence[Document]:
    """Return stored documents in the version that is served, all converted at once. Raises ApiError."""
    documents = [to_document(one) for one in stored]
    if resource.conversion is None or not documents:
        return documents
    return await resource.conversion.to_served(documents)


async def served_json(resource: Resource, stored: Sequence[bytes]) -> Sequence[bytes]:
    """Return stored documents in JSON in the version that is served, all converted at once. Raises ApiError."""
    if resource.conversion is None or not stored:
        return stored
    return [to_json(one) for one in await served_documents(resource, stored)]
