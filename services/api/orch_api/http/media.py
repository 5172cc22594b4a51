"""Media types: what a client sends, and the form in which it wants its answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

import msgspec

from orch.errors import NotAcceptableError, UnsupportedMediaTypeError
from orch_api import wire
from orch_api.http import cbor
from orch_api.http.preferences import clauses
from orch_api.http.yaml_documents import yaml_to_json

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = wire.PROTOBUF
CBOR: Final = cbor.MEDIA_TYPE

Form = Literal["Object", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]

PATCHES: Final = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    cbor.APPLY: "apply",
}

_JSON_TYPES: Final = frozenset({JSON, "*/*", "application/*"})
_YAML_TYPES: Final = frozenset({YAML, "application/x-yaml", "text/yaml"})


class Accepted(msgspec.Struct, frozen=True):
    """The answer's media type, and for JSON and protobuf the form (`as`) with its version."""

    media_type: str = JSON
    form: Form = "Object"
    version: str = ""


_META: Final = ("meta.k8s.io", frozenset({"v1", "v1beta1"}))
_FORMS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "Table": _META,
    "PartialObjectMetadata": _META,
    "PartialObjectMetadataList": _META,
    "APIGroupDiscoveryList": ("apidiscovery.k8s.io", frozenset({"v2", "v2beta1"})),
}
"""The forms that a client may ask for, each with its group and versions."""

_PROTOBUF_FORMS: Final = frozenset({"", "PartialObjectMetadata", "PartialObjectMetadataList"})


@lru_cache(maxsize=1024)
def accepted(
    header: str, *, protobuf: bool = False, discovery: bool = False, forms: bool = True, streamed: bool = True
) -> Accepted:
    """Return the form in an Accept header that is wanted most of those that orch can produce.

    `protobuf` says whether what is asked for has a form in protobuf, `discovery` whether it is a document of what is
    served rather than an object, `forms` whether it can be shown in other forms at all, `streamed` whether the answer
    is a stream of bytes rather than of messages. Raises NotAcceptableError when there is none.
    """
    if not header:
        return Accepted()
    for clause in sorted(clauses(header), key=lambda each: -each.quality):
        media_type, form = clause.value, clause.parameters.get("as", "")
        version = clause.parameters.get("v", "")
        if form:
            if not forms:
                continue
            group, versions = _FORMS.get(form, ("", frozenset[str]()))
            if clause.parameters.get("g", "") != group or version not in versions:
                continue
            if discovery != (form == "APIGroupDiscoveryList"):
                continue
        if media_type in _JSON_TYPES:
            return Accepted(JSON, form or "Object", version)  # pyright: ignore[reportArgumentType]
        if media_type in _YAML_TYPES:
            return Accepted(YAML, form or "Object", version)  # pyright: ignore[reportArgumentType]
        if media_type == PROTOBUF and protobuf and form in _PROTOBUF_FORMS:
            return Accepted(PROTOBUF, form or "Object", version)  # pyright: ignore[reportArgumentType]
        if media_type == CBOR and streamed and not discovery:
            return Accepted(CBOR, form or "Object", version)  # pyright: ignore[reportArgumentType]
    offered = ", ".join((JSON, YAML, *((PROTOBUF,) if protobuf else ()), *(() if discovery else (CBOR,))))
    raise NotAcceptableError(f"only the following media types are accepted: {offered}")


def is_yaml(content_type: str) -> bool:
    """Return whether a request's body is YAML."""
    return content_type.partition(";")[0].strip().lower() in _YAML_TYPES


def body_as_json(content_type: str, body: bytes) -> bytes:
    """Return a request's body as JSON. Raises UnsupportedMediaTypeError; BadRequestError for bad YAML or protobuf."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in {JSON, ""} or media_type.startswith("*/"):
        return body
    if media_type in _YAML_TYPES:
        return yaml_to_json(body)
    if media_type == PROTOBUF:
        return wire.json_of(body)
    if media_type in {CBOR, cbor.APPLY}:
        return cbor.cbor_to_json(body)
    offered = f"{JSON}, {YAML}, {PROTOBUF}, {CBOR}"
    raise UnsupportedMediaTypeError(
        f"the body of the request was in an unknown format - accepted media types include: {offered}"
    )


def patch_kind(content_type: str, *, strategic: bool = True) -> Literal["json", "merge", "strategic", "apply"]:
    """Return the kind of patch that a content type names; `strategic` says whether a strategic one is possible."""
    offered = {name: kind for name, kind in PATCHES.items() if strategic or kind != "strategic"}
    kind = offered.get(content_type.partition(";")[0].strip().lower())
    if kind is None:
        listed = ", ".join(offered)
        raise UnsupportedMediaTypeError(
            f"the body of the request was in an unknown format - accepted media types include: {listed}"
        )
    return kind  # pyright: ignore[reportReturnType]
