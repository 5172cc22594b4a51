"""What an agent asks of the api by name; the one place where it reads Secrets, in whatever form they come."""

from __future__ import annotations

from typing import Protocol

from orch.objects.cluster import Secret
from orch.objects.scheme import SECRETS, Kind, ObjectT


class ObjectReader(Protocol):
    """The part of the api's client by which single objects are read."""

    async def get(self, kind: Kind[ObjectT], namespace: str, name: str) -> ObjectT:
        """Return the object. Raises NotFoundError."""
        ...


async def read_secret(reader: ObjectReader, namespace: str, name: str) -> Secret:
    """Return a Secret. It is never logged, and kept on no disk. Raises NotFoundError."""
    return await reader.get(SECRETS, namespace, name)
