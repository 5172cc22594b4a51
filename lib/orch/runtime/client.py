"""How services read and write objects: through the api, over the bus.

`Client` is the protocol; `BusClient` (below) sends protobuf requests to the api's micro service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from orch_pb.v1 import object_pb2, rpc_pb2

from orch.objects.scheme import Kind, ObjectT

Body = Mapping[str, Any] | msgspec.Struct
"""What is sent as an object or a patch: encoded as JSON; msgspec.Raw inside is copied as it is."""


class Client(Protocol):
    """Typed requests to the api under this service's identity.

    Each method raises the ApiError that the api answers, or UnavailableError when the api cannot be reached in time.
    A leader's client carries its fence: a write after leadership was lost raises ConflictError and changes nothing.
    The trace context of the current span travels with every request.
    """

    async def get(self, kind: Kind[ObjectT], namespace: str, name: str) -> ObjectT:
        """Return the object, read consistently."""
        ...

    async def list(
        self, kind: Kind[ObjectT], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[ObjectT]:
        """Return the objects of one namespace, or ("") of all, read consistently."""
        ...

    async def create(self, kind: Kind[ObjectT], namespace: str, body: Body) -> ObjectT:
        """Create an object; `metadata.name` or `metadata.generateName` is in `body`."""
        ...

    async def update(
        self, kind: Kind[ObjectT], namespace: str, name: str, body: Body, *, subresource: str = ""
    ) -> ObjectT:
        """Replace the object or a subresource. With metadata.resourceVersion, only that version."""
        ...

    async def patch(
        self,
        kind: Kind[ObjectT],
        namespace: str,
        name: str,
        patch: Body,
        *,
        subresource: str = "",
        strategic: bool = False,
    ) -> ObjectT:
        """Apply a JSON merge patch (or strategic merge patch).

        With metadata.resourceVersion in the patch, only to that version; with metadata.uid, only to that object.
        """
        ...

    async def delete(
        self,
        kind: Kind[ObjectT],
        namespace: str,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: str = "",
    ) -> None:
        """Delete the object, only if `uid` and `resource_version` match when given. NotFoundError if it is gone."""
        ...

    async def bind(self, bindings: Sequence[rpc_pb2.Binding]) -> list[rpc_pb2.WriteReply]:
        """Bind pods to nodes in one batch; each succeeds or fails alone (`status` holds its failure)."""
        ...


class FenceSource(Protocol):
    """Where a leader's client takes the proof of its leadership from."""

    def fence(self) -> rpc_pb2.Fence | None:
        """Return the current fence; None when this service is not subject to election."""
        ...


def trace_context() -> object_pb2.TraceContext | None:
    """Return the current span's context for a message, None outside any span."""
    raise NotImplementedError
