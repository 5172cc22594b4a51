"""Sets of fields behave as sets of paths do: an independent, plain model says what each operation must return."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch_api.fields import sets

Path = tuple[str, ...]
ELEMENTS = ("f:a", "f:b", 'k:{"name":"x"}', 'v:"y"')
PATHS = st.sets(st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4).map(tuple), max_size=12)


def tree(paths: set[Path]) -> sets.FieldSet:
    """Return the set of these paths, made in the plainest way."""
    root: dict[str, Any] = {}
    for path in paths:
        inner = root
        for element in path:
            inner = inner.setdefault(element, {})
        inner[sets.SELF] = {}
    return _tidy(root)


def _tidy(node: dict[str, Any]) -> dict[str, Any]:
    if set(node) == {sets.SELF}:
        return {}
    return {element: _tidy(inner) if element != sets.SELF else inner for element, inner in node.items()}


@given(PATHS, PATHS)
def test_operations_are_those_of_plain_sets(one: set[Path], other: set[Path]) -> None:
    left, right = tree(one), tree(other)
    assert set(sets.paths(sets.union(left, right))) == one | other
    assert set(sets.paths(sets.difference(left, right))) == one - other
    assert set(sets.paths(sets.intersection(left, right))) == one & other
    assert (left, right) == (tree(one), tree(other)), "a set was changed"


@given(PATHS, st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4).map(tuple))
def test_membership(members: set[Path], path: Path) -> None:
    assert sets.contains(tree(members), path) == (path in members)


@given(PATHS, PATHS)
def test_results_have_one_form(one: set[Path], other: set[Path]) -> None:
    assert sets.union(tree(one), tree(other)) == tree(one | other)
    assert sets.difference(tree(one), tree(other)) == tree(one - other)
    assert sets.intersection(tree(one), tree(other)) == tree(one & other)


def test_paths_are_shown_as_kubernetes_shows_them() -> None:
    path = ("f:spec", "f:containers", 'k:{"name":"web"}', "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}')
    assert sets.shown(path) == '.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"]'
    assert sets.shown(("f:metadata", "f:finalizers", 'v:"a/b"')) == '.metadata.finalizers[="a/b"]'
