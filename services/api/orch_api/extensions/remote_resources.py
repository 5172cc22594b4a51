"""What an aggregated API's discovery document lists, as entries of the registry: for discovery alone.

Requests for them are passed on as they are; the entries have neither schema nor objects here.
"""

from __future__ import annotations

from typing import Any, Final, cast

from orch_api.resource import Resource, Subresource
from orch_api.strategy import Strategy

_STRATEGY: Final = Strategy()
_MAX_RESOURCES: Final = 1000

Row = dict[str, Any]


def remote_resources(group: str, version: str, document: Row) -> tuple[Resource, ...]:
    """Return the resources of an APIResourceList; rows that make no sense are left out."""
    listed: Any = document.get("resources")
    some = cast("list[Any]", listed) if isinstance(listed, list) else []
    rows = [cast("Row", row) for row in some[:_MAX_RESOURCES] if isinstance(row, dict)]
    inner: dict[str, dict[str, Subresource]] = {}
    for row in rows:
        plural, slash, name = _text(row, "name").partition("/")
        if slash and name:
            kind = _text(row, "kind")
            below = Subresource(kind, _text(row, "group") or group, _text(row, "version") or version, _verbs(row))
            inner.setdefault(plural, {})[name] = below
    return tuple(
        Resource(
            group=group,
            version=version,
            plural=_text(row, "name"),
            singular=_text(row, "singularName") or _text(row, "kind").lower(),
            kind=_text(row, "kind"),
            namespaced=row.get("namespaced") is True,
            short_names=_texts(row, "shortNames"),
            categories=_texts(row, "categories"),
            verbs=_verbs(row),
            subresources=inner.get(_text(row, "name"), {}),
            strategy=_STRATEGY,
            stored=False,
        )
        for row in rows
        if _text(row, "name") and "/" not in _text(row, "name") and _text(row, "kind")
    )


def unknown_resource(group: str, version: str, plural: str, *, namespaced: bool) -> Resource:
    """Return the resource that a request names when the API's discovery does not list it, or not yet."""
    return Resource(
        group=group,
        version=version,
        plural=plural,
        singular=plural,
        kind=plural,
        namespaced=namespaced,
        strategy=_STRATEGY,
        stored=False,
    )


def _text(row: Row, name: str) -> str:
    found = row.get(name)
    return found if isinstance(found, str) else ""


def _texts(row: Row, name: str) -> tuple[str, ...]:
    found: Any = row.get(name)
    some = cast("list[Any]", found) if isinstance(found, list) else []
    return tuple(one for one in some if isinstance(one, str))


def _verbs(row: Row) -> frozenset[str]:
    return frozenset(_texts(row, "verbs"))
