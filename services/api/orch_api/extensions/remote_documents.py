"""The OpenAPI documents of aggregated servers, as they last told them: what of them belongs to their group and version.

kube-aggregator's openapi and openapiv3 packages do this: a definition that means something else under a name that is
taken gets another name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

Document = dict[str, Any]

_POINTER: Final = "#/definitions/"


class RemoteDocument(msgspec.Struct, frozen=True):
    """What a server tells of one group and version; empty where it tells nothing."""

    place: str
    """Where the document is in the index: "apis/metrics.example.com/v1"."""
    v3: bytes = b""
    v2: bytes = b""
    """The paths and the definitions that they refer to, as JSON."""


class RemoteDocuments:
    """The documents of all aggregated servers, by the names of their APIServices."""

    def __init__(self) -> None:
        self._kept: dict[str, RemoteDocument] = {}
        self.edition = 0
        """Counts the changes."""

    def put(self, name: str, document: RemoteDocument) -> None:
        """Keep what a server tells."""
        if self._kept.get(name) != document:
            self._kept[name] = document
            self.edition += 1

    def drop(self, name: str) -> None:
        """Forget what a server told."""
        if self._kept.pop(name, None) is not None:
            self.edition += 1

    def v3(self) -> Mapping[str, bytes]:
        """Return the documents of OpenAPI v3 by their places."""
        return {one.place: one.v3 for one in self._kept.values() if one.v3}

    def merge_v2(self, content: Document) -> Document:
        """Return a document of OpenAPI v2 with what the servers tell in place of what is told of them."""
        merged = {**content, "paths": dict(content["paths"]), "definitions": dict(content["definitions"])}
        for one in self._kept.values():
            if not one.v2:
                continue
            told = _without_clashes(msgspec.json.decode(one.v2, type=Document), merged["definitions"])
            root = f"/{one.place}/"
            for path in [path for path in merged["paths"] if path.startswith(root)]:
                del merged["paths"][path]
            merged["paths"] |= told["paths"]
            merged["definitions"] |= told["definitions"]
        merged["paths"] = dict(sorted(merged["paths"].items()))
        return merged


def own_part(content: Document, place: str) -> bytes:
    """Return the paths of a document of OpenAPI v2 that are below a place, and the definitions that they refer to."""
    root = f"/{place}"
    paths = {
        path: one
        for path, one in _section(content, "paths").items()
        if path == f"{root}/" or path.startswith(f"{root}/")
    }
    known = _section(content, "definitions")
    needed: dict[str, Any] = {}
    queue = list(_references(paths))
    while queue:
        name = queue.pop()
        if name in known and name not in needed:
            needed[name] = known[name]
            queue += _references(known[name])
    return msgspec.json.encode({"paths": paths, "definitions": needed}) if paths else b""


def _without_clashes(told: Document, taken: Mapping[str, Any]) -> Document:
    """Return a document whose definitions have names that stand for nothing else."""
    renamed: dict[str, str] = {}
    for name, definition in told["definitions"].items():
        if name in taken and taken[name] != definition:
            number = 2
            while f"{name}_v{number}" in taken or f"{name}_v{number}" in told["definitions"]:
                number += 1
            renamed[name] = f"{name}_v{number}"
    if not renamed:
        return told
    definitions = {renamed.get(name, name): one for name, one in told["definitions"].items()}
    return _pointed_elsewhere({"paths": told["paths"], "definitions": definitions}, renamed)


def _pointed_elsewhere(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        result: Document = {}
        for name, inner in cast("Document", value).items():
            if name == "$ref" and isinstance(inner, str):
                target = inner.removeprefix(_POINTER)
                result[name] = _POINTER + renamed.get(target, target)
            else:
                result[name] = _pointed_elsewhere(inner, renamed)
        return result
    if isinstance(value, list):
        return [_pointed_elsewhere(inner, renamed) for inner in cast("list[Any]", value)]
    return value


def _references(value: Any) -> Iterator[str]:
    level: list[Any] = [value]
    while level:
        one = level.pop()
        if isinstance(one, dict):
            inside = cast("Document", one)
            target = inside.get("$ref")
            if isinstance(target, str):
                yield target.removeprefix(_POINTER)
            level += inside.values()
        elif isinstance(one, list):
            level += cast("list[Any]", one)


def _section(content: Document, name: str) -> Document:
    found: Any = content.get(name)
    return cast("Document", found) if isinstance(found, dict) else {}
