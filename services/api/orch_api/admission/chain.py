"""The one chain that every write passes: plugins in order, each may change the document, then each may refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from orch_api.auth.identity import Caller
from orch_api.registry import Resource

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Request(msgspec.Struct, frozen=True):
    """A write on its way. `document` is None for a deletion, `old` for a creation; `name` is "" until generated."""

    caller: Caller
    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    document: dict[str, Any] | None
    old: dict[str, Any] | None
    dry_run: bool = False


class Admission(Protocol):
    """One plugin."""

    async def mutate(self, request: Request) -> None:
        """Change `request.document` in place. Raises ApiError to refuse."""
        ...

    async def validate(self, request: Request) -> None:
        """Look at the document as it will be stored. Raises ApiError to refuse."""
        ...


class Chain:
    """The plugins in their order."""

    def __init__(self, plugins: Sequence[Admission] = ()) -> None:
        self._plugins = tuple(plugins)

    async def mutate(self, request: Request) -> None:
        """Let each plugin change the document. Raises the first refusal."""
        for plugin in self._plugins:
            await plugin.mutate(request)

    async def validate(self, request: Request) -> None:
        """Let each plugin look at the result. Raises the first refusal."""
        for plugin in self._plugins:
            await plugin.validate(request)
