"""YAML from clients and for them. What a client sends is bounded before anything is built of it.

libyaml's loader recurses in C for every level, so a few hundred kilobytes of nesting would end the process; and a few
lines of aliases can stand for gigabytes. Both are looked for in the stream of events, which holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgspec
import yaml

from orch.errors import BadRequestError
from orch.quoting import quote
from orch_api.schema.repeated import may_repeat

MAX_DEPTH: Final = 500
MAX_NODES: Final = 250_000
"""Nodes that a document may have once its aliases are replaced by what they stand for."""

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_load: Callable[..., object] = yaml.load
_dump: Callable[..., str] = yaml.dump
_compose: Callable[..., yaml.Node | None] = yaml.compose
_parse = cast("Callable[..., Iterable[yaml.Event]]", yaml.parse)


def yaml_to_json(body: bytes) -> bytes:
    """Return a YAML document as JSON. Raises BadRequestError."""
    if body.lstrip()[:1] == b"{" and _is_json(body):
        return body  # what client-go sends as YAML
    try:
        _check(body)
        return msgspec.json.encode(_load(body, Loader=_Loader))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadRequestError(f"error converting YAML to JSON: yaml: {error}") from error


def repeated_keys(body: bytes, as_json: bytes) -> tuple[str, ...]:
    """Return which keys a YAML document has twice in their map and where, each as Kubernetes words it.

    `as_json` is what yaml_to_json made of it. Raises BadRequestError for a document that is too deep or too large.
    """
    if as_json is body and not may_repeat(body, msgspec.json.decode(body)):
        return ()
    try:
        _check(body)
        return _told_twice(_compose(body, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRequestError(f"error converting YAML to JSON: yaml: {error}") from error


def _told_twice(document: yaml.Node | None) -> tuple[str, ...]:
    found: list[tuple[int, str]] = []
    level = [] if document is None else [document]
    while level:
        node = level.pop()
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    name: str = key.value
                    if name in seen:
                        found.append((key.start_mark.line + 1, name))
                    seen.add(name)
                level.append(value)
        elif isinstance(node, yaml.SequenceNode):
            level += node.value
    return tuple(f"line {line}: key {quote(name)} already set in map" for line, name in sorted(found))


def json_to_yaml(document: bytes) -> bytes:
    """Return a JSON document as YAML."""
    return _dump(msgspec.json.decode(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode()


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _check(body: bytes) -> None:
    """Raise ValueError for a document that nests too deeply, holds itself, or is too large without its aliases."""
    sizes: dict[str, int] = {}  # of what has an anchor
    opened: list[tuple[str, int]] = []  # the anchors of what is open, and the size before it
    size = 0
    for event in _parse(body, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            named = _anchor(event) or ""
            if any(anchor == named for anchor, _ in opened):
                raise ValueError(f"anchor '{named}' value contains itself")
            size += sizes.get(named, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = size - before
        elif isinstance(event, yaml.NodeEvent):
            size += 1
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((_anchor(event) or "", size - 1))
                if len(opened) > MAX_DEPTH:
                    raise ValueError(f"exceeded max depth of {MAX_DEPTH}")
        if size > MAX_NODES:
            raise ValueError("document contains excessive aliasing")


def _anchor(event: yaml.NodeEvent) -> str | None:
    found: Any = event.anchor
    return found
