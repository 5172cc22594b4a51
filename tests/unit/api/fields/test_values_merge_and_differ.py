"""Walks over typed values: what a comparison finds, a merge makes and a removal leaves fits together."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch_api.fields import sets, values
from orch_api.schema import Schemas

DEPLOYMENT = Schemas.load().of("apps", "v1", "Deployment").fields

_TEXTS = st.sampled_from(("", "a", "b", "c"))
_PORT = st.fixed_dictionaries(
    {"containerPort": st.integers(1, 3), "protocol": st.sampled_from(("TCP", "UDP"))}, optional={"name": _TEXTS}
)
_CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from(("x", "y", "z"))},
    optional={
        "image": _TEXTS,
        "command": st.lists(_TEXTS, max_size=2),
        "ports": st.lists(_PORT, max_size=3, unique_by=lambda port: (port["containerPort"], port["protocol"])),
        "env": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(("A", "B"))}, optional={"value": _TEXTS}),
            max_size=2,
            unique_by=lambda variable: variable["name"],
        ),
    },
)
OBJECTS = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({}, optional={"labels": st.dictionaries(_TEXTS, _TEXTS, max_size=3)})},
    optional={
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "replicas": st.integers(0, 3),
                "selector": st.fixed_dictionaries({"matchLabels": st.dictionaries(_TEXTS, _TEXTS, max_size=2)}),
                "template": st.fixed_dictionaries(
                    {
                        "spec": st.fixed_dictionaries(
                            {"containers": st.lists(_CONTAINER, max_size=3, unique_by=lambda one: one["name"])}
                        )
                    }
                ),
            },
        )
    },
)


def named(document: dict[str, Any]) -> sets.FieldSet:
    reader = values.Configuration(DEPLOYMENT)
    found = reader.fields(document)
    assert not reader.problems
    return found


def merged(live: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    return values.merge(DEPLOYMENT, live, applied)


@given(OBJECTS)
def test_nothing_differs_from_itself(document: dict[str, Any]) -> None:
    assert not values.compare(DEPLOYMENT, document, document)


@given(OBJECTS, OBJECTS)
def test_a_comparison_backwards_swaps_what_came_and_went(old: dict[str, Any], new: dict[str, Any]) -> None:
    forth, back = values.compare(DEPLOYMENT, old, new), values.compare(DEPLOYMENT, new, old)
    assert forth.added == back.removed
    assert forth.removed == back.added
    assert forth.modified == back.modified


@given(OBJECTS, OBJECTS)
def test_what_was_applied_stands_and_nothing_else_changes(live: dict[str, Any], applied: dict[str, Any]) -> None:
    result = merged(live, applied)
    assert merged(result, applied) == result
    changes = values.compare(DEPLOYMENT, live, result)
    assert not changes.removed
    touched = sets.union(changes.added, changes.modified)
    others = sets.difference(touched, values.with_named_fields(DEPLOYMENT, named(applied)))
    # What came whole is new itself, though a configuration names only its entries; some structs are always there.
    whole = {"f:labels", "f:matchLabels", "f:containers", "f:ports", "f:env"}
    standing = {"f:metadata", "f:resources", "f:strategy", "f:template", "f:spec"}
    assert all(path[-1] in whole | standing for path in sets.paths(others))


@given(OBJECTS, OBJECTS)
def test_removal_takes_what_is_named_and_leaves_the_rest(live: dict[str, Any], applied: dict[str, Any]) -> None:
    whole = merged(live, applied)
    left = values.without(DEPLOYMENT, whole, named(applied)) or {"metadata": {}}
    remaining = set(sets.paths(values.compare(DEPLOYMENT, {}, left).added))
    assert not remaining & {path for path in sets.paths(named(applied)) if path != ("f:metadata",)}


def test_applied_order_counts_and_others_keep_their_place() -> None:
    containers = [{"name": name} for name in ("a", "b", "c", "d")]
    live = {"metadata": {}, "spec": {"template": {"spec": {"containers": containers}}}}
    applied = {"spec": {"template": {"spec": {"containers": [{"name": "d"}, {"name": "new"}, {"name": "b"}]}}}}
    result = merged(live, applied)["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in result] == ["a", "c", "d", "new", "b"]


def test_problems_are_worded_as_kubernetes_words_them() -> None:
    containers = [{"name": "a"}, {"name": "a"}, {"image": "b"}]
    reader = values.Configuration(DEPLOYMENT)
    reader.fields({"spec": {"replica": 1, "template": {"spec": {"containers": containers}}}})
    at = ".spec.template.spec.containers"
    assert reader.problems == [
        ".spec.replica: field not declared in schema",
        f'{at}: duplicate entries for key [name="a"]',
        (
            f'{at}: element 2: associative list with keys has an element that omits key field "name" '
            "(and doesn't have default value)"
        ),
    ]
