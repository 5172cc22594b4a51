"""Deleting objects: grace periods, finalizers, propagation (rest.BeforeDelete and Store.Delete).

A deletion either removes the object or marks it with a deletionTimestamp, when something still has to happen: a pod
stops on its node within its grace period, a finalizer's owner or the garbage collector does its part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Literal

import msgspec

from orch import telemetry
from orch.clock import parse_rfc3339, rfc3339
from orch.errors import (
    BadRequestError,
    Cause,
    ConflictError,
    InvalidError,
    MethodNotAllowedError,
    NotFoundError,
    StatusDetails,
)
from orch_api.admission import Request
from orch_api.auth.identity import Caller
from orch_api.pipeline.parts import Document, Outcome, Parts, WriteOptions
from orch_api.registry import Resource
from orch_api.storage.commit import Committed, Verdict
from orch_api.storage.objects import Cached, Encoded, encode, to_document, to_json
from orch_api.storage.selection import selection
from orch_api.storage.versions import served_json
from orch_api.strategy import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, section

_AT_ONCE: Final = 64
_NAMESPACE_BUSY: Final = (
    "The system is ensuring all content is removed from this namespace.  "
    "Upon completion, this namespace will automatically be purged by the system."
)

Say = Callable[[Document], Awaitable[bool]]
Propagation = Literal["Background", "Foreground", "Orphan"]


class Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    """What the object must be for the deletion to happen."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    """meta/v1 DeleteOptions."""

    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: tuple[str, ...] | None = None


_decode = msgspec.json.Decoder(DeleteOptions).decode


def read_options(body: bytes) -> DeleteOptions:
    """Return the DeleteOptions of a request's body. Raises BadRequestError or InvalidError."""
    if not body.strip():
        return DeleteOptions()
    try:
        options = _decode(body)
    except msgspec.MsgspecError as error:
        raise BadRequestError(f"the DeleteOptions cannot be read: {error}") from error
    causes: list[Cause] = []
    policy = options.propagation_policy
    if policy is not None and policy not in {"Background", "Foreground", "Orphan"}:
        message = f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan"'
        causes.append(Cause("FieldValueNotSupported", message, "propagationPolicy"))
    if policy is not None and options.orphan_dependents is not None:
        value = str(options.orphan_dependents).lower()
        message = f"Invalid value: {value}: orphanDependents and deletionPropagation cannot be both set"
        causes.append(Cause("FieldValueInvalid", message, "orphanDependents"))
    if options.dry_run and any(one != "All" for one in options.dry_run):
        causes.append(Cause("FieldValueNotSupported", 'Unsupported value: supported values: "All"', "dryRun"))
    if causes:
        raise InvalidError.of("DeleteOptions", "meta.k8s.io", "", causes)
    return options


def told(asked: DeleteOptions) -> Document | None:
    """Return what admission is told of the options; None when there is nothing."""
    if asked == _DEFAULT:
        return None
    found: Document = msgspec.to_builtins(asked)
    if asked.preconditions is not None:
        found["preconditions"] = {name: one for name, one in found["preconditions"].items() if one is not None}
    return {name: value for name, value in found.items() if value is not None}


_DEFAULT: Final = DeleteOptions()


class Deletion:
    """Deletes objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def delete(
        self, caller: Caller, resource: Resource, namespace: str, name: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Delete one object. Raises ApiError."""
        with telemetry.span(f"api.delete {resource.plural}", parent=options.trace):
            if "delete" not in resource.verbs:
                raise MethodNotAllowedError
            await self._parts.authorizer.permit(caller, "delete", resource, namespace, name)
            asked = read_options(body)
            outcome = await self._delete(caller, resource, namespace, name, asked, options)
            if asked.propagation_policy is None and asked.orphan_dependents is None:
                warnings = resource.storage.strategy.deletion_warnings()
                return msgspec.structs.replace(outcome, warnings=(*outcome.warnings, *warnings))
            return outcome

    async def carry_out(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        asked: DeleteOptions,
        options: WriteOptions,
        *,
        say: Say | None = None,
    ) -> Outcome:
        """Delete one object for a caller who may have it deleted, without asking whether it may do so itself.

        `say` puts why into the document, and returns whether it was not there yet: it is written with the mark, or
        before the object goes.
        """
        return await self._delete(caller, resource, namespace, name, asked, options, say)

    async def delete_collection(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        label_selector: str,
        field_selector: str,
        body: bytes,
        options: WriteOptions,
    ) -> list[Cached]:
        """Delete what the selectors select; return the objects as they were. Raises ApiError."""
        with telemetry.span(f"api.deletecollection {resource.plural}", parent=options.trace):
            if "deletecollection" not in resource.verbs:
                raise MethodNotAllowedError
            chosen_by = (label_selector, field_selector)
            await self._parts.authorizer.permit(
                caller, "deletecollection", resource, namespace, "", selectors=chosen_by
            )
            asked = read_options(body)
            selected = selection(resource, label_selector, field_selector)
            await self._parts.cache.catch_up()
            stored = resource.storage
            items = self._parts.cache.select(stored.group, stored.plural, namespace)
            await selected.prepare(items)
            chosen = [item for item in items if selected(item)]
            gate = asyncio.Semaphore(_AT_ONCE)

            async def delete_one(item: Cached) -> None:
                async with gate:
                    try:
                        where = item.key.namespace
                        await self._delete(caller, resource, where, item.key.name, asked, options)
                    except NotFoundError:
                        pass  # gone already, as was wanted

            await asyncio.gather(*map(delete_one, chosen))
            return chosen

    async def _delete(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        asked: DeleteOptions,
        options: WriteOptions,
        say: Say | None = None,
    ) -> Outcome:
        parts = self._parts
        dry_run = options.dry_run or bool(asked.dry_run)
        warnings: tuple[str, ...] = ()

        async def decide(item: Cached) -> Encoded | Verdict:
            nonlocal warnings
            _check_preconditions(resource, item, asked.preconditions)
            document = to_document(item.json)
            said = encode(document, options.origin()) if say is not None and await say(document) else None
            request = Request(
                caller, "DELETE", resource, "", namespace, name, None, document, dry_run, options=told(asked)
            )
            await parts.admission.mutate(request)
            await parts.admission.validate(request)
            warnings = tuple(request.notes.warnings)
            verdict = self._mark(resource.storage, name, document, asked)
            if verdict is None:
                return encode(document, options.origin())
            return said or verdict

        key = resource.key(namespace, name)
        done = await parts.committer.change(resource, key, decide, fence=options.fence, dry_run=dry_run)
        if say is not None and not _marked(done) and not dry_run:
            done = await parts.committer.change(resource, key, decide, fence=options.fence)
        if done.made is not Verdict.REMOVE:
            (json,) = await served_json(resource, (done.json,))
            return Outcome(json, done.version, warnings=warnings)
        strategy = resource.storage.strategy
        if strategy.allocates and not dry_run:
            await parts.claims.release_all(resource.storage, to_document(done.before.json))
        if resource.returns_deleted:
            document = to_document(done.before.json)
            document["metadata"]["resourceVersion"] = str(done.version)
            (json,) = await served_json(resource, (to_json(document),))
            return Outcome(json, done.version, warnings=warnings)
        details = StatusDetails(name=name, group=resource.group, kind=resource.plural, uid=done.before.uid)
        return Outcome(success(details), done.version, deleted=True, warnings=warnings)

    def _mark(self, resource: Resource, name: str, document: Document, asked: DeleteOptions) -> Verdict | None:
        """Mark the document as being deleted, or return that it can go or that nothing changes."""
        metadata: Document = document["metadata"]
        before = dict(metadata)
        if not metadata.get("deletionTimestamp"):
            resource.strategy.prepare_delete(document)
        finalizers = _finalizers(resource, metadata.get("finalizers") or [], asked)
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        held = "finalize" in resource.subresources and bool(section(document, "spec").get("finalizers"))
        if held and metadata.get("deletionTimestamp"):
            raise ConflictError.of(resource.plural, resource.group, name, _NAMESPACE_BUSY)
        waiting = self._set_grace(resource, document, asked.grace_period_seconds)
        if not waiting and not finalizers and not held:
            return Verdict.REMOVE
        if held:
            document["status"] = {**section(document, "status"), "phase": "Terminating"}
        if metadata == before:
            return Verdict.KEEP
        if not before.get("deletionTimestamp") and metadata.get("generation"):
            metadata["generation"] += 1  # what the object is asked to be has changed
        return None

    def _set_grace(self, resource: Resource, document: Document, requested: int | None) -> bool:
        """Set when the object is to be gone; return whether it is to be waited for. A period is only ever shortened."""
        metadata: Document = document["metadata"]
        if requested is not None and requested < 0:
            requested = 1  # as Kubernetes does
        marked: str | None = metadata.get("deletionTimestamp")
        before: int = metadata.get("deletionGracePeriodSeconds") or 0
        if marked and not before:
            return False
        period = resource.strategy.grace_period(document, requested)
        now = self._parts.clock.now()
        if marked:
            if requested is None or period >= before:
                return True
            now = parse_rfc3339(marked) - timedelta(seconds=before)
        metadata["deletionTimestamp"] = rfc3339(now + timedelta(seconds=period))
        metadata["deletionGracePeriodSeconds"] = period
        return period > 0


def _marked(done: Committed) -> bool:
    """Return whether a deletion has begun, or is over."""
    return done.made is Verdict.REMOVE or bool(to_document(done.json)["metadata"].get("deletionTimestamp"))


def success(details: StatusDetails | None) -> bytes:
    """Return the Status of a request that succeeded and has no object to show."""
    return msgspec.json.encode(_Success(details=details))


class _Success(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = "Status"
    api_version: str = "v1"
    metadata: dict[str, str] = {}
    status: str = "Success"
    details: StatusDetails | None = None


def _check_preconditions(resource: Resource, item: Cached, preconditions: Preconditions | None) -> None:
    if preconditions is None:
        return
    problem = ""
    if preconditions.uid is not None and preconditions.uid != item.uid:
        problem = f"UID in precondition: {preconditions.uid}, UID in object meta: {item.uid}"
    elif preconditions.resource_version is not None and preconditions.resource_version != str(item.version):
        problem = (
            f"ResourceVersion in precondition: {preconditions.resource_version}, "
            f"ResourceVersion in object meta: {item.version}"
        )
    if problem:
        name = item.key.name
        raise ConflictError.of(resource.plural, resource.group, name, f"Precondition failed: {problem}")


def _finalizers(resource: Resource, finalizers: list[str], asked: DeleteOptions) -> list[str]:
    """Return the finalizers that remain, with the one that the propagation policy asks for."""
    policy = asked.propagation_policy
    if policy is None and asked.orphan_dependents is not None:
        policy = "Orphan" if asked.orphan_dependents else "Background"
    if policy is None:
        if ORPHAN_FINALIZER in finalizers or FOREGROUND_FINALIZER in finalizers:
            return finalizers
        policy = resource.strategy.default_propagation()
    others = [one for one in finalizers if one not in {ORPHAN_FINALIZER, FOREGROUND_FINALIZER}]
    if policy == "Orphan":
        return [*others, ORPHAN_FINALIZER]
    if policy == "Foreground":
        return [*others, FOREGROUND_FINALIZER]
    return others
