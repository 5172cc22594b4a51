import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch_api.patch import merge, strategic
from orch_api.schema import MergeRule

Document = dict[str, Any]

KEYS = st.sampled_from("abcd")
NAMES = st.sampled_from([f"n{number}" for number in range(8)])
SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.text("xy", max_size=2))
MAPS = st.recursive(
    st.dictionaries(KEYS, SCALARS), lambda inner: st.dictionaries(KEYS, st.one_of(SCALARS, inner)), max_leaves=6
)
MAP_PATCHES = st.recursive(
    st.dictionaries(KEYS, st.one_of(st.none(), SCALARS, st.lists(SCALARS, max_size=2))),
    lambda inner: st.dictionaries(KEYS, st.one_of(st.none(), SCALARS, inner)),
    max_leaves=6,
)
PLAIN = st.lists(NAMES, unique=True)


class Rules:
    """`items` is merged by name, `words` as plain values, everything else as a merge patch would."""

    def strategy_at(self, path: tuple[str, ...]) -> MergeRule | None:
        known = {
            ("items",): MergeRule(frozenset({"merge"}), "name"),
            ("words",): MergeRule(frozenset({"merge"})),
        }
        return known.get(path)


RULES = Rules()


@st.composite
def items(draw: st.DrawFn) -> list[Document]:
    names = draw(PLAIN)
    return [{"name": name, **draw(st.dictionaries(KEYS, SCALARS))} for name in names]


@st.composite
def item_patches(draw: st.DrawFn) -> list[Document]:
    patches = draw(items())
    return [{"name": one["name"], "$patch": "delete"} if draw(st.booleans()) else one for one in patches]


def names_of(found: list[Document]) -> list[str]:
    return [one["name"] for one in found]


@given(MAPS, MAP_PATCHES)
def test_without_merged_lists_it_is_a_merge_patch(document, patch):
    assert strategic.apply(document, patch, RULES) == merge.apply(document, patch)


@given(items(), item_patches())
def test_items_are_matched_by_name_and_all_others_stay(original, patch):
    result = strategic.apply({"items": original}, {"items": patch}, RULES)["items"]
    expected = {one["name"]: dict(one) for one in original}
    for one in patch:
        if "$patch" in one:
            expected.pop(one["name"], None)
        else:
            expected.setdefault(one["name"], {}).update(one)
    assert {one["name"]: one for one in result} == expected
    assert len(result) == len(expected)


@given(items(), item_patches())
def test_items_keep_their_order_among_their_like(original, patch):
    result = names_of(strategic.apply({"items": original}, {"items": patch}, RULES)["items"])
    of_patch = [one["name"] for one in patch if "$patch" not in one]
    others = [name for name in names_of(original) if name in result and name not in of_patch]
    assert [name for name in result if name in of_patch] == of_patch
    assert [name for name in result if name not in of_patch] == others


@given(items(), item_patches())
def test_applying_it_again_changes_nothing(original, patch):
    once = strategic.apply({"items": original}, {"items": patch}, RULES)
    assert strategic.apply(once, {"items": patch}, RULES) == once


@given(items(), item_patches())
def test_the_inputs_stay_as_they_are(original, patch):
    before = copy.deepcopy((original, patch))
    strategic.apply({"items": original}, {"items": patch}, RULES)
    assert (original, patch) == before


def difference(old: list[Document], new: list[Document]) -> Document:
    """A patch as kubectl makes it: changed items, deletions, and the order of all."""
    before = {one["name"]: one for one in old}
    changed = [
        {**{field: None for field in before.get(one["name"], {}) if field not in one}, **one}
        for one in new
        if before.get(one["name"]) != one
    ]
    gone = [{"name": one["name"], "$patch": "delete"} for one in old if one["name"] not in names_of(new)]
    return {"$setElementOrder/items": [{"name": name} for name in names_of(new)], "items": [*changed, *gone]}


@given(items(), items())
def test_a_difference_leads_from_one_list_to_the_other(old, new):
    assert strategic.apply({"items": old}, difference(old, new), RULES)["items"] == new


@given(PLAIN, PLAIN, PLAIN)
def test_plain_values_are_a_union_without_the_deleted(original, added, deleted):
    patch = {"words": added, "$deleteFromPrimitiveList/words": deleted}
    result = strategic.apply({"words": original}, patch, RULES)["words"]
    assert sorted(result) == sorted((set(original) | set(added)) - set(deleted))


@given(PLAIN, PLAIN)
def test_plain_values_follow_the_order_asked_for(original, wanted):
    patch = {"words": wanted, "$setElementOrder/words": wanted}
    result = strategic.apply({"words": original}, patch, RULES)["words"]
    assert [word for word in result if word in wanted] == wanted
