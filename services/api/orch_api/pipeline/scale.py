"""The scale subresource: autoscaling/v1 Scale as a view of objects that have replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from orch.errors import BadRequestError, InternalError
from orch_api.registry import Resource
from orch_api.resource import ScalePaths
from orch_api.strategy import Document, section

GROUP: Final = "autoscaling"
VERSION: Final = "v1"
KIND: Final = "Scale"
API_VERSION: Final = f"{GROUP}/{VERSION}"

_GO_TYPES: Final[Mapping[type, str]] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}
_META: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def render(resource: Resource, document: Document) -> Document:
    """Return the Scale of an object."""
    paths = _paths(resource)
    metadata = document["metadata"]
    status: Document = {"replicas": _at(document, paths.status_replicas, int) or 0}
    selector = _at(document, paths.selector, str, dict) if paths.selector else None
    if paths.plain_selector:
        selector = {"matchLabels": selector}
    if text := selector if isinstance(selector, str) else selector_text(selector or {}):
        status["selector"] = text
    return {
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {name: metadata[name] for name in _META if name in metadata},
        "spec": {"replicas": _at(document, paths.spec_replicas, int) or 0},
        "status": status,
    }


def apply(resource: Resource, document: Document, scale: Document) -> Document:
    """Return the object as `scale` wants it: other replicas, and the identity that it names as precondition."""
    path = _paths(resource).spec_replicas
    *parents, field = path
    changed = dict(document)
    inner = changed
    for depth, name in enumerate(parents, 1):
        _at(document, path[:depth], dict)
        copied: Document = dict(inner.get(name) or {})
        inner[name] = copied
        inner = copied
    inner[field] = section(scale, "spec").get("replicas") or 0
    metadata: Document = scale.get("metadata") or {}
    named = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if metadata.get(name)}
    changed["metadata"] = {**document["metadata"], "resourceVersion": "", **named}
    return changed


def as_configuration(resource: Resource, scale: Document) -> Document:
    """Return what an applied Scale wants of the object itself."""
    *parents, field = _paths(resource).spec_replicas
    configuration: Document = {"apiVersion": resource.api_version, "kind": resource.kind}
    configuration["metadata"] = scale.get("metadata") or {}
    inner = configuration
    for name in parents:
        inner = inner.setdefault(name, {})
    if (replicas := section(scale, "spec").get("replicas")) is not None:
        inner[field] = replicas
    return configuration


def selector_text(selector: Mapping[str, Any]) -> str:
    """Return a LabelSelector as the text that `kubectl get -l` takes."""
    labels: Mapping[str, str] = section(selector, "matchLabels")
    parts = [f"{key}={value}" for key, value in sorted(labels.items())]
    for requirement in selector.get("matchExpressions") or ():
        key, operator = requirement.get("key", ""), requirement.get("operator")
        values = ",".join(sorted(requirement.get("values") or ()))
        if operator == "Exists":
            parts.append(key)
        elif operator == "DoesNotExist":
            parts.append(f"!{key}")
        else:
            parts.append(f"{key} {'in' if operator == 'In' else 'notin'} ({values})")
    return ",".join(parts)


def _paths(resource: Resource) -> ScalePaths:
    if resource.scale is None:
        raise BadRequestError(f"{resource.qualified} has no scale")
    return resource.scale


def _at(document: Document, path: tuple[str, ...], *expected: type) -> Any:
    """Return what is at a path, None when nothing is. Raises InternalError, as Kubernetes does, for other types.

    A user-defined kind may say that its scale is where its schema allows anything.
    """
    inner: Any = document
    for depth, name in enumerate(path, 1):
        inner = inner.get(name)
        known = expected if depth == len(path) else (dict,)
        if inner is None:
            return None
        if not isinstance(inner, known) or isinstance(inner, bool):
            found, wanted = _GO_TYPES[inner.__class__], _GO_TYPES[known[0]]
            shown = msgspec.json.encode(inner).decode()
            raise InternalError(f".{'.'.join(path)} accessor error: {shown} is of the type {found}, expected {wanted}")
    return inner
