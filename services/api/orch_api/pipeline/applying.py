"""Server-side apply: a configuration is merged into an object, or makes it (k8s.io/apiserver's apply patcher)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import AlreadyExistsError, BadRequestError, ConflictError, NotFoundError
from orch_api import fields
from orch_api.auth.identity import Caller
from orch_api.fields import Manager
from orch_api.pipeline import scale
from orch_api.pipeline.changing import SCALE, ChangeRequest, Changing
from orch_api.pipeline.creation import Creation
from orch_api.pipeline.parts import Document, Outcome, Parts, WriteOptions, check_kind, metadata_of
from orch_api.registry import Resource

_ATTEMPTS: Final = 4
"""An object may come between being missed and being made, and go again."""


class Applying:
    """Applies configurations."""

    def __init__(self, parts: Parts, changing: Changing, creation: Creation) -> None:
        self._parts = parts
        self._changing = changing
        self._creation = creation

    async def apply(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        subresource: str,
    ) -> Outcome:
        """Apply a configuration, in JSON, to an object or a subresource of it. Raises ApiError."""
        with telemetry.span(f"api.apply {resource.plural}", parent=options.trace):
            await self._changing.authorize(caller, "patch", resource, namespace, name, subresource)
            configuration = _configuration(resource, name, body, subresource)
            manager = options.manager(resource, subresource, "Apply")
            warnings: list[str] = []

            def produce(current: Document) -> Document:
                wanted, found = self._applied(resource, current, configuration, manager, options)
                warnings[:] = found
                return wanted

            request = ChangeRequest(caller, resource, namespace, name, subresource, options, produce)
            for attempt in range(_ATTEMPTS):
                try:
                    return await self._changing.change(request, warnings)
                except NotFoundError:
                    if subresource or not self._is_absent(resource, namespace, name):
                        raise
                try:
                    return await self._create(request, configuration, manager)
                except AlreadyExistsError:
                    if attempt == _ATTEMPTS - 1:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def _is_absent(self, resource: Resource, namespace: str, name: str) -> bool:
        """Return whether what was not found is the object itself, rather than something that it refers to."""
        return self._parts.cache.get(resource.key(namespace, name)) is None

    def _applied(
        self,
        resource: Resource,
        live: Document,
        configuration: Document,
        manager: Manager,
        options: WriteOptions,
    ) -> tuple[Document, list[str]]:
        """Return the object that the configuration makes of the live one, and warnings about it."""
        schema = self._parts.schema(resource)
        wanted = fields.apply(
            schema.fields,
            live,
            configuration,
            manager,
            force=options.force,
            resource=resource.plural,
            group=resource.group,
            has_status="status" in resource.subresources,
            now=rfc3339(self._parts.clock.now()),
        )
        return schema.convert(wanted, options.field_validation)

    async def _create(self, request: ChangeRequest, configuration: Document, manager: Manager) -> Outcome:
        resource, namespace, options = request.resource, request.namespace, request.options
        metadata: Document = configuration["metadata"]
        if uid := metadata.get("uid"):
            problem = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise ConflictError.of(resource.plural, resource.group, request.name, problem)
        await self._changing.authorize(request.caller, "create", resource, namespace, "", "")
        document, warnings = self._applied(resource, {}, configuration, manager, options)
        outcome = await self._creation.create_applied(request.caller, resource, namespace, document, options)
        return msgspec.structs.replace(outcome, warnings=(*warnings, *outcome.warnings))


def _configuration(resource: Resource, name: str, body: bytes, subresource: str) -> Document:
    """Return the configuration as one of the object itself. Raises BadRequestError."""
    try:
        configuration = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadRequestError(f"error decoding YAML: {error}") from error
    metadata = configuration.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise BadRequestError("error decoding YAML: metadata is no object")
    if metadata_of(configuration).get("managedFields"):
        raise BadRequestError("metadata.managedFields must be nil")
    if subresource == SCALE:
        check_kind(configuration, scale.API_VERSION, scale.KIND)
        return scale.as_configuration(resource, configuration)
    if not configuration.get("kind") or not configuration.get("apiVersion"):
        missing = "Kind" if not configuration.get("kind") else "apiVersion"
        raise BadRequestError(f"error decoding YAML: Object '{missing}' is missing")
    check_kind(configuration, resource.api_version, resource.kind)
    configuration["metadata"].setdefault("name", name)
    return configuration
