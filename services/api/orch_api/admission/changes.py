"""Objects that webhooks and policies changed, on their way back into the request."""

from __future__ import annotations

from typing import Final

from orch.errors import OrchError
from orch_api.admission.chain import Request
from orch_api.admission.questions import Shown, kind_of
from orch_api.fields.values import Configuration, merge
from orch_api.patch.documents import equal
from orch_api.resource import Resource
from orch_api.schema import KindSchema, Schemas
from orch_api.schema.typed import FieldType, Form
from orch_api.strategy import Document, keep, put_section, section

_FIXED: Final = ("name", "namespace")
_OURS: Final = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")


class ChangeError(OrchError):
    """A change that cannot be made."""


class Changes:
    """Takes changed objects in."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def schema(self, resource: Resource, subresource: str) -> KindSchema:
        """Return the schema of what a request for a resource or subresource carries.

        Raises ChangeError for what has none: the options of connections, such as PodExecOptions.
        """
        group, version, kind = kind_of(resource, subresource)
        if kind == resource.kind and resource.schema is not None:
            return resource.schema
        try:
            return self._schemas.of(group, version, kind)
        except LookupError as error:
            raise ChangeError(f"a {kind} may not be changed") from error

    async def take(self, request: Request, shown: Shown, target: Resource, changed: Document) -> bool:
        """Let the request's object be what it was changed to, with defaults; return whether it differs.

        Raises ChangeError for what may not change, and BadRequestError for what is no object of its kind.
        """
        before, _ = await shown.objects(target)
        if before is None:
            raise ChangeError("there is no object to change")
        schema = self.schema(target, request.subresource)
        metadata = {name: one for name, one in section(changed, "metadata").items() if name != "managedFields"}
        converted, _ = schema.convert({**changed, "metadata": metadata})  # who owns what comes back below
        _restore(converted, before)
        if equal(converted, before):
            return False
        await shown.take(target, converted)
        if request.document is not None and kind_of(target, request.subresource)[2] == target.kind:
            request.resource.storage.strategy.default(request.document)
        return True


def merged(fields: FieldType, document: Document, configuration: Document) -> Document:
    """Return a document with an applied configuration merged into it; nobody comes to own anything by that.

    Raises ChangeError.
    """
    wanted = {**configuration, "apiVersion": document.get("apiVersion"), "kind": document.get("kind")}
    reader = Configuration(fields)
    reader.fields(wanted)
    if reader.problems:
        raise ChangeError(
            f"error applying patch: failed to convert patch object to typed object: {', '.join(reader.problems)}"
        )
    if atomics := list(_atomics(fields, wanted, "")):
        raise ChangeError(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            f"{', '.join(atomics)}"
        )
    result: Document = merge(fields, document, wanted)
    return result


def _atomics(kind: FieldType, value: object, path: str) -> list[str]:
    """Return the places of lists and maps that can only be replaced as a whole, which is rarely meant."""
    found: list[str] = []
    if isinstance(value, dict):
        if kind.form is Form.ATOMIC:
            found.append(path)
        for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            found += _atomics(kind.inner(str(name)), inner, f"{path}.{name}")  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        if kind.form in {Form.ATOMIC, Form.ANY}:
            found.append(path)
        for index, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            found += _atomics(kind.item, item, f"{path}[{index}]")  # pyright: ignore[reportUnknownArgumentType]
    return found


def _restore(changed: Document, before: Document) -> None:
    """Keep what is the system's alone. Raises ChangeError for another name or namespace."""
    for name in ("apiVersion", "kind"):
        keep(changed, before, name)
    if "metadata" not in before:
        return
    metadata, was = put_section(changed, "metadata"), section(before, "metadata")
    for name in _FIXED:
        if (metadata.get(name) or "") != (was.get(name) or ""):
            raise ChangeError(f"metadata.{name} may not be changed")
    keep(metadata, was, *_OURS)
