"""OpenAPI validation of custom objects, in the words of Kubernetes."""

from typing import Any

import pytest

from orch_api.extensions.props import read_props
from orch_api.extensions.values import value_problems


def problems(schema: Any, value: Any, *old: Any) -> list[str]:
    props = read_props({"type": "object", "properties": {"spec": schema}})
    before = [{"spec": one} for one in old]
    return [f"{one.field}: {one.message}" for one in value_problems({"spec": value}, props, *before)]


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "integer"}, "x", 'spec: Invalid value: "string": spec in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, 'spec: Invalid value: "number": spec in body must be of type integer: "number"'),
        ({"type": "string"}, None, 'spec: Invalid value: "null": spec in body must be of type string: "null"'),
        ({"type": "string"}, True, 'spec: Invalid value: "boolean": spec in body must be of type string: "boolean"'),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            'spec: Invalid value: "array": spec in body must be of type integer,string: "array"',
        ),
        ({"type": "string", "enum": ["a", "b"]}, "x", 'spec: Unsupported value: "x": supported values: "a", "b"'),
        ({"type": "integer", "enum": [1, 2]}, 3, 'spec: Unsupported value: 3: supported values: "1", "2"'),
        ({"type": "string", "pattern": "^a+$"}, "b", "spec: Invalid value: \"b\": spec in body should match '^a+$'"),
        ({"type": "string", "maxLength": 2}, "abc", "spec: Too long: may not be more than 2 bytes"),
        (
            {"type": "string", "minLength": 2},
            "a",
            'spec: Invalid value: "a": spec in body should be at least 2 chars long',
        ),
        (
            {"type": "integer", "minimum": 1},
            0,
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            {"type": "integer", "maximum": 1},
            2,
            "spec: Invalid value: 2: spec in body should be less than or equal to 1",
        ),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            1,
            "spec: Invalid value: 1: spec in body should be greater than 1",
        ),
        ({"type": "integer", "multipleOf": 5}, 7, "spec: Invalid value: 7: spec in body should be a multiple of 5"),
        (
            {"type": "array", "items": {"type": "string"}, "maxItems": 1},
            ["a", "b"],
            "spec: Too many: 2: must have at most 1 item",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            [],
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": {"type": "string"}},
            ["a", 1],
            'spec[1]: Invalid value: "integer": spec[1] in body must be of type string: "integer"',
        ),
        ({"type": "object", "required": ["a"]}, {}, "spec.a: Required value"),
        ({"type": "object", "maxProperties": 1}, {"a": 1, "b": 2}, "spec: Too many: 2: must have at most 1 item"),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"k": 1},
            'spec.k: Invalid value: "integer": spec.k in body must be of type string: "integer"',
        ),
        (
            {"type": "string", "format": "date-time"},
            "yesterday",
            'spec: Invalid value: "yesterday": spec in body must be of type date-time: "yesterday"',
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            ["a", "b", "a"],
            'spec[2]: Duplicate value: "a"',
        ),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object"},
            },
            [{"name": "a", "x": 1}, {"name": "a", "x": 2}],
            'spec[1]: Duplicate value: {"name":"a"}',
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
            {"kind": "Pod"},
            "spec.apiVersion: Required value: must not be empty",
        ),
    ],
)
def test_one_thing_is_wrong(schema: Any, value: Any, problem: str) -> None:
    assert problems(schema, value) == [problem]


@pytest.mark.parametrize(
    ("schema", "value", "first"),
    [
        (
            {"type": "string", "anyOf": [{"enum": ["a"]}, {"pattern": "^b$"}]},
            "c",
            '<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)',
        ),
        (
            {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {},
            '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
        ),
        (
            {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": 1, "b": 1},
            (
                '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 '
                "valid alternatives"
            ),
        ),
        (
            {"type": "integer", "allOf": [{"minimum": 3}, {"maximum": 9}]},
            1,
            '<nil>: Invalid value: "": "spec" must validate all the schemas (allOf)',
        ),
        (
            {"type": "string", "not": {"enum": ["x"]}},
            "x",
            '<nil>: Invalid value: "": "spec" must not validate the schema (not)',
        ),
    ],
)
def test_combinations(schema: Any, value: Any, first: str) -> None:
    assert problems(schema, value)[0] == first


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uri", "https://a/b?c=d", "not a uri"),
        ("email", "a@example.com", "example.com"),
        ("hostname", "a.example.com", "-"),
        ("mac", "00:00:5e:00:53:01", "00:00"),
        ("uuid", "a8a9a7bc-5c4a-4d8e-9b6e-1d9e6d6b1234", "a8a9"),
        ("byte", "aGk=", "?"),
        ("date", "2026-02-28", "2026-02-30"),
        ("date-time", "2026-02-28T01:02:03.5+01:00", "2026-02-28"),
        ("duration", "1h30m", "long"),
        ("duration", "3 days", "3 moons"),
        ("isbn10", "0-306-40615-2", "0-306-40615-3"),
        ("creditcard", "4111111111111111", "4111111111111112"),
        ("hexcolor", "#fff", "#ggg"),
        ("k8s-short-name", "a-b", "A"),
    ],
)
def test_formats(format_: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": format_}
    assert problems(schema, good) == []
    assert problems(schema, bad) != []


def test_formats_that_nobody_knows_are_no_constraint() -> None:
    assert problems({"type": "string", "format": "flavour"}, "sour") == []


def test_null_where_it_may_be() -> None:
    assert problems({"type": "string", "nullable": True}, None) == []


def test_what_an_update_leaves_alone_is_not_held_against_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}}}
    assert problems(schema, {"a": "long", "b": "new"}, {"a": "long", "b": "old"}) == []
    assert problems(schema, {"a": "longer", "b": "new"}, {"a": "long", "b": "old"}) != []


def test_items_have_old_selves_in_lists_that_are_maps() -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}
    keyed = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    old, new = [{"name": "a", "v": 5}], [{"name": "b", "v": 1}, {"name": "a", "v": 5}]
    assert problems(keyed, new, old) == []
    assert problems({"type": "array", "items": item}, new, old) != []


def test_patterns_are_those_of_go_and_take_linear_time() -> None:
    assert problems({"type": "string", "pattern": "^[[:alpha:]]+$"}, "abc") == []
    assert problems({"type": "string", "pattern": r"\bword\z"}, "a word") == []
    assert problems({"type": "string", "pattern": "^(a+)+$"}, "a" * 5000 + "b") != []


@pytest.mark.parametrize(("value", "fits"), [(0.3, True), (0.35, False), (1e308, True), (-0.7, True), (0, True)])
def test_multiples_of_fractions_and_of_numbers_beyond_counting(value: float, fits: bool) -> None:
    schema = {"type": "number", "multipleOf": 0.1}
    assert (problems(schema, value) == []) == fits
