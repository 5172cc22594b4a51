"""Media types: what a client sends, and the form in which it wants its answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import msgspec
import yaml

from orch.errors import BadRequestError, NotAcceptableError, UnsupportedMediaTypeError
from orch_api import wire

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = wire.PROTOBUF

Form = Literal["Object", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]

PATCHES: Final = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}

_YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})


class Accepted(msgspec.Struct, frozen=True):
    """The answer's media type, and for JSON and protobuf the form (`as`) with its version."""

    media_type: str = JSON
    form: Form = "Object"
    version: str = ""


_FORMS: Final = frozenset(Form.__args__)  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType,reportUnknownArgumentType]

_PROTOBUF_FORMS: Final = frozenset({"PartialObjectMetadata", "PartialObjectMetadataList"})


@lru_cache(maxsize=1024)
def accepted(header: str, *, protobuf: bool = False) -> Accepted:
    """Return the first form in an Accept header that orch can produce. Raises NotAcceptableError when there is none.

    `protobuf` says whether what is asked for has a form in protobuf.
    """
    if not header:
        return Accepted()
    for clause in header.split(","):
        media_type, _, rest = clause.strip().partition(";")
        parameters: dict[str, str] = {}
        for part in rest.split(";"):
            key, _, value = part.strip().partition("=")
            parameters[key] = value
        form = parameters.get("as", "")
        if media_type in {JSON, "*/*", "application/*"}:
            if not form:
                return Accepted()
            if form in _FORMS:
                return Accepted(JSON, form, parameters.get("v", "v1"))  # pyright: ignore[reportArgumentType]
        elif media_type in _YAML_TYPES and not form:
            return Accepted(YAML)
        elif media_type == PROTOBUF and protobuf:
            if not form:
                return Accepted(PROTOBUF)
            if form in _PROTOBUF_FORMS:
                return Accepted(PROTOBUF, form, parameters.get("v", "v1"))  # pyright: ignore[reportArgumentType]
    offered = f"{JSON}, {YAML}, {PROTOBUF}" if protobuf else f"{JSON}, {YAML}"
    raise NotAcceptableError(f"only the following media types are accepted: {offered}")


def body_as_json(content_type: str, body: bytes) -> bytes:
    """Return a request's body as JSON. Raises UnsupportedMediaTypeError; BadRequestError for bad YAML or protobuf."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in {JSON, ""} or media_type.startswith("*/"):
        return body
    if media_type in _YAML_TYPES:
        return _yaml_to_json(body)
    if media_type == PROTOBUF:
        return wire.json_of(body)
    offered = f"{JSON}, {YAML}, {PROTOBUF}"
    raise UnsupportedMediaTypeError(
        f"the body of the request was in an unknown format - accepted media types include: {offered}"
    )


def patch_kind(content_type: str) -> Literal["json", "merge", "strategic", "apply"]:
    """Return the kind of patch that a content type names."""
    kind = PATCHES.get(content_type.partition(";")[0].strip().lower())
    if kind is None:
        listed = ", ".join(PATCHES)
        raise UnsupportedMediaTypeError(
            f"the body of the request was in an unknown format - accepted media types include: {listed}"
        )
    return kind  # pyright: ignore[reportReturnType]


_load: Callable[..., object] = yaml.load
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml_to_json(body: bytes) -> bytes:
    try:
        document = _load(body, Loader=_Loader)
        return msgspec.json.encode(document)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise BadRequestError(f"error converting YAML to JSON: yaml: {error}") from error


def json_to_yaml(document: bytes) -> bytes:
    """Return a JSON document as YAML."""
    return yaml.safe_dump(msgspec.json.decode(document), sort_keys=False).encode()
