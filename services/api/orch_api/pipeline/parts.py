"""What the steps of the pipeline share: what they stand on, what they are given and what they return."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from orch import telemetry
from orch.clock import Clock
from orch.errors import BadRequestError, Cause, InvalidError
from orch.store.protocol import Compare
from orch_api.admission import Chain
from orch_api.auth.authorizer import Authorizer
from orch_api.fields import Manager
from orch_api.fields.managers import Operation
from orch_api.registry import Registry, Resource
from orch_api.schema import KindSchema, Schemas
from orch_api.storage.cache import ObjectCache
from orch_api.storage.claims import Claims
from orch_api.storage.commit import Committer
from orch_pb.v1.object_pb2 import TraceContext

Document = dict[str, Any]
FieldValidation = Literal["Strict", "Warn", "Ignore"]


class WriteOptions(msgspec.Struct, frozen=True):
    """How a write is to be done. `fence` must hold when it is committed."""

    dry_run: bool = False
    field_manager: str = ""
    """Who the writer says that it is; `agent` is what the connection says."""
    agent: str = ""
    force: bool = False
    """Whether an applied configuration takes what others own."""
    field_validation: FieldValidation = "Warn"
    trace: TraceContext | None = None
    fence: Compare | None = None
    repeated: tuple[str, ...] = ()
    """The keys that a document in YAML had twice: `line 3: key "a" already set in map`."""

    def told(self) -> Document | None:
        """Return what admission is told of the options beside what every request says; None when there is nothing."""
        if not (self.field_manager or self.force or self.field_validation != "Warn"):
            return None
        told: Document = {"fieldManager": self.field_manager} if self.field_manager else {}
        if self.force:
            told["force"] = True
        return {**told, "fieldValidation": self.field_validation}

    def origin(self) -> TraceContext | None:
        """Return the trace that is stored with the object."""
        return self.trace or telemetry.current_trace()

    def manager(self, resource: Resource, subresource: str = "", operation: Operation = "Update") -> Manager:
        """Return who owns the fields that this write sets."""
        name = self.field_manager or self.agent.partition("/")[0][:MAX_MANAGER] or "unknown"
        return Manager(name, operation, resource.api_version, subresource)


class Outcome(msgspec.Struct, frozen=True):
    """What a write came to. `deleted`: the object is gone and `json` is a Status; else `json` is the object."""

    json: bytes
    version: int
    created: bool = False
    deleted: bool = False
    warnings: tuple[str, ...] = ()


class Parts(msgspec.Struct, frozen=True):
    """What the pipeline stands on."""

    registry: Registry
    schemas: Schemas
    cache: ObjectCache
    committer: Committer
    claims: Claims
    authorizer: Authorizer
    admission: Chain
    clock: Clock

    def schema(self, resource: Resource) -> KindSchema:
        """Return the schema of a resource's documents."""
        return resource.schema or self.schemas.of(resource.group, resource.version, resource.kind)


YAML_ERRORS: Final = "yaml: unmarshal errors:"
"""What comes before all that is wrong with a YAML document, a line each."""

MAX_MANAGER: Final = 128
"""Bytes of a field manager's name."""

_LEFT_OUT_IF_EMPTY: Final = ("labels", "annotations", "ownerReferences", "finalizers")

NO_MATCH: Final = "the namespace of the provided object does not match the namespace sent on the request"


def decode(schema: KindSchema, body: bytes, options: WriteOptions) -> tuple[Document, list[str]]:
    """Return the document that a write brings, and warnings. Raises BadRequestError, worded as Kubernetes'."""
    if not options.repeated:
        return schema.decode(body, options.field_validation)
    document, warnings = schema.decode(body, "Warn")
    if options.field_validation != "Strict":
        return document, [*options.repeated, *warnings]
    kind, api_version = document.get("kind") or schema.kind, document.get("apiVersion") or schema.version
    told = ", ".join(("\n  ".join((YAML_ERRORS, *options.repeated)), *warnings))
    problem = f"cannot be handled as a {schema.kind}: strict decoding error: {told}"
    raise BadRequestError(f'{kind} in version "{api_version.rpartition("/")[2]}" {problem}')


def metadata_of(document: Document) -> Document:
    """Return the metadata, adding it when it is absent; what is empty in it is left out, as in Kubernetes."""
    metadata: Document | None = document.get("metadata")
    if metadata is None:
        metadata = document["metadata"] = {}
    for name in _LEFT_OUT_IF_EMPTY:
        if name in metadata and not metadata[name]:
            del metadata[name]
    return metadata


def check_kind(document: Document, api_version: str, kind: str) -> None:
    """Fill in kind and apiVersion, refuse others than the path's. Raises BadRequestError."""
    given_version = document.get("apiVersion") or api_version
    given_kind = document.get("kind") or kind
    if given_version != api_version:
        raise BadRequestError(
            f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )
    if given_kind != kind:
        version = api_version.rpartition("/")[2]
        raise BadRequestError(
            f'{given_kind} in version "{version}" cannot be handled as a {kind}: '
            f'no kind "{given_kind}" is registered for this path'
        )
    document["apiVersion"] = api_version
    document["kind"] = kind


def check_namespace(metadata: Document, resource: Resource, namespace: str) -> None:
    """Give the object the request's namespace, refuse another. Raises BadRequestError."""
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.get("namespace") in {None, "", namespace}:
        metadata["namespace"] = namespace
    else:
        raise BadRequestError(NO_MATCH)


def refuse_invalid(resource: Resource, name: str, causes: list[Cause]) -> None:
    """Raise InvalidError when there are causes."""
    if causes:
        raise InvalidError.of(resource.kind, resource.group, name, causes)
