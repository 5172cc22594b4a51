"""Finds members that an object of JSON names twice: most readers keep the last one and say nothing."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from orch_api.schema.explain import Members, parse


def may_repeat(body: bytes, decoded: Any) -> bool:
    """Return whether `body` may name a member twice; `decoded` is what it says, as far as it is not null.

    Every member of an object has a colon, and JSON does not escape colons in texts unless it wants to. So when the
    decoded document, written again, has as many colons as the body, then no member was lost.
    """
    if b"\\u003" in body and (b"\\u003a" in body or b"\\u003A" in body):
        return True
    colons = body.count(b":")
    if colons == msgspec.json.encode(decoded).count(b":"):
        return False
    # Null fields are not in the document, but they are in the untyped value.
    return colons != msgspec.json.encode(msgspec.json.decode(body)).count(b":")


def repeated(body: bytes) -> list[str]:
    """Return the paths of the members that occur twice in their object. Raises ValueError for what is no JSON."""
    found: dict[str, None] = {}
    _collect(parse(body.decode("utf-8", "replace")), "", found)
    return list(found)


def _collect(value: Any, path: str, found: dict[str, None]) -> None:
    if isinstance(value, Members):
        seen: set[str] = set()
        for name, inner in value:
            where = f"{path}.{name}" if path else name
            if name in seen:
                found[where] = None
            seen.add(name)
            _collect(inner, where, found)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            _collect(item, f"{path}[{index}]", found)
