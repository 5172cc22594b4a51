"""JSON patch against a second reading of RFC 6902, which builds a new document at each step instead of changing one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import InvalidError
from orch_api.patch import json_patch

KEYS = ("a", "b", "a/b", "m~n", "0", "")
STEPS = st.sampled_from((*KEYS, "-", "1", "2", "-1", "-2", "9"))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(("", "x"))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)


class Refused(Exception):  # noqa: N818 - the oracle's own way to say no
    pass


def pointer(path: tuple[str, ...]) -> str:
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in path)


def paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for step, one in inner for found in paths(one, (*path, str(step))))]


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[str, tuple[str, ...], tuple[str, ...], Any]]]:
    """A document, and operations of which most lead to places that it has or nearly has."""
    document = draw(DOCUMENTS)
    known = st.sampled_from(paths(document))
    near = st.one_of(known, st.builds(lambda path, step: (*path, step), known, STEPS)).filter(bool)
    kinds = st.sampled_from(("add", "remove", "replace", "move", "copy", "test"))
    return document, draw(st.lists(st.tuples(kinds, near, near, VALUES), min_size=1, max_size=4))


def place(items: list[Any], step: str, *, end: int = 0) -> int:
    size = len(items) + end
    try:
        index = int(step)
    except ValueError:
        raise Refused from None
    if not -size <= index < size:
        raise Refused
    return index % size


def get(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if isinstance(value, dict):
            if step not in value:
                raise Refused
            value = value[step]
        elif isinstance(value, list):
            value = value[place(value, step)]
        else:
            raise Refused
    return value


def changed(value: Any, path: tuple[str, ...], do: Any) -> Any:
    """The value with what `do` makes of the container and the last step in place of that container."""
    step, *rest = path
    if not rest:
        if not isinstance(value, dict | list):
            raise Refused
        return do(value, step)
    inner = get(value, (step,))
    if isinstance(value, dict):
        return {**value, step: changed(inner, tuple(rest), do)}
    at = place(value, step)
    return [*value[:at], changed(inner, tuple(rest), do), *value[at + 1 :]]


def added(container: Any, step: str, new: Any) -> Any:
    if isinstance(container, dict):
        return {**container, step: new}
    at = len(container) if step == "-" else place(container, step, end=1)
    return [*container[:at], new, *container[at:]]


def removed(container: Any, step: str) -> Any:
    get(container, (step,))
    if isinstance(container, dict):
        return {key: one for key, one in container.items() if key != step}
    at = place(container, step)
    return [*container[:at], *container[at + 1 :]]


def replaced(container: Any, step: str, new: Any) -> Any:
    get(container, (step,))
    if isinstance(container, dict):
        return {**container, step: new}
    at = place(container, step)
    return [*container[:at], new, *container[at + 1 :]]


def checked(document: Any, path: tuple[str, ...], value: Any) -> Any:
    """The document, when it has the value there; evanphx's library takes nothing for null, except behind nothing."""
    get(document, path[:-1])
    try:
        found = get(document, path)
    except Refused:
        found = None
        if value is not None:
            raise
    if repr(ordered(found)) != repr(ordered(value)):
        raise Refused
    return document


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(one) for one in value] if isinstance(value, list) else value


def oracle(document: Any, kind: str, path: tuple[str, ...], source: tuple[str, ...], value: Any) -> Any:
    if kind in {"copy", "move"}:
        value = get(document, source)
    if kind == "move":
        if path == source:
            return document
        if path[: len(source)] == source:
            raise Refused
        document = changed(document, source, removed)
    if kind == "test":
        return checked(document, path, value)
    if kind == "remove":
        return changed(document, path, removed)
    change = replaced if kind == "replace" else added
    return changed(document, path, lambda at, step: change(at, step, value))


@given(cases())
def test_operations_do_what_the_rfc_says(
    case: tuple[dict[str, Any], list[tuple[str, tuple[str, ...], tuple[str, ...], Any]]],
) -> None:
    document, operations = case
    before = copy.deepcopy(document)
    patch = [
        {"op": kind, "path": pointer(path), "from": pointer(source), "value": value}
        for kind, path, source, value in operations
    ]
    expected: Any = document
    try:
        for kind, path, source, value in operations:
            expected = oracle(expected, kind, path, source, value)
    except Refused:
        with pytest.raises(InvalidError):
            json_patch.apply(document, patch)
    else:
        assert repr(ordered(json_patch.apply(document, patch))) == repr(ordered(expected))
    assert document == before


def difference(old: Any, new: Any, path: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """A patch from one document to another: maps member by member, lists from their end."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [{"op": "remove", "path": pointer((*path, key))} for key in old if key not in new]
        came = [{"op": "add", "path": pointer((*path, key)), "value": new[key]} for key in new if key not in old]
        return [
            *gone,
            *came,
            *(one for key in new if key in old for one in difference(old[key], new[key], (*path, key))),
        ]
    if isinstance(old, list) and isinstance(new, list):
        gone = [{"op": "remove", "path": pointer((*path, "-1"))} for _ in old[len(new) :]]
        came = [{"op": "add", "path": pointer((*path, "-")), "value": one} for one in new[len(old) :]]
        pairs = enumerate(zip(old, new, strict=False))
        return [*gone, *(one for at, pair in pairs for one in difference(*pair, (*path, str(at)))), *came]
    same = repr(ordered(old)) == repr(ordered(new))
    return [] if same else [{"op": "replace", "path": pointer(path), "value": new}]


@given(DOCUMENTS, DOCUMENTS)
def test_a_difference_leads_from_one_document_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert repr(ordered(json_patch.apply(old, difference(old, new)))) == repr(ordered(new))


@pytest.mark.parametrize("step", ["9" * 5000, "-" + "9" * 5000, "9" * 19])
def test_a_place_that_no_list_has(step: str) -> None:
    for path in (f"/a/{step}", f"/a/{step}/b"):
        with pytest.raises(InvalidError):
            json_patch.apply({"a": [{}]}, [{"op": "add", "path": path, "value": 1}])
