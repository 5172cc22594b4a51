"""Replacing an object, which for some kinds makes one that is not there (AllowCreateOnUpdate of strategies).

Clients of Kubernetes' API may lean on it. orch's own services do not: what they update on the bus is there, or gone.
"""

from __future__ import annotations

from typing import Final

from orch.errors import AlreadyExistsError, NotFoundError
from orch_api.auth.identity import Caller
from orch_api.pipeline.changing import Changing
from orch_api.pipeline.creation import Creation
from orch_api.pipeline.parts import Outcome, Parts, WriteOptions
from orch_api.registry import Resource

_ATTEMPTS: Final = 4
"""An object may come between being missed and being made, and go again."""


class Replacing:
    """Replaces objects."""

    def __init__(self, parts: Parts, changing: Changing, creation: Creation) -> None:
        self._parts = parts
        self._changing = changing
        self._creation = creation

    async def replace(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        subresource: str,
    ) -> Outcome:
        """Replace an object or a subresource; of some kinds an object that is not there is made. Raises ApiError."""
        makes = resource.storage.strategy.made_by_update and not subresource
        for attempt in range(_ATTEMPTS):
            try:
                return await self._changing.update(caller, resource, namespace, name, body, options, subresource)
            except NotFoundError:
                if not makes or self._parts.cache.get(resource.key(namespace, name)) is not None:
                    raise
            try:
                return await self._creation.create_replacing(caller, resource, namespace, name, body, options)
            except AlreadyExistsError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")
