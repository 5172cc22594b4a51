"""The definitions of user-defined kinds as the OpenAPI documents have them; references are bare names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from orch_api.extensions.documents import CustomSchema

_LIKE: Final = "io.k8s.api.core.v1.Namespace"
"""Any kind of Kubernetes: what all objects have is told of user-defined ones in its words."""
_NOT_IN_V2: Final = frozenset({"allOf", "anyOf", "oneOf", "not", "nullable"})

Schema = dict[str, Any]


def definitions(schema: CustomSchema, others: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the definitions of a kind and of its lists for OpenAPI v3; `others` are those of Kubernetes' kinds."""
    return _definitions(schema, dict(schema.published), others)


def definitions_v2(schema: CustomSchema, others: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the definitions for OpenAPI v2, which knows no alternatives and nothing nullable.

    Of a kind that may have any fields none is told: old clients would take those for all that there may be.
    """
    if schema.published.get("x-kubernetes-preserve-unknown-fields"):
        return _definitions(schema, {"type": "object"}, others, told=False)
    return _definitions(schema, _simplified(schema.published), others)


def _definitions(
    schema: CustomSchema, kind: Schema, others: Mapping[str, Schema], *, told: bool = True
) -> dict[str, Schema]:
    named: Mapping[str, Any] = kind.get("properties") or {}
    typed = {name: others[_LIKE]["properties"][name] for name in ("apiVersion", "kind")}
    if told:
        kind["properties"] = {**named, **typed, "metadata": others[_LIKE]["properties"]["metadata"]}
        kind.setdefault("type", "object")
    kind["x-kubernetes-group-version-kind"] = [_identity(schema, schema.kind)]
    if schema.selectable:
        kind["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in schema.selectable]
    items = {"type": "array", "items": {"$ref": schema.name}, "description": "the objects of the list"}
    of_list: Schema = {
        "type": "object",
        "description": f"{schema.list_kind} is a list of {schema.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": typed["apiVersion"],
            "items": items,
            "kind": typed["kind"],
            "metadata": others[f"{_LIKE}List"]["properties"]["metadata"],
        },
        "x-kubernetes-group-version-kind": [_identity(schema, schema.list_kind)],
    }
    return {schema.name: kind, schema.list_name: of_list}


def _identity(schema: CustomSchema, kind: str) -> dict[str, str]:
    return {"group": schema.group, "version": schema.version, "kind": kind}


def _simplified(schema: Mapping[str, Any]) -> Schema:
    """Return a schema as Kubernetes shows it in v2: what old clients would misread is left out."""
    vague = any(
        schema.get(name) for name in ("nullable", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
    )
    result: Schema = {}
    for key, value in schema.items():
        if key in _NOT_IN_V2 or (vague and key in {"type", "items", "properties", "additionalProperties"}):
            continue
        if key == "properties":
            result[key] = {name: _simplified(inner) for name, inner in value.items()}
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            result[key] = _simplified(cast("Schema", value))
        elif key != "additionalProperties":
            result[key] = value
    return result
