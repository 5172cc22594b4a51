"""Media types: what a client sends, and the form in which it wants its answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import msgspec
import yaml

from orch.errors import BadRequestError, NotAcceptableError, UnsupportedMediaTypeError

JSON: Final = "application/json"
YAML: Final = "application/yaml"

Form = Literal["Object", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]

PATCHES: Final = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
}

_YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})


class Accepted(msgspec.Struct, frozen=True):
    """The answer's media type, and for JSON the form (`as`) with its version."""

    media_type: str = JSON
    form: Form = "Object"
    version: str = ""


_FORMS: Final = frozenset(Form.__args__)  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType,reportUnknownArgumentType]


@lru_cache(maxsize=1024)
def accepted(header: str) -> Accepted:
    """Return the first form in an Accept header that orch can produce. Raises NotAcceptableError when there is none."""
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
    raise NotAcceptableError(f"only the following media types are accepted: {JSON}, {YAML}")


def body_as_json(content_type: str, body: bytes) -> bytes:
    """Return a request's body as JSON. Raises UnsupportedMediaTypeError and, for bad YAML, BadRequestError."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in {JSON, ""} or media_type.startswith("*/"):
        return body
    if media_type in _YAML_TYPES:
        return _yaml_to_json(body)
    raise UnsupportedMediaTypeError(
        f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}"
    )


def patch_kind(content_type: str) -> Literal["json", "merge", "strategic"]:
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
