"""Binding pods to nodes: a batch in one group commit, each pod for itself (pods/binding's BindingREST)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import ApiError, BadRequestError, Cause, ConflictError, InvalidError
from orch.store.keys import ObjectKey
from orch.store.protocol import Compare
from orch_api.admission import CREATE, Request
from orch_api.auth.authorizer import attributes
from orch_api.auth.identity import Caller
from orch_api.pipeline.deletion import success
from orch_api.pipeline.parts import Document, Outcome, Parts, WriteOptions, check_kind, check_namespace, metadata_of
from orch_api.registry import Resource
from orch_api.storage.commit import Change
from orch_api.storage.objects import Cached, Encoded, encode, to_document
from orch_pb.v1.object_pb2 import TraceContext
from orch_pb.v1.rpc_pb2 import Binding, WriteReply

BINDING = "binding"

_WHAT = "pods/binding"
_LONGEST_VERSION = 18  # digits that any version of 64 bits may have


class Binder:
    """Binds pods."""

    def __init__(self, parts: Parts, pods: Resource) -> None:
        self._parts = parts
        self._pods = pods

    async def bind(self, caller: Caller, bindings: Sequence[Binding], fence: Compare | None) -> list[WriteReply]:
        """Bind each pod that is still unbound and the one that was meant; outcomes in order."""
        with telemetry.span("api.bind pods", attributes={"bindings": len(bindings)}):
            outcomes = await self._bind(caller, bindings, fence)
        replies: list[WriteReply] = []
        for outcome in outcomes:
            if isinstance(outcome, ApiError):
                replies.append(WriteReply(status=outcome.encode()))
            else:
                replies.append(WriteReply(revision=outcome))
        return replies

    async def bind_any(
        self, caller: Caller, resource: Resource, namespace: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Bind the pod that a Binding document names, whose kind is a right of its own. Raises ApiError."""
        await self._parts.authorizer.permit(caller, "create", resource, namespace, "")
        return await self._bind_one(caller, namespace, "", body, options)

    async def bind_one(self, caller: Caller, namespace: str, name: str, body: bytes, options: WriteOptions) -> Outcome:
        """Bind one pod as a Binding document says. Raises ApiError."""
        await self._permit(caller, namespace, name)  # before anything is said of what was sent
        return await self._bind_one(caller, namespace, name, body, options)

    async def _bind_one(self, caller: Caller, namespace: str, name: str, body: bytes, options: WriteOptions) -> Outcome:
        schema = self._parts.schemas.of("", "v1", "Binding")
        document, warnings = schema.decode(body, options.field_validation)
        check_kind(document, "v1", "Binding")
        metadata = metadata_of(document)
        check_namespace(metadata, self._pods, namespace)
        name = name or metadata.get("name") or ""
        if not name:
            raise BadRequestError("name is required for binding")
        if metadata.get("name", name) != name:
            raise BadRequestError("name in URL does not match name in Binding object")
        target: dict[str, Any] = document.get("target") or {}
        _check_target(name, target)
        binding = Binding(
            namespace=namespace,
            name=name,
            uid=metadata.get("uid") or "",
            node=target["name"],
            revision=_revision(name, metadata.get("resourceVersion") or "0"),
            trace=options.origin(),
        )
        request = Request(caller, CREATE, self._pods, BINDING, namespace, name, document, None, options.dry_run)
        await self._admit(request)
        warnings = [*warnings, *request.notes.warnings]
        if options.dry_run:
            return Outcome(_SUCCESS, 0, created=True, deleted=True, warnings=tuple(warnings))
        (outcome,) = await self._commit([_Decision(binding, self._now(), document["metadata"])], options.fence)
        if isinstance(outcome, ApiError):
            raise outcome
        return Outcome(_SUCCESS, outcome, created=True, deleted=True, warnings=tuple(warnings))

    async def _bind(self, caller: Caller, bindings: Sequence[Binding], fence: Compare | None) -> list[int | ApiError]:
        refused = await self._forbidden(caller, bindings)
        now = self._now()
        concerned = self._parts.admission.concerns(CREATE, self._pods, BINDING)
        if not concerned and not refused:
            return await self._commit([_Decision(binding, now) for binding in bindings], fence)
        decisions: list[_Decision] = []
        for place, binding in enumerate(bindings):
            if place in refused:
                continue
            document = _document(binding)
            request = Request(caller, CREATE, self._pods, BINDING, binding.namespace, binding.name, document, None)
            try:
                await self._admit(request)
            except ApiError as error:
                refused[place] = error
                continue
            decisions.append(_Decision(binding, now, document["metadata"]))
        done = iter(await self._commit(decisions, fence) if decisions else ())
        return [refused[place] if place in refused else next(done) for place in range(len(bindings))]

    async def _forbidden(self, caller: Caller, bindings: Sequence[Binding]) -> dict[int, ApiError]:
        """Return the refusals by place. Who may bind all pods of a namespace is asked about once for each."""
        refused: dict[int, ApiError] = {}
        all_of: dict[str, bool] = {}
        for place, binding in enumerate(bindings):
            namespace = binding.namespace
            if namespace not in all_of:
                all_of[namespace] = await self._may_bind_all(caller, namespace)
            if not all_of[namespace]:
                try:
                    await self._permit(caller, namespace, binding.name)
                except ApiError as error:
                    refused[place] = error
        return refused

    async def _may_bind_all(self, caller: Caller, namespace: str) -> bool:
        """Return whether every pod's binding is permitted for certain: a webhook may tell names apart as it likes."""
        authorizer = self._parts.authorizer
        if authorizer.asks_others:
            return False
        return (await authorizer.judge(caller, attributes("create", self._pods, namespace, "", BINDING))).allowed

    async def _permit(self, caller: Caller, namespace: str, name: str) -> None:
        await self._parts.authorizer.permit(caller, "create", self._pods, namespace, name, BINDING)

    def _now(self) -> str:
        return rfc3339(self._parts.clock.now())

    async def _admit(self, request: Request) -> None:
        await self._parts.admission.mutate(request)
        await self._parts.admission.validate(request)

    async def _commit(self, decisions: Sequence[_Decision], fence: Compare | None) -> list[int | ApiError]:
        changes = [
            Change(self._pods, ObjectKey("", "pods", one.binding.namespace, one.binding.name), one) for one in decisions
        ]
        done = await self._parts.committer.change_all(changes, fence=fence)
        return [one if isinstance(one, ApiError) else one.version for one in done]


_SUCCESS = success(None)


class _Decision:
    """What binding one pod makes of its current state."""

    __slots__ = ("_metadata", "_now", "binding")

    def __init__(self, binding: Binding, now: str, metadata: Document | None = None) -> None:
        self.binding = binding
        self._now = now
        self._metadata = metadata

    def __call__(self, item: Cached) -> Encoded:
        binding = self.binding
        if binding.uid and binding.uid != item.uid:
            problem = f"Precondition failed: UID in precondition: {binding.uid}, UID in object meta: {item.uid}"
            raise ConflictError.of(_WHAT, "", binding.name, problem)
        if item.node:
            problem = f'pod {binding.name} is already assigned to node "{item.node}"'
            raise ConflictError.of(_WHAT, "", binding.name, problem)
        if binding.revision and binding.revision != item.version:
            raise ConflictError.of(_WHAT, "", binding.name)
        document = to_document(item.json)
        if document["metadata"].get("deletionTimestamp"):
            problem = f"pod {binding.name} is being deleted, cannot be assigned to a host"
            raise ConflictError.of(_WHAT, "", binding.name, problem)
        document["spec"]["nodeName"] = binding.node
        if self._metadata is not None:
            _add_metadata(document["metadata"], self._metadata)
        status: Document = document.get("status") or {}
        document["status"] = status
        condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._now}
        others = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
        status["conditions"] = [*others, condition]
        status.pop("nominatedNodeName", None)  # the room that was made for it is taken
        origin = self._origin(item)
        attributes = {
            "k8s.pod.name": binding.name,
            "k8s.namespace.name": binding.namespace,
            "k8s.node.name": binding.node,
        }
        with telemetry.span("api.bind pod", parent=origin, attributes=attributes):
            return encode(document, telemetry.current_trace() or origin)

    def _origin(self, item: Cached) -> TraceContext | None:
        if self.binding.HasField("trace"):
            return self.binding.trace
        return TraceContext.FromString(item.trace) if item.trace else None


def _document(binding: Binding) -> Document:
    """Return what a service asks for on the bus as the document that Kubernetes' clients send."""
    metadata: Document = {"name": binding.name, "namespace": binding.namespace}
    if binding.uid:
        metadata["uid"] = binding.uid
    target = {"kind": "Node", "name": binding.node}
    return {"kind": "Binding", "apiVersion": "v1", "metadata": metadata, "target": target}


def _add_metadata(pod: Document, binding: Document) -> None:
    """Give a pod the labels and annotations of its binding."""
    for part in ("labels", "annotations"):
        if found := binding.get(part):
            pod[part] = {**(pod.get(part) or {}), **found}


def _revision(name: str, version: str) -> int:
    """Return the version that a Binding wants its pod to have, 0 for any. Raises ConflictError: no pod has others."""
    if not (version.isascii() and version.isdigit()) or len(version) > _LONGEST_VERSION:
        raise ConflictError.of(_WHAT, "", name, f"Precondition failed: ResourceVersion in precondition: {version}")
    return int(version)


def _check_target(name: str, target: dict[str, Any]) -> None:
    causes: list[Cause] = []
    if target.get("kind") not in {None, "", "Node"}:
        message = f'Unsupported value: "{target["kind"]}": supported values: "Node", ""'
        causes.append(Cause("FieldValueNotSupported", message, "target.kind"))
    if not target.get("name"):
        causes.append(Cause("FieldValueRequired", "Required value", "target.name"))
    if causes:
        raise InvalidError.of("Binding", "", name, causes)
