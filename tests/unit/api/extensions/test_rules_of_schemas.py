"""CEL rules (x-kubernetes-validations): when a definition is written, and on every write of an object."""

import time
from typing import Any

import pytest

from orch_api.extensions import rules
from orch_api.extensions.props import Props, read_props
from orch_api.extensions.rules import RuleSet, rule_problems
from orch_api.extensions.values import ABSENT

TYPES: dict[str, Any] = {
    "n": {"type": "integer"},
    "f": {"type": "number"},
    "s": {"type": "string"},
    "b": {"type": "boolean"},
    "l": {"type": "array", "maxItems": 100, "items": {"type": "string", "maxLength": 20}},
    "nums": {"type": "array", "maxItems": 5000, "items": {"type": "integer"}},
    "m": {"type": "object", "additionalProperties": {"type": "integer"}},
    "o": {"type": "object", "properties": {"x": {"type": "string"}}},
    "ios": {"x-kubernetes-int-or-string": True},
    "at": {"type": "string", "format": "date-time"},
    "span": {"type": "string", "format": "duration"},
    "raw": {"type": "string", "format": "byte"},
    "a-b": {"type": "string"},
    "namespace": {"type": "string"},
}


def schema(*said: Any, fields: Any = None) -> Props:
    listed = [{"rule": one} if isinstance(one, str) else one for one in said]
    spec = {"type": "object", "properties": fields or TYPES, "x-kubernetes-validations": listed}
    return read_props({"type": "object", "properties": {"spec": spec}})


def compiled(*said: Any, **more: Any) -> list[str]:
    return [f"{one.field}: {one.message}" for one in rule_problems(schema(*said, **more), "schema")]


def broken(said: Any, spec: Any, old: Any = ABSENT, **more: Any) -> list[str]:
    before = old if old is ABSENT else {"spec": old}
    return [f"{one.field}: {one.message}" for one in RuleSet(schema(said, **more)).problems({"spec": spec}, before)]


@pytest.mark.parametrize(
    "rule",
    [
        "self.n > 2 && self.f == 1.5 && self.b",
        "self.s.startsWith('a') && self.s.matches('^a.c$')",
        "self.l.all(x, x.size() == 1) && self.l.exists(x, x == 'b') && 'a' in self.l",
        "self.l.map(x, x + '!') == ['a!', 'b!'] && self.l.filter(x, x > 'a') == ['b']",
        "self.m['k'] == 1 && self.m.all(k, self.m[k] > 0) && has(self.m.k)",
        "self.o.x == 'y' && has(self.o.x)",
        "self.ios == '5' || self.ios == 5",
        "self.at < timestamp('2030-01-01T00:00:00Z') && self.at.getFullYear() == 2026",
        "self.span == duration('90m')",
        "self.raw == b'hi'",
        "self.a__dash__b == 'z' && self.__namespace__ == 'ns'",
        "self.?o.?x.orValue('no') == 'y'",
        "self.l.isSorted() && self.nums.sum() == 6 && self.nums.min() == 1 && self.nums.max() == 3",
        "self.l.indexOf('b') == 1 && self.nums.lastIndexOf(9) == -1",
        "self.s.upperAscii() == 'ABC' && self.s.replace('b', 'x') == 'axc' && self.s.substring(1) == 'bc'",
        "'a,b'.split(',') == self.l && self.l.join('-') == 'a-b' && ' x '.trim() == 'x' && self.s.charAt(1) == 'b'",
        "'%s has %d of %s'.format(['a', 2, [1, 2]]) == 'a has 2 of [1, 2]'",
        "'abc 123'.find('[0-9]+') == '123' && 'a1b22'.findAll('[0-9]+') == ['1', '22']",
        "'a1b22'.findAll('([a-z])[0-9]', 1) == ['a1']",
        "isURL('https://h:8/p?q=1') && url('https://h:8/p?q=1').getPort() == '8'",
        "url('https://h:8/p%20q?k=v').getHostname() == 'h' && url('https://h/p').getQuery() == {}",
        "quantity('1Gi').isGreaterThan(quantity('500M')) && quantity('50k').add(quantity('1')).asInteger() == 50001",
        "isQuantity('1.5') && !isQuantity('x') && quantity('1000m') == quantity('1')",
        "quantity('2').sub(1).sign() == 1 && !quantity('1500m').isInteger()",
        "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('x') && ip('127.0.0.1').isLoopback()",
        "cidr('10.0.0.0/8').containsIP('10.2.3.4') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "sets.contains(self.l, ['a']) && sets.intersects(self.nums, [3]) && sets.equivalent([1, 2], [2, 1])",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
        "self.l.all(i, v, i < 2 && v != '') && self.nums.transformList(i, v, v * 2) == [2, 4, 6]",
        "math.greatest(self.n, 9) == 9 && base64.encode(b'hi') == 'aGk='",
        "self.l.exists_one(x, x == 'a') && (self.b ? true : false) && type(self.s) == string",
    ],
)
def test_a_rule_is_compiled_against_the_schema_and_holds(rule: str) -> None:
    spec = {
        "n": 3,
        "f": 1.5,
        "s": "abc",
        "b": True,
        "l": ["a", "b"],
        "nums": [1, 2, 3],
        "m": {"k": 1},
        "o": {"x": "y"},
        "ios": "5",
        "at": "2026-11-23T00:00:00Z",
        "span": "1h30m",
        "raw": "aGk=",
        "a-b": "z",
        "namespace": "ns",
    }
    assert compiled(rule) == []
    assert broken(rule, spec) == []
    assert broken(f"!({rule})", spec) != []


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        ("self.nope == 1", "undefined field 'nope'"),
        ("self.n == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.n +", "Syntax error"),
        ("self.o.z == 'x'", "undefined field 'z'"),
        ("unknown(self)", "undeclared reference to 'unknown'"),
        ("self.n", "cel expression must evaluate to a bool"),
        ("self.l[0].startsWith(1)", "found no matching overload for 'startsWith'"),
    ],
)
def test_rules_that_cannot_be_compiled_refuse_the_definition(rule: str, detail: str) -> None:
    (problem,) = compiled(rule)
    assert problem.startswith("schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {")
    assert detail in problem
    if "must evaluate" not in detail:
        assert ": compilation failed: ERROR: <input>:1:" in problem


def test_the_root_sees_name_kind_and_version_alone() -> None:
    root = {
        "type": "object",
        "properties": {},
        "x-kubernetes-validations": [{"rule": "self.metadata.name == self.kind"}],
    }
    assert rule_problems(read_props(root), "schema") == []
    root["x-kubernetes-validations"] = [{"rule": "self.metadata.labels.size() == 0"}]
    assert "undefined field 'labels'" in rule_problems(read_props(root), "schema")[0].message


def test_messages_of_rules() -> None:
    spec = {"n": 3, "s": "x"}
    assert broken("self.n > 5", spec) == ["spec: Invalid value: failed rule: self.n > 5"]
    assert broken({"rule": "self.n > 5", "message": "too few"}, spec) == ["spec: Invalid value: too few"]
    made = {"rule": "self.n > 5", "message": "too few", "messageExpression": "'only %d'.format([self.n])"}
    assert broken(made, spec) == ["spec: Invalid value: only 3"]
    assert compiled(made) == []
    failing = {"rule": "self.n > 5", "message": "too few", "messageExpression": "self.o.x"}
    assert broken(failing, spec) == ["spec: Invalid value: too few"]
    (problem,) = compiled({"rule": "true", "messageExpression": "1"})
    assert problem.endswith("messageExpression must evaluate to a string")


def test_reasons_and_field_paths_of_rules() -> None:
    required = {"rule": "has(self.s)", "reason": "FieldValueRequired", "fieldPath": ".s", "message": "say s"}
    assert compiled(required) == []
    assert broken(required, {}) == ["spec.s: Required value: say s"]
    forbidden = {"rule": "self.n < 1", "reason": "FieldValueForbidden", "message": "no"}
    assert broken(forbidden, {"n": 1}) == ["spec: Forbidden: no"]
    (problem,) = compiled({"rule": "true", "fieldPath": ".nope"})
    assert problem.endswith('fieldPath: Invalid value: ".nope": must be a valid path')


def test_a_value_that_is_no_map_is_shown() -> None:
    fields = {"n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self % 2 == 0", "message": "odd"}]}}
    assert broken("true", {"n": 3}, fields=fields) == ["spec.n: Invalid value: 3: odd"]


def test_what_is_not_there_is_an_error_that_names_the_rule() -> None:
    assert broken("self.o.x == 'y'", {}) == [
        "spec: Invalid value: \"object\": no such key: o evaluating rule: self.o.x == 'y'"
    ]
    (problem,) = broken("self.ios > 3", {"ios": "x"})
    assert "call arguments did not match a supported operator, function or macro signature" in problem


def test_transitions_are_looked_at_only_in_updates() -> None:
    rule = {"rule": "self.n >= oldSelf.n", "message": "never down"}
    assert compiled(rule) == []
    assert broken(rule, {"n": 1}) == []
    assert broken(rule, {"n": 2}, {"n": 1}) == []
    assert broken(rule, {"n": 1}, {"n": 2}) == ["spec: Invalid value: never down"]


def test_optional_old_values() -> None:
    rule = {"rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": True, "message": "begin with one"}
    assert compiled(rule) == []
    assert broken(rule, {"n": 2}) == ["spec: Invalid value: begin with one"]
    assert broken(rule, {"n": 1}) == []
    assert broken(rule, {"n": 2}, {"n": 1}) == []
    (problem,) = compiled({"rule": "oldSelf.value().nope == 1", "optionalOldSelf": True})
    assert "<input>:1:16: undefined field 'nope'" in problem
    (problem,) = compiled({"rule": "true", "optionalOldSelf": True})
    assert problem.endswith("optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule")


def test_items_are_compared_with_their_old_selves_in_lists_that_are_maps() -> None:
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "shrunk"}],
    }
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    old = {"v": [{"name": "a", "size": 5}, {"name": "b", "size": 1}]}
    new = {"v": [{"name": "b", "size": 2}, {"name": "a", "size": 4}, {"name": "c", "size": 0}]}
    assert compiled("true", fields={"v": keyed}) == []
    assert broken("true", new, old, fields={"v": keyed}) == ["spec.v[1]: Invalid value: shrunk"]
    (problem,) = compiled("true", fields={"v": {"type": "array", "items": item}})
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within" in problem
    assert problem.endswith("schema.properties[spec].properties[v]")


def test_rules_are_not_held_against_what_an_update_leaves_alone() -> None:
    inner = {
        "type": "object",
        "properties": {"x": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.x == 'good'"}],
    }
    fields = {"o": inner, "n": {"type": "integer"}}
    assert broken("true", {"o": {"x": "bad"}, "n": 2}, {"o": {"x": "bad"}, "n": 1}, fields=fields) == []
    assert broken("true", {"o": {"x": "worse"}}, {"o": {"x": "bad"}}, fields=fields) != []


def test_no_rule_runs_for_ever() -> None:
    endless = "self.nums.all(a, self.nums.all(b, self.nums.all(c, a + b + c >= 0)))"
    started = time.monotonic()
    (problem,) = broken(endless, {"nums": list(range(2000))})
    assert time.monotonic() - started < 5
    assert "no further validation rules will be run due to call cost exceeds limit for rule" in problem


def test_all_rules_of_a_write_share_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BUDGET_SECONDS", -1.0)
    (problem,) = broken("self.n > 1", {"n": 2})
    assert problem == (
        'spec: Invalid value: "object": validation failed due to running out of cost budget, no further validation '
        "rules will be run"
    )


def test_texts_cannot_be_made_to_grow_without_bound() -> None:
    grown = "cel.bind(a, self.s + self.s, a.replace('x', a).replace('x', a).replace('x', a)) == ''"
    (problem,) = broken(grown, {"s": "x" * 5000})
    assert "the text is too long" in problem
