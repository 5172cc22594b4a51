"""The rules of a schema (x-kubernetes-validations): compiled when a definition is written, evaluated on every write.

Follows apiextensions' pkg/apiserver/schema/cel. Rules that speak of oldSelf hold only where there is an old value to
compare with: items of lists are told apart only in lists that are maps. A rule without oldSelf is not held against
what an update left as it was. Time is bounded: each evaluation by the runtime's own limit of steps, all evaluations
of one write by a budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from orch.errors import Cause
from orch_api import validation
from orch_api.extensions import paths
from orch_api.extensions.expressions.costs import Estimator
from orch_api.extensions.expressions.environment import (
    BOOL,
    HAS_OLD,
    OLD_VALUE,
    STRING,
    Env,
    ExhaustedError,
    ExpressionError,
    Type,
    check,
    environment,
    untyped,
    uses_old,
)
from orch_api.extensions.expressions.messages import SchemaTypes, as_resource
from orch_api.extensions.expressions.sizes import most_values
from orch_api.extensions.expressions.values import visible
from orch_api.extensions.props import Props, Rule, nested, walk
from orch_api.extensions.rule_costs import Costs
from orch_api.extensions.values import ABSENT, child, correlated_items
from orch_api.patch.documents import equal
from orch_api.validation import forbidden, invalid, required

BUDGET_SECONDS: Final = 1.0
"""What the evaluations of one write may take together."""

_MAX_MESSAGE: Final = 5 * 1024
_NO_OVERLOAD: Final = ("No matching overloads found", "no such overload", "no matching overload")
_OUT_OF_BUDGET: Final = "validation failed due to running out of cost budget, no further validation rules will be run"

_uses_old = lru_cache(4096)(uses_old)


# When a definition is written -------------------------------------------------------------------------------------


def rule_problems(props: Props, path: str, *, priced: bool = True) -> list[Cause]:
    """Return which rules of a version's schema cannot be compiled, or when `priced` would cost too much.

    The schema has passed structure's rules.
    """
    if not any(one.validations for one in walk(props)):
        return []
    checker = _Checker(priced=priced)
    return [*checker.problems(props, path, root=True, uncorrelated="", times=1), *checker.costs.total(path)]


class _Checker:
    """Compiles the rules of a schema against its types."""

    def __init__(self, *, priced: bool) -> None:
        self._types = SchemaTypes()
        self._priced = priced
        self.costs = Costs()

    def problems(self, props: Props, path: str, *, root: bool, uncorrelated: str, times: int | None) -> Iterator[Cause]:
        """Yield what is wrong below a place.

        `uncorrelated` is the outermost schema whose parts have no old selves. `times` says how many values of the
        schema an object has at most, None that nobody bounds it.
        """
        if props.validations:
            count = most_values(props) if times is None else times
            yield from self._compiled(props, path, root=root, uncorrelated=uncorrelated, times=count)
        if props.item is not None:
            inner = uncorrelated or ("" if props.list_type == "map" else path)
            many = _times(times, props.max_items)
            yield from self.problems(props.item, f"{path}.items", root=False, uncorrelated=inner, times=many)
        below = uncorrelated or (path if props.map_type == "atomic" else "")
        for name, one in props.properties.items():
            yield from self.problems(one, f"{path}.properties[{name}]", root=False, uncorrelated=below, times=times)
        if props.additional is not None:
            many = _times(times, props.max_properties)
            yield from self.problems(
                props.additional, f"{path}.additionalProperties", root=False, uncorrelated=uncorrelated, times=many
            )

    def _compiled(self, props: Props, path: str, *, root: bool, uncorrelated: str, times: int) -> Iterator[Cause]:
        seen = as_resource(props) if root or props.embedded else props
        kind = self._types.of(seen)
        estimator = Estimator(seen, ("self", "oldSelf", OLD_VALUE)) if self._priced else None
        env = environment(self._types.pool(), {"self": kind, "oldSelf": kind})
        optional = environment(self._types.pool(), {"self": kind, OLD_VALUE: kind})
        for index, rule in enumerate(props.validations):
            at = f"{path}.x-kubernetes-validations[{index}]"
            chosen = optional if rule.optional_old_self else env
            told = (rule.rule, f"{at}.rule", BOOL, "cel expression ", "rule")
            yield from self._expression(chosen, rule, estimator, times, *told)
            if rule.message_expression.strip():
                text, where = rule.message_expression, f"{at}.messageExpression"
                told = (text, where, STRING, "messageExpression ", "messageExpression")
                yield from self._expression(chosen, rule, estimator, times, *told)
            if _uses_old(rule.rule):
                if uncorrelated:
                    detail = (
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within "
                        f"{uncorrelated or path}"
                    )
                    yield invalid(f"{at}.rule", rule.rule, detail)
            elif rule.optional_old_self is not None:
                detail = "may not be set if oldSelf is not used in rule"
                yield invalid(f"{at}.optionalOldSelf", rule.optional_old_self, detail)
            if rule.field_path.strip() and _field(rule.field_path, props) is None:
                yield invalid(f"{at}.fieldPath", rule.field_path, "must be a valid path")

    def _expression(
        self,
        env: Env,
        rule: Rule,
        estimator: Estimator | None,
        times: int,
        text: str,
        at: str,
        wanted: Type,
        what: str,
        name: str,
    ) -> Iterator[Cause]:
        try:
            checked = check(env, text, wanted, optional_old=bool(rule.optional_old_self))
        except ExpressionError as error:
            detail = str(error)
            detail = f"{what}{detail}" if detail.startswith("must ") else detail
            yield invalid(at, msgspec.to_builtins(rule), detail)
            return
        if estimator is not None:
            yield from self.costs.note(at, estimator.most(checked) * times, name)


def _times(outer: int | None, inner: int | None) -> int | None:
    return None if outer is None or inner is None else outer * max(inner, 0)


def _field(path: str, props: Props) -> str | None:
    """Return a rule's fieldPath as causes name it (".a['b']" → "a.b"), None for one that leads nowhere."""
    try:
        fields = paths.fields(path)
    except ValueError:
        return None
    return ".".join(fields) if paths.schema_at(props, fields) is not None else None


# When an object is written ----------------------------------------------------------------------------------------


class _ExhaustedWrite(Exception):  # noqa: N818 - ends the evaluation; the cause is noted already
    """The budget is spent."""


class RuleSet:
    """The rules of a version's schema."""

    def __init__(self, props: Props) -> None:
        self._props = props
        self._ruled: set[int] = set()
        _note_ruled(props, self._ruled)

    def problems(self, value: dict[str, Any], old: Any = ABSENT, path: str = "") -> list[Cause]:
        """Return which rules a document breaks; with an `old` one as an update."""
        if id(self._props) not in self._ruled:
            return []
        evaluation = _Evaluation(self._ruled)
        evaluation.run(value, old, self._props, path)
        return evaluation.causes


def _note_ruled(props: Props, found: set[int]) -> bool:
    """Note which schemas have rules, in themselves or further in; return whether this one does."""
    inside = [_note_ruled(inner, found) for _, inner in nested(props)]
    ruled = bool(props.validations) or any(inside)
    if ruled:
        found.add(id(props))
    return ruled


class _Evaluation:
    """One document's evaluation."""

    def __init__(self, ruled: set[int]) -> None:
        self._ruled = ruled
        self._deadline = time.monotonic() + BUDGET_SECONDS
        self.causes: list[Cause] = []

    def run(self, value: dict[str, Any], old: Any, props: Props, path: str) -> None:
        """Evaluate all rules of the document."""
        try:
            self._value(value, old, props, path, root=True, unchanged=False)
        except _ExhaustedWrite:
            return

    def _value(self, value: Any, old: Any, props: Props, path: str, *, root: bool, unchanged: bool) -> None:
        if value is None or id(props) not in self._ruled:
            return
        unchanged = unchanged or (old is not ABSENT and equal(value, old))
        if props.validations:
            self._rules(value, old, props, path, root=root, unchanged=unchanged)
        for one in props.all_of:
            self._value(value, old, one, path, root=False, unchanged=unchanged)
        if isinstance(value, list) and props.item is not None:
            items = cast("list[Any]", value)
            before = correlated_items(items, old, props)
            for index, item in enumerate(items):
                self._value(item, before[index], props.item, f"{path}[{index}]", root=False, unchanged=unchanged)
        elif isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            before = cast("dict[str, Any]", old) if isinstance(old, dict) and props.map_type != "atomic" else {}
            for name, inside in fields.items():
                inner = props.properties.get(name, props.additional)
                if inner is not None:
                    past = before.get(name, ABSENT)
                    self._value(inside, past, inner, child(path, name), root=False, unchanged=unchanged)

    def _rules(self, value: Any, old: Any, props: Props, path: str, *, root: bool, unchanged: bool) -> None:
        shown = as_resource(props) if root or props.embedded else props
        has_old = old is not ABSENT and old is not None
        now, before = visible(value, shown), visible(old, shown) if has_old else None
        data = {"self": now, "oldSelf": before, OLD_VALUE: before, HAS_OLD: has_old}
        for rule in props.validations:
            of_change = _uses_old(rule.rule)
            if unchanged and not of_change:
                continue
            if of_change and not has_old and not rule.optional_old_self:
                continue
            self._rule(rule, data, value, props, path)

    def _rule(self, rule: Rule, data: dict[str, Any], value: Any, props: Props, path: str) -> None:
        where = path or "<nil>"
        shown = _shown_rule(rule)
        if time.monotonic() > self._deadline:
            self.causes.append(invalid(where, props.type, _OUT_OF_BUDGET))
            raise _ExhaustedWrite
        try:
            holds = untyped(rule.rule, optional_old=bool(rule.optional_old_self)).evaluate(data)
        except ExhaustedError as error:
            limit = "no further validation rules will be run due to call cost exceeds limit for rule"
            problem = f"'operation cancelled: actual cost limit exceeded': {limit}: {shown}"
            self.causes.append(invalid(where, props.type, problem))
            raise _ExhaustedWrite from error
        except ExpressionError as error:
            self.causes.append(invalid(where, props.type, _failure(str(error), shown)))
            return
        if holds is True:
            return
        field = _field(rule.field_path, props) if rule.field_path.strip() else ""
        at = child(path, field) if field else where
        self.causes.append(_broken(rule, at, value, self._message(rule, data)))

    def _message(self, rule: Rule, data: dict[str, Any]) -> str:
        """Return what the rule's author has to say about a value that breaks it."""
        if rule.message_expression.strip():
            try:
                made = untyped(rule.message_expression, optional_old=bool(rule.optional_old_self)).evaluate(data)
            except ExpressionError:
                made = ""  # as in Kubernetes, the message stands in for one that cannot be made
            if isinstance(made, str) and made.strip() and "\n" not in made and len(made) <= _MAX_MESSAGE:
                return made.strip()
        if rule.message.strip():
            return rule.message.strip()
        return f"failed rule: {rule.rule.strip()}"


def _failure(detail: str, shown: str) -> str:
    if detail.startswith(_NO_OVERLOAD):
        what = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'no such overload': {what}: {shown}"
    if detail.startswith("Key not found in map : "):
        detail = f"no such key: {detail.rpartition(': ')[2].strip(chr(34))}"
    return f"{detail} evaluating rule: {shown}"


def _shown_rule(rule: Rule) -> str:
    return rule.message.strip() or rule.rule.strip()


def _broken(rule: Rule, at: str, value: Any, detail: str) -> Cause:
    collection = isinstance(value, dict | list)
    match rule.reason:
        case "FieldValueForbidden":
            return forbidden(at, detail)
        case "FieldValueRequired":
            return required(at, detail)
        case "FieldValueDuplicate":
            shown = "" if collection else f": {validation.shown(value)}"
            return Cause("FieldValueDuplicate", f"Duplicate value{shown}: {detail}", at)
        case _:
            if collection:
                return Cause("FieldValueInvalid", f"Invalid value: {detail}", at)
            return invalid(at, value, detail)
