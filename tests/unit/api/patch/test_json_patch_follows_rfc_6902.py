import copy

import pytest

from orch.errors import BadRequestError, InvalidError, TooLargeError
from orch_api.patch import json_patch

DOCUMENT = {"a": {"b": [1, 2, 3]}, "c/d": 1, "e~f": 2, "t": True}


def apply(*operations):
    before = copy.deepcopy(DOCUMENT)
    result = json_patch.apply(DOCUMENT, list(operations))
    assert before == DOCUMENT
    return result


def op(name, path, **rest):
    return {"op": name, "path": path, **rest}


@pytest.mark.parametrize(
    ("operation", "path", "expected"),
    [
        (op("add", "/x", value=1), "x", 1),
        (op("add", "/a/b/0", value=0), "a", {"b": [0, 1, 2, 3]}),
        (op("add", "/a/b/3", value=4), "a", {"b": [1, 2, 3, 4]}),
        (op("add", "/a/b/-", value=4), "a", {"b": [1, 2, 3, 4]}),
        (op("add", "/a/b/-1", value=4), "a", {"b": [1, 2, 3, 4]}),  # as Kubernetes' library counts
        (op("remove", "/a/b/-1"), "a", {"b": [1, 2]}),
        (op("add", "/c~1d", value=2), "c/d", 2),
        (op("replace", "/e~0f", value=3), "e~f", 3),
        (op("replace", "/a/b/1", value=9), "a", {"b": [1, 9, 3]}),
        (op("remove", "/a/b/1"), "a", {"b": [1, 3]}),
        (op("remove", "/t"), "t", None),
        (op("move", "/moved", **{"from": "/a/b"}), "moved", [1, 2, 3]),
        (op("copy", "/copied", **{"from": "/a"}), "copied", {"b": [1, 2, 3]}),
        (op("test", "/a/b/0", value=1), "t", True),
        (op("add", "/n", value=None), "n", None),
    ],
)
def test_operations(operation, path, expected):
    assert apply(operation).get(path) == expected


def test_a_copy_is_a_copy():
    result = apply(op("copy", "/x", **{"from": "/a"}), op("add", "/x/b/-", value=4))
    assert result["a"] == {"b": [1, 2, 3]}


def test_the_whole_document_can_be_replaced_and_tested():
    assert apply(op("test", "", value=DOCUMENT), op("replace", "", value={"new": 1})) == {"new": 1}


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        (op("add", "/x/y", value=1), 'add operation does not apply: doc is missing path: "/x/y": missing value'),
        (
            op("add", "/a/b/9", value=1),
            "error in add for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        (op("add", "/a/b/x", value=1), "error in add for path: '/a/b/x': strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            op("add", "/a/b/-5", value=1),
            "error in add for path: '/a/b/-5': Unable to access invalid index: -5: invalid index referenced",
        ),
        (
            op("remove", f"/a/b/{2**64}"),
            f"error in remove for path: '/a/b/{2**64}': strconv.Atoi: parsing \"{2**64}\": value out of range",
        ),
        (op("add", "/x"), "add operation is missing its value"),
        (op("replace", "/x", value=1), "replace operation does not apply: doc is missing key: /x: missing value"),
        (op("remove", "/x"), "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value"),
        (op("test", "/a/b", value=[1]), "testing value /a/b failed: test failed"),
        (op("test", "/t", value=1), "testing value /t failed: test failed"),
        (op("move", "/a/b", **{"from": "/a"}), "move operation does not apply: /a/b is inside of /a"),
        (op("copy", "/x", **{"from": "/y"}), "error in copy for from: '/y': missing value"),
        (
            op("move", "/x", **{"from": "/y/z"}),
            "move operation does not apply: doc is missing from path: /y/z: missing value",
        ),
        (op("frob", "/x"), "Unexpected kind: frob"),
        ({"op": "add", "value": 1}, "operation, missing path field: missing value"),
        (op("add", "x", value=1), 'add operation does not apply: doc is missing path: "x": missing value'),
        (op("replace", "", value=[]), "the patched document is not an object"),
    ],
)
def test_what_does_not_apply_is_a_422_that_names_the_operation(operation, problem):
    with pytest.raises(InvalidError) as raised:
        apply(op("test", "/t", value=True), operation)
    assert raised.value.message == "the server rejected our request due to an error in our request"
    (cause,) = raised.value.details.causes
    assert (cause.field, cause.message) == ("patch[1]", problem)


def test_a_test_of_nothing_against_null_passes():
    assert apply(op("test", "/nothing", value=None)) == DOCUMENT


@pytest.mark.parametrize("patch", [{"op": "add"}, [1], [{"op": 1, "path": "/a"}]])
def test_malformed_patches_are_400s(patch):
    with pytest.raises(BadRequestError, match="cannot unmarshal"):
        json_patch.apply(DOCUMENT, patch)


def test_too_many_operations_are_a_413():
    with pytest.raises(TooLargeError, match="The allowed maximum operations in a JSON patch is 10000, got 10001"):
        json_patch.apply(DOCUMENT, [op("test", "/t", value=True)] * 10001)
