"""The decoder in C and the slow one that explains are each other's oracle, over documents drawn from the schema."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import BadRequestError
from orch_api.schema import Schemas
from orch_api.schema.definitions import ListOf, MapOf, ObjectOf, Scalar, Shape, packed_definitions, read_definitions
from orch_api.schema.explain import Explainer, parse

BUILT_IN = (
    ("", "v1", "Namespace"),
    ("", "v1", "Node"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("", "v1", "ServiceAccount"),
    ("", "v1", "Event"),
    ("", "v1", "Endpoints"),
    ("", "v1", "Binding"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ReplicaSet"),
    ("autoscaling", "v1", "Scale"),
)
DEFINITIONS = read_definitions(packed_definitions())
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(st.booleans() | st.integers(-9, 9) | TEXTS, lambda inner: st.lists(inner, max_size=2), max_leaves=3)
SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.TEXT: TEXTS,
    Scalar.INT32: st.integers(-(2**31), 2**31 - 1),
    Scalar.INT64: st.integers(-(2**63), 2**63 - 1),
    Scalar.FLOAT: st.floats(-1e9, 1e9).filter(lambda number: number != int(number)),
    Scalar.BOOL: st.booleans(),
    Scalar.BYTES: st.binary(max_size=6).map(msgspec.to_builtins),
    Scalar.QUANTITY: st.sampled_from(["0", "1", "100m", "128Mi", "1500m", "2Gi", "16384256Ki"]),
    Scalar.TIME: st.sampled_from(["2024-01-31T23:59:59Z", "2024-02-29T00:00:00Z"]),
    Scalar.MICRO_TIME: st.sampled_from(["2024-01-31T23:59:59.000000Z", "2024-02-29T00:00:00.123456Z"]),
    Scalar.INT_OR_STRING: st.integers(-(2**31), 2**31 - 1) | TEXTS,
    Scalar.ANY: st.dictionaries(TEXTS, JSON, max_size=2),
}


def values(shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    match shape:
        case Scalar():
            return SCALARS[shape]
        case ListOf(item):
            return st.lists(values(item, depth), max_size=2)
        case MapOf(value):
            return st.dictionaries(TEXTS, values(value, depth), max_size=2)
        case ObjectOf(name):
            return objects(name, depth - 1) if depth else st.just({})


def objects(name: str, depth: int = 7) -> st.SearchStrategy[dict[str, Any]]:
    fields = sorted(DEFINITIONS.fields(name).items())
    if not fields:
        return st.just({})

    @st.composite
    def draw_object(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda field: field[0]))
        return {
            field: draw(values(DEFINITIONS.shape(definition), depth)) for field, definition in sorted(chosen, key=str)
        }

    return draw_object()


def as_go_writes(shape: Shape, value: Any) -> Any:
    """Return the value without what Go leaves out: lists and maps that are empty and not required."""
    match shape:
        case ListOf(item):
            return [as_go_writes(item, one) for one in value]
        case MapOf(inner):
            return {name: as_go_writes(inner, one) for name, one in value.items()}
        case ObjectOf(name):
            kept = {}
            for field, one in value.items():
                inside = DEFINITIONS.shape(DEFINITIONS.fields(name)[field])
                optional = field not in DEFINITIONS[name].required
                if one or not (optional and isinstance(inside, ListOf | MapOf)):
                    kept[field] = as_go_writes(inside, one)
            return kept
        case Scalar():
            return value


@pytest.mark.parametrize("key", BUILT_IN, ids=lambda key: key[2])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_valid_document_comes_back_as_it_was(key: tuple[str, str, str], data: st.DataObject) -> None:
    schema = Schemas.load().of(*key)
    document = data.draw(objects(schema.definition))
    written = as_go_writes(ObjectOf(schema.definition), document)
    for indent in (None, 1):
        body = json.dumps(document, indent=indent).encode()
        assert schema.decode(body, "Strict") == (written, [])
    explainer = Explainer(DEFINITIONS)
    assert explainer.document(parse(body.decode()), schema.definition) == document
    assert (explainer.error, explainer.issues) == ("", [])
    assert schema.convert(document, "Strict") == (written, [])


@pytest.mark.parametrize("key", BUILT_IN, ids=lambda key: key[2])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_value_of_any_type_is_judged_alike(key: tuple[str, str, str], data: st.DataObject) -> None:
    schema = Schemas.load().of(*key)
    document = data.draw(objects(schema.definition))
    if document:
        field = data.draw(st.sampled_from(sorted(document)))
        document[field] = data.draw(st.sampled_from([None, True, 1, 1.5, "x", [], {}, [1], {"x": 1}, [None]]))
    explainer = Explainer(DEFINITIONS)
    expected = explainer.document(document, schema.definition)
    if explainer.error or explainer.issues:
        with pytest.raises(BadRequestError):
            schema.decode(json.dumps(document).encode(), "Strict")
    else:
        written = as_go_writes(ObjectOf(schema.definition), expected)
        assert schema.decode(json.dumps(document).encode(), "Strict") == (written, [])
