"""The api's endpoints on the bus, under the rights of the user whom the subject names."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from prometheus_client import Counter

from orch import telemetry
from orch.bus import rpc
from orch.bus.protocol import Bus, Subscription
from orch.bus.sealed_requests import RequestKeys
from orch.bus.sealing import seal
from orch.errors import (
    ApiError,
    BadRequestError,
    ForbiddenError,
    InternalError,
    NotFoundError,
    ServiceUnavailableError,
    UnavailableError,
)
from orch.store.keys import ObjectKey
from orch.store.protocol import Compare
from orch_api.auth.attributes import Attributes
from orch_api.auth.audit_notes import NOTES, AuditNotes
from orch_api.auth.authorizer import Authorizer, attributes
from orch_api.auth.identity import Caller, caller_on_bus
from orch_api.pipeline import Outcome, Pipeline, WriteOptions
from orch_api.recipients import Recipients
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.read import ListOptions, Reader
from orch_api.storage.versions import served_json
from orch_pb.v1 import rpc_pb2
from orch_pb.v1.object_pb2 import TraceContext
from orch_pb.v1.preemption_pb2 import Preempted, PreemptReply, PreemptRequest
from orch_pb.v1.rpc_pb2 import (
    Binding,
    BindReply,
    BindRequest,
    Fence,
    GetRequest,
    KindsReply,
    KindsRequest,
    ListReply,
    ListRequest,
    ObjectRef,
    ServedKind,
    VersionsReply,
    VersionsRequest,
    WriteReply,
    WriteRequest,
)

log = logging.getLogger(__name__)

REQUESTS: Final = Counter("orch_api_rpc_requests", "Requests on the bus", ("verb", "code"))

_PAGE: Final = 500
_PAGE_BYTES: Final = 4 << 20
"""An answer must fit into one message of the bus, which takes 8 MiB."""

ReplyT = TypeVar("ReplyT", WriteReply, ListReply, VersionsReply)
SealedT = TypeVar("SealedT", WriteReply, ListReply)


Asked = GetRequest | ListRequest | WriteRequest

_VERBS: Final[Mapping[int, str]] = {
    rpc_pb2.CREATE: "create",
    rpc_pb2.UPDATE: "update",
    rpc_pb2.MERGE_PATCH: "patch",
    rpc_pb2.STRATEGIC_MERGE_PATCH: "patch",
    rpc_pb2.DELETE: "delete",
}


class DenialLog(Protocol):
    """The audit log, as far as the bus is concerned."""

    def denied(self, caller: Caller, asked: Attributes, notes: AuditNotes, failure: ApiError) -> None:
        """Record what was refused to somebody."""
        ...


class RpcEndpoints:
    """Serves the verbs."""

    def __init__(
        self,
        registry: Registry,
        pipeline: Pipeline,
        reader: Reader,
        cache: ObjectCache,
        authorizer: Authorizer,
        recipients: Recipients,
        request_keys: RequestKeys,
    ) -> None:
        self._registry = registry
        self._pipeline = pipeline
        self._reader = reader
        self._cache = cache
        self._authorizer = authorizer
        self._recipients = recipients
        self._request_keys = request_keys
        self.denials: DenialLog | None = None
        """Who is told of denials, once there is an audit log."""

    async def serve(self, bus: Bus) -> list[Subscription]:
        """Begin to answer; the caller stops the subscriptions."""
        return [
            await rpc.serve(bus, "get", GetRequest, self.get),
            await rpc.serve(bus, "list", ListRequest, self.list),
            await rpc.serve(bus, "versions", VersionsRequest, self.versions),
            await rpc.serve(bus, "write", WriteRequest, self.write),
            await rpc.serve(bus, "bind", BindRequest, self.bind),
            await rpc.serve(bus, "preempt", PreemptRequest, self.preempt),
            await rpc.serve(bus, "kinds", KindsRequest, self.kinds),
        ]

    async def get(self, user: str, request: GetRequest) -> WriteReply:
        """Answer with one object."""

        async def answer(caller: Caller) -> WriteReply:
            with telemetry.span("api.rpc get", parent=_parent(request)):
                resource = self._resource(request.ref)
                ref = request.ref
                await self._cache.catch_up()  # what a node may read depends on the pods that are bound to it
                await self._authorizer.permit(caller, "get", resource, ref.namespace, ref.name, ref.subresource)
                if ref.subresource not in {"", "status"}:
                    outcome = await self._pipeline.get_subresource(resource, ref.namespace, ref.name, ref.subresource)
                    return WriteReply(revision=outcome.version, json=outcome.json)
                item = await self._reader.get(resource, ref.namespace, ref.name, "0")
                (json,) = await served_json(resource, (item.json,))
                return WriteReply(revision=item.version, json=json)

        return await self._answered("get", user, request, answer, WriteReply)

    async def list(self, user: str, request: ListRequest) -> ListReply:
        """Answer with a page of objects."""

        async def answer(caller: Caller) -> ListReply:
            with telemetry.span("api.rpc list", parent=_parent(request)):
                resource = self._resource(request.ref)
                selected = (request.label_selector, request.field_selector)
                await self._authorizer.permit(caller, "list", resource, request.ref.namespace, "", selectors=selected)
                options = ListOptions(
                    label_selector=request.label_selector,
                    field_selector=request.field_selector,
                    limit=request.limit or _PAGE,
                    continue_token=request.continue_token,
                    max_bytes=_PAGE_BYTES,
                )
                page = await self._reader.list_page(resource, request.ref.namespace, options)
                return ListReply(
                    revision=page.version,
                    items=await served_json(resource, [item.json for item in page.items]),
                    continue_token=page.continue_token,
                )

        return await self._answered("list", user, request, answer, ListReply)

    async def versions(self, user: str, request: VersionsRequest) -> VersionsReply:
        """Answer with the versions that objects have, as far as this process knows: it costs the store nothing."""

        async def answer(caller: Caller) -> VersionsReply:
            if len(request.refs) > _PAGE:
                raise BadRequestError(f"versions of at most {_PAGE} objects can be asked for at once")
            return VersionsReply(revisions=[await self._version(caller, ref) for ref in request.refs])

        return await self._guarded("versions", user, None, answer, VersionsReply)

    async def _version(self, caller: Caller, ref: ObjectRef) -> int:
        resource = self._resource(ref)
        try:
            await self._authorizer.permit(caller, "get", resource, ref.namespace, ref.name)
        except ForbiddenError:
            return 0
        found = self._cache.get(ObjectKey(resource.group, resource.plural, ref.namespace, ref.name))
        return 0 if found is None else found.version

    async def write(self, user: str, request: WriteRequest) -> WriteReply:
        """Create, update, patch or delete one object, and answer with what it is now."""

        async def answer(caller: Caller) -> WriteReply:
            resource = self._resource(request.ref)
            if rpc.sends_secrets(request.ref) and not self._opened(user, request):
                return WriteReply(api_key=self._request_keys.recipient())
            agent = "kubelet" if caller.node else user.removeprefix("system:")
            options = WriteOptions(agent=agent, trace=_parent(request), fence=_compare(request.fence))
            outcome = await self._write(caller, resource, request, options)
            return WriteReply(revision=outcome.version, json=outcome.json)

        return await self._answered("write", user, request, answer, WriteReply)

    def _opened(self, user: str, request: WriteRequest) -> bool:
        """Put the sealed body of a request in its place; False when it is not sealed to this process."""
        try:
            body = self._request_keys.open(user, request)
        except ValueError as error:
            raise BadRequestError(str(error)) from error
        if body is None:
            return False
        request.body = body
        return True

    async def _write(self, caller: Caller, resource: Resource, request: WriteRequest, options: WriteOptions) -> Outcome:
        do, ref, body = self._pipeline, request.ref, request.body
        where = (caller, resource, ref.namespace)
        subresource = ref.subresource
        match request.verb:
            case rpc_pb2.CREATE:
                return await do.create(*where, body, options, subresource=subresource, name=ref.name)
            case rpc_pb2.UPDATE:
                return await do.update(*where, ref.name, body, options, subresource=subresource)
            case rpc_pb2.MERGE_PATCH:
                return await do.patch(*where, ref.name, body, "merge", options, subresource=subresource)
            case rpc_pb2.STRATEGIC_MERGE_PATCH:
                return await do.patch(*where, ref.name, body, "strategic", options, subresource=subresource)
            case rpc_pb2.DELETE:
                return await do.delete(*where, ref.name, body, options)
            case _:
                raise NotFoundError.path()

    async def bind(self, user: str, request: BindRequest) -> BindReply:
        """Bind a batch of pods."""
        caller = caller_on_bus(user)
        try:
            results = await self._pipeline.bind(caller, request.bindings, _compare(request.fence))
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            status = _as_api_error(error, "bind").encode()
            results = [WriteReply(status=status) for _ in request.bindings]
        else:
            REQUESTS.labels("bind", "200").inc()
        self._record_each(caller, "create", request.bindings, "binding", results)
        return BindReply(results=results)

    async def preempt(self, user: str, request: PreemptRequest) -> PreemptReply:
        """Make a batch of pods go for more important ones."""
        agent, fence = user.removeprefix("system:"), _compare(request.fence)
        caller = caller_on_bus(user)
        try:
            results = await self._pipeline.preempt(caller, request.pods, agent, fence)
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            status = _as_api_error(error, "preempt").encode()
            results = [WriteReply(status=status) for _ in request.pods]
        else:
            REQUESTS.labels("preempt", "200").inc()
        self._record_each(caller, "delete", request.pods, "", results)
        return PreemptReply(results=results)

    async def kinds(self, user: str, request: KindsRequest) -> KindsReply:
        """Answer with the kinds of which there are objects."""
        _ = user, request  # what is served is no secret: everyone who is on the bus may read discovery
        kinds = [
            ServedKind(
                group=one.group,
                version=one.version,
                resource=one.plural,
                kind=one.kind,
                namespaced=one.namespaced,
                verbs=sorted(one.verbs),
            )
            for one in self._registry.kept()
        ]
        REQUESTS.labels("kinds", "200").inc()
        return KindsReply(kinds=kinds)

    async def _answered(
        self,
        verb: str,
        user: str,
        request: Asked,
        answer: Callable[[Caller], Awaitable[SealedT]],
        reply: type[SealedT],
    ) -> SealedT:
        """Return the answer; one that holds secrets is sealed, and what cannot be sealed is not even begun."""
        if not rpc.holds_secrets(request.ref):
            return await self._guarded(verb, user, request, answer, reply)
        try:
            key = self._recipients.key_of(user, request.recipient)
        except ApiError as error:
            self._record(caller_on_bus(user), _verb(verb, request), request.ref, AuditNotes(), error)
            return reply(status=_as_api_error(error, verb).encode())
        answered = await self._guarded(verb, user, request, answer, reply)
        return reply(sealed=seal(answered.SerializeToString(), user, key))

    async def _guarded(
        self,
        verb: str,
        user: str,
        request: Asked | None,
        answer: Callable[[Caller], Awaitable[ReplyT]],
        reply: type[ReplyT],
    ) -> ReplyT:
        """Return the answer, or one that carries the failure as a Status."""
        caller, notes = caller_on_bus(user), self._noted()
        try:
            answered = await answer(caller)
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            known = _as_api_error(error, verb)
            if request is not None:
                self._record(caller, _verb(verb, request), request.ref, notes, known)
            return reply(status=known.encode())
        REQUESTS.labels(verb, "200").inc()
        return answered

    def _noted(self) -> AuditNotes:
        """Have it noted what is decided about the request; the handler of each runs in a context of its own."""
        notes = AuditNotes()
        if self.denials is not None:
            NOTES.set(notes)
        return notes

    def _record(self, caller: Caller, verb: str, ref: ObjectRef, notes: AuditNotes, failure: ApiError) -> None:
        """Have a denial recorded."""
        if self.denials is not None and (notes.denied or isinstance(failure, ForbiddenError)):
            asked = attributes(verb, self._resource(ref), ref.namespace, ref.name, ref.subresource)
            self.denials.denied(caller, asked, notes, failure)

    def _record_each(
        self,
        caller: Caller,
        verb: str,
        pods: Sequence[Binding | Preempted],
        subresource: str,
        results: list[WriteReply],
    ) -> None:
        """Have recorded who of a batch was denied; what each was decided by is in the refusal's words alone."""
        if self.denials is None:
            return
        for pod, result in zip(pods, results, strict=True):
            if result.status:
                ref = ObjectRef(resource="pods", namespace=pod.namespace, name=pod.name, subresource=subresource)
                self._record(caller, verb, ref, AuditNotes(), ApiError.decode(result.status))

    def _resource(self, ref: ObjectRef) -> Resource:
        found = (
            self._registry.find(ref.group, ref.version, ref.resource)
            if ref.version
            else self._registry.stored(ref.group, ref.resource)
        )
        if found is None or (ref.namespace and not found.namespaced):
            raise NotFoundError.path()
        return found


def _verb(verb: str, request: Asked) -> str:
    """Return the verb of Kubernetes' that a request is for."""
    return _VERBS.get(request.verb, "") if isinstance(request, WriteRequest) else verb


def _as_api_error(error: Exception, verb: str) -> ApiError:
    if isinstance(error, ApiError):
        known = error
    elif isinstance(error, UnavailableError):
        known = ServiceUnavailableError(str(error))
    else:
        log.error("a request on the bus failed", exc_info=error)
        known = InternalError(f"Internal error occurred: {error}")
    REQUESTS.labels(verb, str(known.code)).inc()
    return known


def _compare(fence: Fence) -> Compare | None:
    return Compare(fence.key.encode(), fence.create_revision) if fence.key else None


def _parent(request: Asked) -> TraceContext | None:
    return request.trace if request.HasField("trace") else None
