"""What rules may cost at most, as cel-go's checker and apiserver's sizes have it."""

from __future__ import annotations

from typing import Any

import pytest

from orch_api.extensions.expressions import sizes
from orch_api.extensions.props import read_props
from orch_api.extensions.rules import rule_problems

TEXT = {"type": "string", "maxLength": 10}
ROOM = 3 * 1024 * 1024 - 2


def problems(rule: str, properties: dict[str, Any], **more: Any) -> list[str]:
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": [{"rule": rule, **more}]}
    props = read_props({"type": "object", "properties": {"spec": spec}})
    return [f"{one.field}: {one.message}" for one in rule_problems(props, "schema")]


@pytest.mark.parametrize(
    ("schema", "most"),
    [
        ({"type": "string"}, ROOM),
        ({"type": "string", "maxLength": 5}, 20),
        ({"type": "string", "format": "byte", "maxLength": 5}, 5),
        ({"type": "string", "enum": ["a", "long"]}, 4),
        ({"type": "array", "items": {"type": "string"}}, ROOM // 3),
        ({"type": "array", "maxItems": 7, "items": {"type": "string"}}, 7),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ROOM // 7),
        ({"type": "object", "maxProperties": 3, "additionalProperties": {"type": "integer"}}, 3),
        ({"type": "integer"}, 0),
    ],
)
def test_sizes_by_schema(schema: dict[str, Any], most: int) -> None:
    assert sizes.most_elements(read_props(schema)) == most


def test_what_is_required_makes_an_object_larger() -> None:
    props = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    assert sizes.smallest(read_props(props)) == 2 + 4 + 2 + 4
    assert sizes.most_values(read_props(props)) == 3 * 1024 * 1024 // 13


@pytest.mark.parametrize(
    "rule",
    [
        "self.l.all(x, x == 'a')",  # one loop over any list fits
        "self.t.matches('^[a-z]+$')",
        "self.bounded.all(x, self.bounded.exists(y, x.contains(y)))",
        "has(self.t) ? self.t.startsWith('a') : true",
        "self.bounded.map(x, x + '!').size() < 100",
        "'a' in self.bounded",
    ],
)
def test_what_is_cheap_enough(rule: str) -> None:
    array = {"type": "array", "items": {"type": "string"}}
    bounded = {"type": "array", "maxItems": 100, "items": TEXT}
    assert problems(rule, {"l": array, "bounded": bounded, "t": {"type": "string"}}) == []


@pytest.mark.parametrize(
    ("rule", "factor"),
    [
        ("self.l.all(x, self.l.all(y, x == y))", "more than 100x"),
        ("self.l.all(x, x.size() == 1) && self.l.exists(x, x == 'b')", "1.25829"),
        ("self.l.all(x, x.matches('^a{1,10}b$'))", "more than 100x"),
    ],
)
def test_what_is_too_dear(rule: str, factor: str) -> None:
    (problem,) = problems(rule, {"l": {"type": "array", "items": {"type": "string"}}})[:1]
    assert problem.startswith(
        "schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost "
    )
    assert f"exceeds budget by factor of {factor}" in problem
    assert "(try simplifying the rule, or adding maxItems" in problem


def test_rules_in_lists_cost_as_often_as_they_have_items() -> None:
    inner = {"type": "object", "properties": {"t": {"type": "string"}}}
    inner["x-kubernetes-validations"] = [{"rule": "self.t.startsWith('abcdefghij')"}]
    unbounded = read_props({"type": "object", "properties": {"l": {"type": "array", "items": inner}}})
    assert rule_problems(unbounded, "schema") == []
    inner["x-kubernetes-validations"] = [{"rule": "self.t.contains('abcdefghij')"}]
    unbounded = read_props({"type": "object", "properties": {"l": {"type": "array", "items": inner}}})
    assert "exceeds budget" in rule_problems(unbounded, "schema")[0].message
    listed = {"type": "array", "maxItems": 10, "items": inner}
    assert rule_problems(read_props({"type": "object", "properties": {"l": listed}}), "schema") == []


def test_all_rules_of_a_schema_share_a_limit() -> None:
    rules = [{"rule": f"self.l.all(x, x != '{number}')"} for number in range(20)]
    spec = {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}}}
    props = read_props({**spec, "x-kubernetes-validations": rules})
    found = [one.message for one in rule_problems(props, "schema")]
    assert len(found) == 5
    assert all("contributed to estimated rule cost total" in one for one in found[:4])
    assert "rule cost total for entire OpenAPIv3 schema exceeds budget by factor of 1.04857" in found[4]
    assert rule_problems(props, "schema", priced=False) == []
