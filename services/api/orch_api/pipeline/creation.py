"""Creating objects (k8s.io/apiserver/pkg/registry: rest.BeforeCreate and Store.Create)."""

from __future__ import annotations

import os
import random
from datetime import datetime
from typing import Final

import msgspec

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import AlreadyExistsError, ApiError, BadRequestError, ConflictError
from orch_api.admission import Request
from orch_api.auth.identity import Caller
from orch_api.fields import Manager, track
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
from orch_api.storage.claims import NOTHING
from orch_api.storage.objects import Encoded, encode, to_json
from orch_api.storage.versions import as_judged, as_stored, judge_of, served_json
from orch_api.strategy import validate_meta

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX: Final = 5
_MAX_PREFIX: Final = 63 - _SUFFIX
_NAME_ATTEMPTS: Final = 8


class Creation:
    """Creates objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._second: datetime | None = None
        self._second_text = ""

    async def create(
        self, caller: Caller, resource: Resource, namespace: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Store a new object. Raises ApiError."""
        with telemetry.span(f"api.create {resource.plural}", parent=options.trace):
            await self._parts.authorizer.permit(caller, "create", resource, namespace, "")
            schema, manager = self._parts.schema(resource), options.manager(resource.storage)
            document, warnings = decode(schema, body, options)
            for attempt in range(_NAME_ATTEMPTS):
                metadata = self._identify(resource, namespace, document)
                generated = not metadata.get("name") and bool(metadata.get("generateName"))
                document = await as_stored(resource, document)
                if generated:
                    document["metadata"]["name"] = generate_name(metadata["generateName"])
                try:
                    outcome = await self._store(caller, resource, namespace, document, options, manager)
                except AlreadyExistsError:
                    if not generated or attempt == _NAME_ATTEMPTS - 1:
                        raise
                    document, _ = schema.decode(body, "Ignore")  # defaults may have been made of the name
                    continue
                if warnings or outcome.warnings:
                    return Outcome(outcome.json, outcome.version, created=True, warnings=(*warnings, *outcome.warnings))
                return outcome
        raise AssertionError("the last attempt returns or raises")

    async def create_applied(
        self, caller: Caller, resource: Resource, namespace: str, document: Document, options: WriteOptions
    ) -> Outcome:
        """Store an object that a configuration was applied to nothing for; its managedFields stand. Raises ApiError."""
        owners = document["metadata"].get("managedFields")
        self._identify(resource, namespace, document)
        if owners:
            document["metadata"]["managedFields"] = owners
        return await self._store(caller, resource, namespace, await as_stored(resource, document), options, None)

    async def create_replacing(
        self, caller: Caller, resource: Resource, namespace: str, name: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Store an object that was to replace one of its name, which is not there. Raises ApiError."""
        await self._parts.authorizer.permit(caller, "create", resource, namespace, name)
        document, warnings = decode(self._parts.schema(resource), body, options)
        metadata = metadata_of(document)
        if uid := metadata.get("uid"):
            problem = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
            raise ConflictError.of(resource.plural, resource.group, name, problem)
        metadata.pop("resourceVersion", None)
        metadata["name"] = name
        self._identify(resource, namespace, document)
        document = await as_stored(resource, document)
        outcome = await self._store(caller, resource, namespace, document, options, options.manager(resource.storage))
        return msgspec.structs.replace(outcome, warnings=(*warnings, *outcome.warnings))

    def _identify(self, resource: Resource, namespace: str, document: Document) -> Document:
        """Check what the document says of itself, and set what only the system sets."""
        check_kind(document, resource.api_version, resource.kind)
        metadata = metadata_of(document)
        check_namespace(metadata, resource, namespace)
        if metadata.get("resourceVersion"):
            raise BadRequestError("resourceVersion should not be set on objects to be created")
        for name in ("managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(name, None)
        metadata["uid"] = new_uid()
        metadata["creationTimestamp"] = self._now()
        return metadata

    def _now(self) -> str:
        """Return the time as objects carry it; written out once a second, as it is dear."""
        second = self._parts.clock.now().replace(microsecond=0)
        if second != self._second:
            self._second, self._second_text = second, rfc3339(second)
        return self._second_text

    async def _store(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        document: Document,
        options: WriteOptions,
        manager: Manager | None,
    ) -> Outcome:
        parts, strategy = self._parts, resource.storage.strategy
        metadata: Document = document["metadata"]
        name: str = metadata.get("name") or ""
        now: str = metadata["creationTimestamp"]
        request = Request(
            caller, "CREATE", resource, "", namespace, name, document, None, options.dry_run, options=options.told()
        )
        strategy.default(document)
        if manager is not None:  # what plugins add is nobody's, as in Kubernetes
            self._own(resource.storage, document, manager, now)
        await parts.admission.mutate(request)
        if concerns(request):
            await refuse_escalation(parts.authorizer, request)
        strategy.prepare_create(document)
        strategy.stamp(document, None, caller, now)
        parts.schema(resource.storage).fields.complete(document)
        holding = NOTHING
        if strategy.allocates:
            holding = await parts.claims.hold(resource.storage, document, None, dry_run=options.dry_run)
        try:
            await _judge(resource, name, document)
            await parts.admission.validate(request)
            encoded = encode(document, options.origin())
            version = await self._commit(resource, namespace, name, encoded, options)
        except ApiError:  # when the outcome is unknown the claim stays; repair releases it if the object is not there
            if strategy.allocates:
                await parts.claims.settle(resource.storage, holding, committed=False)
            raise
        json = to_json(document) if options.dry_run else encoded.complete(version)
        (json,) = await served_json(resource, (json,))
        warnings = (*request.notes.warnings, *strategy.warnings(document))
        return Outcome(json, version, created=True, warnings=warnings)

    def _own(self, resource: Resource, document: Document, manager: Manager, now: str) -> None:
        """Note that the writer owns what he says; a status that he may not set is not said."""
        status = document.pop("status", None) if "status" in resource.subresources else None
        track(self._parts.schema(resource).fields, document, None, manager, now)
        if status is not None:
            document["status"] = status

    async def _commit(
        self, resource: Resource, namespace: str, name: str, encoded: Encoded, options: WriteOptions
    ) -> int:
        key = resource.key(namespace, name)
        if not options.dry_run:
            return await self._parts.committer.create(resource, key, encoded, options.fence)
        if await self._parts.committer.read(key) is not None:
            raise AlreadyExistsError.of(resource.plural, resource.group, name)
        return 0


async def _judge(resource: Resource, name: str, document: Document) -> None:
    """Raise InvalidError for what breaks a rule of the version in which the kind is validated."""
    judge = judge_of(resource)
    judged = await as_judged(resource, document)
    refuse_invalid(resource, name, [*validate_meta(judged, judge), *judge.strategy.validate(judged)])


def new_uid() -> str:
    """Return a random UUID (version 4) as text; half as dear as by way of uuid.UUID."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def generate_name(prefix: str) -> str:
    """Return a name that begins with `prefix`: five more characters, 63 in all at most."""
    suffix = "".join(random.choices(_ALPHABET, k=_SUFFIX))  # noqa: S311 - a collision is noticed and tried again
    return prefix[:_MAX_PREFIX] + suffix
