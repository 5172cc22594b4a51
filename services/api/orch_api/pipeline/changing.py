"""Updating and patching objects and their subresources (rest.BeforeUpdate, Store.Update and the patch handler)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import ApiError, BadRequestError, Cause, ConflictError, MethodNotAllowedError
from orch_api.admission import Request
from orch_api.auth.identity import Caller
from orch_api.fields import Manager, track
from orch_api.patch import json_patch, merge, strategic, unfit
from orch_api.patch.strictness import patch_issues
from orch_api.pipeline import scale
from orch_api.pipeline.granting import concerns, refuse_escalation
from orch_api.pipeline.parts import (
    Document,
    Outcome,
    Parts,
    WriteOptions,
    check_kind,
    check_namespace,
    decode,
    metadata_of,
    refuse_invalid,
)
from orch_api.registry import Resource
from orch_api.schema import KindSchema
from orch_api.storage.claims import NOTHING, Holding
from orch_api.storage.commit import Verdict
from orch_api.storage.objects import Cached, Encoded, encode, to_document, to_json
from orch_api.storage.versions import as_judged, as_served, as_stored, judge_of, served_json
from orch_api.strategy import restore_meta, section, validate_meta, validate_meta_update

PatchKind = Literal["merge", "strategic", "json"]
SCALE = "scale"


class ChangeRequest(msgspec.Struct, frozen=True):
    """Who changes what; `produce` makes the wanted document of the current one, afresh each time it is called.

    Both are in the version that is served. `manager` comes to own what changes; it is None when `produce` sees to that.
    """

    caller: Caller
    resource: Resource
    namespace: str
    name: str
    subresource: str
    options: WriteOptions
    produce: Callable[[Document], Document]
    manager: Manager | None = None


class Changing:
    """Updates and patches objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def update(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        subresource: str,
    ) -> Outcome:
        """Replace an object or a subresource. Raises ApiError."""
        with telemetry.span(f"api.update {resource.plural}", parent=options.trace):
            await self.authorize(caller, "update", resource, namespace, name, subresource)
            schema = self._schema(resource, subresource)
            document, warnings = decode(schema, body, options)
            _check_name(metadata_of(document), name)
            decoded = [document]  # each attempt changes its document, so a second attempt decodes again

            def produce(current: Document) -> Document:
                wanted = decoded.pop() if decoded else schema.decode(body, "Ignore")[0]
                return wanted if subresource != SCALE else self._scaled(resource, current, wanted)

            if subresource == SCALE:
                check_kind(document, scale.API_VERSION, scale.KIND)
            manager = options.manager(resource.storage, subresource)
            request = ChangeRequest(caller, resource, namespace, name, subresource, options, produce, manager)
            return await self.change(request, warnings)

    async def patch(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        patch: bytes,
        kind: PatchKind,
        options: WriteOptions,
        subresource: str,
    ) -> Outcome:
        """Apply a patch to an object or a subresource. Raises ApiError."""
        with telemetry.span(f"api.patch {resource.plural}", parent=options.trace):
            await self.authorize(caller, "patch", resource, namespace, name, subresource)
            schema = self._schema(resource, subresource)
            decoded = _decoded(patch)
            apply = _patcher(decoded, kind, schema)
            validation = options.field_validation
            noted = [] if validation == "Ignore" else patch_issues(patch, decoded, operations=kind == "json")
            strategic_patch = decoded if kind == "strategic" else None
            warnings: list[str] = []

            def produce(current: Document) -> Document:
                base = scale.render(resource, current) if subresource == SCALE else current
                patched = apply(base)
                try:
                    wanted, found = schema.convert(patched, "Warn" if noted else validation)
                except BadRequestError as error:
                    raise unfit.refused(error, schema, patched, strategic_patch) from error
                if noted and validation == "Strict":
                    raise unfit.refused_strictly([*noted, *found], patched, strategic_patch)
                warnings[:] = [*noted, *found]
                return wanted if subresource != SCALE else self._scaled(resource, current, wanted)

            manager = options.manager(resource.storage, subresource)
            request = ChangeRequest(caller, resource, namespace, name, subresource, options, produce, manager)
            return await self.change(request, warnings)

    async def authorize(
        self, caller: Caller, verb: str, resource: Resource, namespace: str, name: str, subresource: str
    ) -> None:
        """Raise ForbiddenError when the caller may not, MethodNotAllowedError when nobody can."""
        served = resource.subresources[subresource].verbs if subresource in resource.subresources else resource.verbs
        if (subresource and subresource not in resource.subresources) or verb not in served:
            raise MethodNotAllowedError
        await self._parts.authorizer.permit(caller, verb, resource, namespace, name, subresource)

    def _schema(self, resource: Resource, subresource: str) -> KindSchema:
        if subresource == SCALE:
            return self._parts.schemas.of(scale.GROUP, scale.VERSION, scale.KIND)
        return self._parts.schema(resource)

    def _scaled(self, resource: Resource, current: Document, wanted: Document) -> Document:
        scaled, _ = self._parts.schema(resource).convert(scale.apply(resource, current, wanted))
        return scaled

    async def change(self, request: ChangeRequest, warnings: Sequence[str]) -> Outcome:
        """Bring a change about; `warnings` is read once it is made. Raises ApiError."""
        parts, resource, options = self._parts, request.resource, request.options
        stored, strategy = resource.storage, resource.storage.strategy
        holding = NOTHING
        new: Document = {}
        admitted: Request | None = None

        async def decide(item: Cached) -> Encoded | Verdict:
            nonlocal holding, new, admitted
            await self._settle(stored, holding, committed=False)
            holding = NOTHING
            old = to_document(item.json)
            new = request.produce(await as_served(resource, old))
            _identify(request, new, old, item)
            new = await as_stored(resource, new)
            admitted = self._admission(request, new, old)
            holding = await self._prepare(request, admitted, new, old)
            if new == old:
                return Verdict.KEEP
            _validate(request, await as_judged(resource, new), await as_judged(resource, old))
            await parts.admission.validate(admitted)
            return Verdict.REMOVE if may_be_removed(stored, new) else encode(new, options.origin())

        key = resource.key(request.namespace, request.name)
        try:
            done = await parts.committer.change(resource, key, decide, fence=options.fence, dry_run=options.dry_run)
        except ApiError:
            await self._settle(stored, holding, committed=False)
            raise
        await self._settle(stored, holding, committed=True)
        removed = done.made is Verdict.REMOVE
        if removed and strategy.allocates and not options.dry_run:
            await parts.claims.release_all(stored, to_document(done.before.json))
        json = done.json
        if removed or options.dry_run:
            new["metadata"]["resourceVersion"] = str(done.version)
            json = to_json(new)
        (json,) = await served_json(resource, (json,))
        if request.subresource == SCALE:
            json = to_json(scale.render(resource, to_document(json)))
        noted: list[str] = strategy.warnings(new) if not request.subresource else []
        if admitted is not None:
            noted = [*admitted.notes.warnings, *noted]
        return Outcome(json, done.version, warnings=(*warnings, *noted))

    async def _prepare(self, request: ChangeRequest, admitted: Request, new: Document, old: Document) -> Holding:
        """Default and admit the document, and keep of the old one what this write may not change."""
        stored, strategy = request.resource.storage, request.resource.storage.strategy
        strategy.default(new)
        restore_meta(new, old)
        await self._parts.admission.mutate(admitted)
        if concerns(admitted):
            await refuse_escalation(self._parts.authorizer, admitted)
        whole = not request.subresource or request.subresource == SCALE
        if whole:
            strategy.prepare_update(new, old)
        else:
            strategy.prepare_subresource(request.subresource, new, old)
            strategy.stamp(new, old, request.caller, rfc3339(self._parts.clock.now()))
        fields = self._parts.schema(stored).fields
        fields.complete(new)
        if request.manager is not None:
            track(fields, new, old, request.manager, rfc3339(self._parts.clock.now()))
        if not (whole and strategy.allocates):
            return NOTHING
        return await self._parts.claims.hold(stored, new, old, dry_run=request.options.dry_run)

    def _admission(self, request: ChangeRequest, new: Document, old: Document) -> Request:
        return Request(
            request.caller,
            "UPDATE",
            request.resource,
            request.subresource,
            request.namespace,
            request.name,
            new,
            old,
            request.options.dry_run,
            options=request.options.told(),
        )

    async def _settle(self, resource: Resource, holding: Holding, *, committed: bool) -> None:
        if holding is not NOTHING:
            await self._parts.claims.settle(resource, holding, committed=committed)


def may_be_removed(resource: Resource, document: Document) -> bool:
    """Return whether a deleted object waits for nothing any more: no finalizer, no grace period."""
    metadata: Document = document["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return not ("finalize" in resource.subresources and section(document, "spec").get("finalizers"))


def _identify(request: ChangeRequest, new: Document, old: Document, item: Cached) -> None:
    """Check name, namespace, uid and version of the wanted document. Raises BadRequestError or ConflictError."""
    resource = request.resource
    check_kind(new, resource.api_version, resource.kind)
    metadata = metadata_of(new)
    _check_name(metadata, request.name)
    check_namespace(metadata, resource, request.namespace)
    uid = metadata.get("uid")
    if uid and uid != item.uid:
        problem = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {item.uid}"
        raise ConflictError.of(resource.plural, resource.group, request.name, problem)
    version = metadata.get("resourceVersion")
    if version and version != "0" and version != str(item.version):
        raise ConflictError.of(resource.plural, resource.group, request.name)
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]


def _check_name(metadata: Document, name: str) -> None:
    """Give the object the request's name, refuse another. Raises BadRequestError."""
    given = metadata.setdefault("name", name) or name
    if given != name:
        raise BadRequestError(f"the name of the object ({given}) does not match the name on the URL ({name})")
    metadata["name"] = name


def _validate(request: ChangeRequest, new: Document, old: Document) -> None:
    """Raise InvalidError for what breaks a rule."""
    resource = judge_of(request.resource)
    strategy = resource.strategy
    causes: list[Cause] = [*validate_meta(new, resource), *validate_meta_update(new, old)]
    if request.subresource in {"", SCALE}:
        causes += strategy.validate_changed(new, old)
    else:
        causes += strategy.validate_subresource(request.subresource, new, old)
    refuse_invalid(resource, request.name, causes)


def _decoded(patch: bytes) -> Any:
    """Return what the patch says. Raises BadRequestError for one that is malformed."""
    try:
        return msgspec.json.decode(patch)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"error decoding patch: {error}") from error


def _patcher(decoded: Any, kind: PatchKind, schema: KindSchema) -> Callable[[Document], Document]:
    """Return what applies the patch."""
    match kind:
        case "json":
            return lambda document: json_patch.apply(document, decoded)
        case "merge":
            return lambda document: merge.apply(document, decoded)
        case "strategic":
            return lambda document: strategic.apply(document, decoded, schema)
