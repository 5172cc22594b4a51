"""The patch that `kubectl apply` makes itself, of what was applied last, what is wanted and what is there.

The patch is made here in the plainest way that the description of strategic merge patches allows, by the schema's own
rules. Where nobody else changed the object, it must become what is wanted; what others added must stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch_api.patch import strategic
from orch_api.schema import Schemas

Document = dict[str, Any]
Path = tuple[str, ...]

DEPLOYMENT = Schemas.load().of("apps", "v1", "Deployment")
TEXTS = st.sampled_from(("", "a", "b"))
MAPS = st.dictionaries(st.sampled_from(("x", "y", "z")), TEXTS, max_size=3)


def keyed(key: str, keys: tuple[Any, ...], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Document]]:
    one = st.fixed_dictionaries({key: st.sampled_from(keys)}, optional=fields)
    return st.lists(one, max_size=3, unique_by=lambda item: item[key])


CONTAINERS = keyed(
    "name",
    ("c", "d", "e"),
    image=TEXTS,
    args=st.lists(TEXTS, max_size=2),
    env=keyed("name", ("A", "B", "C"), value=TEXTS),
    ports=keyed("containerPort", (1, 2, 3), name=TEXTS),
)
VOLUMES = keyed("name", ("v", "w"), emptyDir=st.just({"medium": "Memory"}), hostPath=st.just({"path": "/x"}))
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional={"labels": MAPS, "finalizers": st.lists(st.sampled_from("pqrs"), unique=True)}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "replicas": st.integers(0, 3),
                "strategy": st.fixed_dictionaries(
                    {"type": TEXTS}, optional={"rollingUpdate": st.just({"maxSurge": 1})}
                ),
                "template": st.fixed_dictionaries(
                    {
                        "spec": st.fixed_dictionaries(
                            {},
                            optional={
                                "containers": CONTAINERS,
                                "volumes": VOLUMES,
                                "nodeSelector": MAPS,
                                "imagePullSecrets": keyed("name", ("s", "t")),
                                "tolerations": st.lists(st.fixed_dictionaries({"key": TEXTS}), max_size=2),
                            },
                        )
                    }
                ),
            },
        ),
    },
)


def strategies(path: Path) -> frozenset[str]:
    rule = DEPLOYMENT.strategy_at(path)
    return rule.strategies if rule else frozenset()


def merge_key(path: Path) -> str | None:
    """The key of a list that is merged, "" for one of plain values, None for one that is replaced."""
    rule = DEPLOYMENT.strategy_at(path)
    return rule.merge_key if rule and "merge" in rule.strategies else None


def three_way(original: Document, wanted: Document, current: Document, path: Path = ()) -> Document:
    patch: Document = {key: None for key in original if key not in wanted}
    for key, value in wanted.items():
        before, there, where = original.get(key), current.get(key), (*path, key)
        if isinstance(value, dict) and isinstance(there, dict):
            if inner := three_way(before or {}, value, there, where):
                patch[key] = inner
        elif isinstance(value, list) and isinstance(there, list) and merge_key(where) is not None:
            patch |= list_patch(key, before or [], value, there, where)
        elif value != there:
            patch[key] = value
    if "retainKeys" in strategies(path) and patch:
        patch["$retainKeys"] = sorted(wanted)
    return patch


def list_patch(key: str, original: list[Any], wanted: list[Any], current: list[Any], path: Path) -> Document:
    by = merge_key(path)
    assert by is not None
    if not by:
        gone = [one for one in original if one not in wanted]
        patch = {key: [one for one in wanted if one not in current], f"$setElementOrder/{key}": wanted}
        return {**patch, f"$deleteFromPrimitiveList/{key}": gone}
    old, there = named(original, by), named(current, by)
    items: list[Document] = []
    for item in wanted:
        name = item[by]
        change = three_way(old.get(name, {}), item, there[name], path) if name in there else item
        if change:
            items.append({by: name, **change})
    items += [{by: name, "$patch": "delete"} for name in old if name not in named(wanted, by)]
    return {key: items, f"$setElementOrder/{key}": [{by: item[by]} for item in wanted]}


def named(items: list[Document], by: str) -> dict[Any, Document]:
    return {item[by]: item for item in items}


def check(result: Any, original: Any, wanted: Any, current: Any, path: Path = ()) -> None:
    """What is wanted is there, what was applied and is wanted no more is gone, and what others have stays."""
    if isinstance(wanted, dict) and isinstance(current, dict):
        before = original if isinstance(original, dict) else {}
        retained = "retainKeys" in strategies(path) and bool(three_way(before, wanted, current, path))
        others = {} if retained else {key: current[key] for key in current if key not in wanted and key not in before}
        assert set(result) == set(wanted) | set(others), path
        for key, value in wanted.items():
            check(result[key], before.get(key), value, current.get(key), (*path, key))
        assert {key: result[key] for key in others} == others
        return
    by = merge_key(path)
    if by is None or not isinstance(wanted, list) or not isinstance(current, list):
        assert result == wanted, path
        return
    check_list(result, original or [], wanted, current, path)


def check_list(result: list[Any], original: list[Any], wanted: list[Any], current: list[Any], path: Path) -> None:
    by = merge_key(path)
    name: Callable[[Any], Any] = (lambda item: item[by]) if by else (lambda item: item)
    mine, old = [name(one) for one in wanted], {name(one) for one in original}
    others = [name(one) for one in current if name(one) not in mine and name(one) not in old]
    found = {name(one): one for one in result}
    assert [one for one in map(name, result) if one in mine] == mine, path
    assert [one for one in map(name, result) if one not in mine] == others, path
    if by:
        for item in wanted:
            there, before = named(current, by).get(item[by]), named(original, by).get(item[by])
            check(found[item[by]], before, item, there, path)


@given(DOCUMENTS, DOCUMENTS)
def test_what_was_applied_becomes_what_is_wanted(applied: Document, wanted: Document) -> None:
    patch = three_way(applied, wanted, applied)
    assert strategic.apply(applied, patch, DEPLOYMENT) == wanted


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_what_others_added_stays(applied: Document, wanted: Document, current: Document) -> None:
    before = copy.deepcopy(current)
    result = strategic.apply(current, three_way(applied, wanted, current), DEPLOYMENT)
    assert current == before
    check(result, applied, wanted, current)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_what_is_there_already_needs_no_other_patch(applied: Document, wanted: Document, current: Document) -> None:
    result = strategic.apply(current, three_way(applied, wanted, current), DEPLOYMENT)
    again = strategic.apply(result, three_way(wanted, wanted, result), DEPLOYMENT)
    assert again == result


DIRECTED = st.recursive(
    st.one_of(st.none(), TEXTS),
    lambda inner: st.dictionaries(st.sampled_from(("x", "y", "z")), inner, max_size=3).flatmap(
        lambda patch: st.fixed_dictionaries(
            {key: st.just(value) for key, value in patch.items()},
            optional={
                "$patch": st.sampled_from(("merge", "replace", "delete")),
                "$retainKeys": st.sets(st.sampled_from(("x", "y", "z"))).map(lambda kept: sorted({*kept, *patch})),
            },
        )
    ),
    max_leaves=6,
)


class NoRules:
    """Of maps that no schema describes."""

    def strategy_at(self, path: Path) -> None:
        return None


def directed(original: Any, patch: Any) -> Any:
    """What the directives of maps mean, read once more."""
    if not isinstance(patch, dict):
        return patch
    said = {key: value for key, value in patch.items() if not key.startswith("$")}
    what = patch.get("$patch", "merge")
    if what == "delete":
        return {}
    live = original if isinstance(original, dict) and what == "merge" else {}
    if isinstance(original, dict) and what == "merge" and "$retainKeys" in patch:
        live = {key: value for key, value in live.items() if key in patch["$retainKeys"]}
    result = {key: value for key, value in live.items() if key not in said}
    for key, value in said.items():
        if value is not None:
            result[key] = directed(live.get(key), value)
    return result


LIVE = st.recursive(
    TEXTS, lambda inner: st.dictionaries(st.sampled_from(("x", "y", "z")), inner, max_size=3), max_leaves=6
)


@given(LIVE, DIRECTED)
def test_directives_of_maps_at_any_depth(live: Any, patch: Any) -> None:
    document, wanted = {"m": live}, {"m": patch}
    expected = directed(document, wanted)
    assert strategic.apply(document, wanted, NoRules()) == expected
