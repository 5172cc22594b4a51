"""How services read and write objects: through the api, over the bus.

`Client` is the protocol; `BusClient` (below) sends protobuf requests to the api's micro service.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol, TypeVar

import msgspec
from google.protobuf.message import Message as ProtoMessage

from orch.bus import rpc
from orch.bus.protocol import Bus
from orch.errors import ApiError, BusError, UnavailableError
from orch.objects.meta import View
from orch.objects.scheme import Kind, ObjectT
from orch.telemetry import current_trace
from orch_pb.v1 import preemption_pb2, rpc_pb2

ReplyT = TypeVar("ReplyT", bound=ProtoMessage)
SealedT = TypeVar("SealedT", rpc_pb2.WriteReply, rpc_pb2.ListReply)

Body = Mapping[str, Any] | msgspec.Struct
"""What is sent as an object or a patch: encoded as JSON; msgspec.Raw inside is copied as it is."""


class Client(Protocol):
    """Typed requests to the api under this service's identity.

    Each method raises the ApiError that the api answers, or UnavailableError when the api cannot be reached in time.
    A leader's client carries its fence: a write after leadership was lost raises ConflictError and changes nothing.
    The trace context of the current span travels with every request.
    """

    async def get(self, kind: Kind[ObjectT], namespace: str, name: str, *, subresource: str = "") -> ObjectT:
        """Return the object or a subresource of it, read consistently."""
        ...

    async def list(
        self, kind: Kind[ObjectT], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[ObjectT]:
        """Return the objects of one namespace, or ("") of all, read consistently."""
        ...

    async def create(
        self, kind: Kind[ObjectT], namespace: str, body: Body, *, name: str = "", subresource: str = ""
    ) -> ObjectT:
        """Create an object; `metadata.name` or `metadata.generateName` is in `body`.

        With `name` and `subresource`, post to an object's subresource; `kind` is then read through the answer's view.
        """
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

    async def preempt(self, pods: Sequence[preemption_pb2.Preempted]) -> list[rpc_pb2.WriteReply]:
        """Make pods go for more important ones, in one batch; each succeeds or fails alone (`status`)."""
        ...

    async def kinds(self) -> list[rpc_pb2.ServedKind]:
        """Return the kinds of which the api keeps objects, those of custom resources included."""
        ...


class FenceSource(Protocol):
    """Where a leader's client takes the proof of its leadership from."""

    def fence(self) -> rpc_pb2.Fence | None:
        """Return the current fence; None when this service is not subject to election."""
        ...


class Seal(Protocol):
    """How secrets are read and written: orch.bus.sealing.SealingKey."""

    def recipient(self) -> rpc_pb2.Recipient:
        """Return what a request says of the key."""
        ...

    def open(self, user: str, sealed: rpc_pb2.Sealed) -> bytes:
        """Return what was sealed to the key for `user`."""
        ...

    def seal_body(self, user: str, request: rpc_pb2.WriteRequest, body: bytes) -> None:
        """Put a body into a request, sealed to what is known of the api's keys."""
        ...

    def learn(self, key: rpc_pb2.Recipient) -> None:
        """Remember a key of the api."""
        ...


class Preconditions(View, frozen=True):
    """What must hold for a deletion to happen (metav1.Preconditions)."""

    uid: str = ""
    resource_version: str = ""


class DeleteOptions(View, frozen=True, tag_field="kind", tag="DeleteOptions"):
    """metav1.DeleteOptions."""

    api_version: str
    preconditions: Preconditions | None = None
    grace_period_seconds: int | None = None
    propagation_policy: str = ""


class BusClient:
    """A Client over the bus: protobuf requests to whichever api process is free, a bounded number at a time.

    Without a `seal` it neither writes nor is given Secrets, and is given no tokens of accounts.
    """

    def __init__(
        self, bus: Bus, *, fence: FenceSource | None = None, seal: Seal | None = None, timeout: float = 5
    ) -> None:
        self._bus = bus
        self._fence = fence
        self._seal = seal
        self._timeout = timeout
        self._turns = asyncio.Semaphore(_IN_FLIGHT)

    async def get(self, kind: Kind[ObjectT], namespace: str, name: str, *, subresource: str = "") -> ObjectT:
        """Return the object or a subresource of it, read consistently."""
        request = rpc_pb2.GetRequest(ref=_ref(kind, namespace, name, subresource), trace=current_trace())
        reply = await self._ask("get", request, rpc_pb2.WriteReply)
        return _decode(kind, _checked(reply).json)

    async def list(
        self, kind: Kind[ObjectT], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[ObjectT]:
        """Return the objects of one namespace, or ("") of all, read consistently, page by page."""
        request = rpc_pb2.ListRequest(
            ref=_ref(kind, namespace, ""),
            label_selector=label_selector,
            field_selector=field_selector,
            limit=_PAGE,
            trace=current_trace(),
        )
        found: builtins.list[ObjectT] = []
        while True:
            reply = await self._ask("list", request, rpc_pb2.ListReply)
            _check(reply.status)
            found.extend(_decode(kind, item) for item in reply.items)
            if not reply.continue_token:
                return found
            request.continue_token = reply.continue_token

    async def create(
        self, kind: Kind[ObjectT], namespace: str, body: Body, *, name: str = "", subresource: str = ""
    ) -> ObjectT:
        """Create an object, or post to a subresource; see Client."""
        return _decode(kind, await self._write(rpc_pb2.CREATE, _ref(kind, namespace, name, subresource), body))

    async def update(
        self, kind: Kind[ObjectT], namespace: str, name: str, body: Body, *, subresource: str = ""
    ) -> ObjectT:
        """Replace the object or a subresource. With metadata.resourceVersion, only that version."""
        return _decode(kind, await self._write(rpc_pb2.UPDATE, _ref(kind, namespace, name, subresource), body))

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
        """Apply a JSON merge patch (or strategic merge patch); see Client."""
        verb = rpc_pb2.STRATEGIC_MERGE_PATCH if strategic else rpc_pb2.MERGE_PATCH
        return _decode(kind, await self._write(verb, _ref(kind, namespace, name, subresource), patch))

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
        conditions = Preconditions(uid=uid, resource_version=resource_version) if uid or resource_version else None
        options = DeleteOptions(
            api_version="v1",
            preconditions=conditions,
            grace_period_seconds=grace_period,
            propagation_policy=propagation,
        )
        await self._write(rpc_pb2.DELETE, _ref(kind, namespace, name), options)

    async def bind(self, bindings: Sequence[rpc_pb2.Binding]) -> list[rpc_pb2.WriteReply]:
        """Bind pods to nodes in one batch; each succeeds or fails alone (`status` holds its failure)."""
        request = rpc_pb2.BindRequest(bindings=bindings, fence=self._proof())
        trace = current_trace()
        for binding in request.bindings:
            if trace is not None and not binding.HasField("trace"):
                binding.trace.CopyFrom(trace)
        reply = await self._call("bind", request, rpc_pb2.BindReply)
        if len(reply.results) != len(bindings):
            raise BusError(f"the api answered {len(reply.results)} results for {len(bindings)} bindings")
        return list(reply.results)

    async def preempt(self, pods: Sequence[preemption_pb2.Preempted]) -> list[rpc_pb2.WriteReply]:
        """Make pods go for more important ones, in one batch; each succeeds or fails alone (`status`)."""
        request = preemption_pb2.PreemptRequest(pods=pods, fence=self._proof())
        reply = await self._call("preempt", request, preemption_pb2.PreemptReply)
        if len(reply.results) != len(pods):
            raise BusError(f"the api answered {len(reply.results)} results for {len(pods)} pods to preempt")
        return list(reply.results)

    async def kinds(self) -> list[rpc_pb2.ServedKind]:
        """Return the kinds of which the api keeps objects, those of custom resources included."""
        reply = await self._call("kinds", rpc_pb2.KindsRequest(), rpc_pb2.KindsReply)
        _check(reply.status)
        return list(reply.kinds)

    async def _write(self, verb: rpc_pb2.WriteVerb, ref: rpc_pb2.ObjectRef, body: Body) -> bytes:
        request = rpc_pb2.WriteRequest(
            verb=verb, ref=ref, body=msgspec.json.encode(body), fence=self._proof(), trace=current_trace()
        )
        send = self._write_sealed if rpc.sends_secrets(ref) else self._write_plain
        return _checked(await send(request)).json

    async def _write_plain(self, request: rpc_pb2.WriteRequest) -> rpc_pb2.WriteReply:
        return await self._ask("write", request, rpc_pb2.WriteReply)

    async def _write_sealed(self, request: rpc_pb2.WriteRequest) -> rpc_pb2.WriteReply:
        """Write what the api alone may read; a process of it whose key is not known yet tells it and does nothing."""
        body = request.body
        request.ClearField("body")
        for _ in range(_LESSONS):
            if self._seal is not None:
                self._seal.seal_body(self._bus.user, request, body)
            reply = await self._ask("write", request, rpc_pb2.WriteReply)
            if self._seal is None or not reply.HasField("api_key"):
                return reply
            self._seal.learn(reply.api_key)
        raise UnavailableError(f"none of {_LESSONS} processes of the api had the key that another one told")

    async def _ask(
        self,
        verb: str,
        request: rpc_pb2.GetRequest | rpc_pb2.ListRequest | rpc_pb2.WriteRequest,
        reply: type[SealedT],
    ) -> SealedT:
        """Ask about objects; an answer that holds secrets comes sealed to this client's key."""
        if self._seal is not None and rpc.holds_secrets(request.ref):
            request.recipient.CopyFrom(self._seal.recipient())
        answer = await self._call(verb, request, reply)
        if not answer.HasField("sealed"):
            return answer
        if self._seal is None:
            raise BusError("the api's answer is sealed, and no key was named for it")
        return rpc.parse(reply, self._seal.open(self._bus.user, answer.sealed), "what the api sealed")

    async def _call(self, verb: str, request: ProtoMessage, reply: type[ReplyT]) -> ReplyT:
        """Ask the api in turn: requests that all went out at once would all be answered too late."""
        if self._turns.locked():
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._turns.acquire()
            except TimeoutError as error:
                raise UnavailableError(f"{_IN_FLIGHT} requests before this one were not answered in time") from error
        else:
            await self._turns.acquire()  # at once, without a timer for it
        try:
            return await rpc.call(self._bus, verb, request, reply, timeout=self._timeout)
        finally:
            self._turns.release()

    def _proof(self) -> rpc_pb2.Fence | None:
        return self._fence.fence() if self._fence is not None else None


_IN_FLIGHT: Final = 256
"""Requests that one client has under way: a fraction of a second's work for the api."""

_LESSONS: Final = 64
"""Times that a request is sent anew with another key of the api: one for each of its processes, at most."""

_PATIENCE: Final = 60.0
"""Seconds that a request waits for its turn."""

_PAGE: Final = 500
"""Objects in one answer: some megabytes at most, as the bus takes."""


def _ref(kind: Kind[Any], namespace: str, name: str, subresource: str = "") -> rpc_pb2.ObjectRef:
    return rpc_pb2.ObjectRef(
        group=kind.group,
        version=kind.version,
        resource=kind.resource,
        namespace=namespace,
        name=name,
        subresource=subresource,
    )


def _check(status: bytes) -> None:
    if status:
        raise ApiError.decode(status)


def _checked(reply: rpc_pb2.WriteReply) -> rpc_pb2.WriteReply:
    _check(reply.status)
    return reply


@cache
def _decoder(view: type[ObjectT]) -> msgspec.json.Decoder[ObjectT]:
    return msgspec.json.Decoder(view)


def _decode(kind: Kind[ObjectT], json: bytes) -> ObjectT:
    try:
        return _decoder(kind.view).decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BusError(f"the api's answer is not a {kind.name}: {error}") from error
