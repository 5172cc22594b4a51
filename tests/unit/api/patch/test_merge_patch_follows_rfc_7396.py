import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import BadRequestError
from orch_api.patch import merge

KEYS = st.sampled_from("abcd")
SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.text("xy", max_size=2))


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.one_of(st.dictionaries(KEYS, inner), st.lists(inner, max_size=3)), max_leaves=8
    )


DOCUMENTS = st.dictionaries(KEYS, values(SCALARS))
PATCHES = st.dictionaries(KEYS, values(st.one_of(st.none(), SCALARS)))


def rfc(target: Any, patch: Any) -> Any:
    """The pseudo-code of RFC 7396, section 2, line by line."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            if name in target:
                del target[name]
        else:
            target[name] = rfc(target.get(name), value)
    return target


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The smallest merge patch between two documents without nulls."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            patch[name] = difference(old[name], value)
        elif name not in old or old[name] != value or type(old[name]) is not type(value):
            patch[name] = value
    return patch


@given(DOCUMENTS, PATCHES)
def test_it_does_what_the_pseudo_code_does(document, patch):
    assert merge.apply(document, patch) == rfc(copy.deepcopy(document), copy.deepcopy(patch))


@given(DOCUMENTS, PATCHES)
def test_it_changes_neither_input(document, patch):
    before = copy.deepcopy((document, patch))
    merge.apply(document, patch)
    assert (document, patch) == before


@given(DOCUMENTS, DOCUMENTS)
def test_a_difference_leads_from_one_document_to_the_other(old, new):
    assert merge.apply(old, difference(old, new)) == new


@pytest.mark.parametrize(
    ("patch", "name"), [([], "array"), ("x", "string"), (1, "number"), (True, "bool"), (None, "null")]
)
def test_only_objects_are_patches(patch, name):
    with pytest.raises(BadRequestError, match=f"cannot unmarshal {name} into Go value of type map"):
        merge.apply({}, patch)
