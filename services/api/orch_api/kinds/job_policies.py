"""When the pods of a job make it fail or succeed, and the ranges of indexes that this is said with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document, section
from orch_api.validation import check, duplicate, invalid, non_negative, required, too_long, too_many, unsupported

_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS: Final = ("In", "NotIn")
_STATUSES: Final = ("False", "True", "Unknown")
_MAX_RULES: Final = 20
_MAX_CONDITIONS: Final = 20
_MAX_EXIT_CODES: Final = 255
_MAX_INDEXES_TEXT: Final = 64 * 1024


def unshown(field: str, problem: str) -> Cause:
    """Return the cause for a value that is too large to be shown in the message."""
    return Cause("FieldValueInvalid", f"Invalid value: {problem}", field)


def failure_policy(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with the podFailurePolicy of a job's spec; `field` is the policy's path."""
    rules: list[Document] = section(spec, "podFailurePolicy").get("rules") or []
    causes: list[Cause] = []
    if len(rules) > _MAX_RULES:
        causes.append(too_many(f"{field}.rules", len(rules), _MAX_RULES))
    pod = section(section(spec, "template"), "spec")
    names = {one.get("name") for part in ("containers", "initContainers") for one in pod.get(part) or ()}
    for index, rule in enumerate(rules):
        at = f"{field}.rules[{index}]"
        causes += _action(f"{at}.action", rule.get("action") or "", spec)
        codes: Document | None = rule.get("onExitCodes")
        conditions: list[Document] = rule.get("onPodConditions") or []
        if codes is not None:
            causes += _exit_codes(f"{at}.onExitCodes", codes, names)
        causes += _conditions(f"{at}.onPodConditions", conditions)
        if codes is not None and conditions:
            causes.append(unshown(at, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not conditions:
            causes.append(unshown(at, "specifying one of OnExitCodes and OnPodConditions is required"))
    return causes


def _action(at: str, action: str, spec: Document) -> list[Cause]:
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        return [invalid(at, action, "requires the backoffLimitPerIndex to be set")]
    return _choice(at, action, _ACTIONS)


def _choice(at: str, value: str, allowed: tuple[str, ...]) -> list[Cause]:
    """Return the cause for a value outside of its enumeration; one that is missing is told all of it."""
    if value in allowed:
        return []
    listed = " ".join(f'"{one}"' for one in allowed)
    return [unsupported(at, value, allowed) if value else required(at, f"valid values: [{listed}]")]


def _conditions(field: str, conditions: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    if len(conditions) > _MAX_CONDITIONS:
        causes.append(too_many(field, len(conditions), _MAX_CONDITIONS))
    for index, pattern in enumerate(conditions):
        at = f"{field}[{index}]"
        causes += check(f"{at}.type", pattern.get("type") or "", validation.qualified_name)
        causes += _choice(f"{at}.status", pattern.get("status") or "", _STATUSES)
    return causes


def _exit_codes(at: str, requirement: Document, names: set[str | None]) -> list[Cause]:
    operator: str = requirement.get("operator") or ""
    values: list[int] = requirement.get("values") or []
    causes = _choice(f"{at}.operator", operator, _OPERATORS)
    container = requirement.get("containerName")
    if container is not None and container not in names:
        problem = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid(f"{at}.containerName", container, problem))
    if not values:
        causes.append(invalid(f"{at}.values", values, "at least one value is required"))
    elif len(values) > _MAX_EXIT_CODES:
        causes.append(too_many(f"{at}.values", len(values), _MAX_EXIT_CODES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            causes.append(invalid(f"{at}.values[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            causes.append(duplicate(f"{at}.values[{index}]", value))
        seen.add(value)
    if any(one > next_one for one, next_one in pairwise(values)):
        causes.append(invalid(f"{at}.values", values, "must be ordered"))
    return causes


def success_policy(field: str, policy: Document, completions: int) -> list[Cause]:
    """Return what is wrong with the successPolicy of an indexed job; `field` is its path."""
    rules: list[Document] = policy.get("rules") or []
    causes: list[Cause] = []
    if not rules:
        problem = "at least one rules must be specified when the successPolicy is specified"
        causes.append(required(f"{field}.rules", problem))
    if len(rules) > _MAX_RULES:
        causes.append(too_many(f"{field}.rules", len(rules), _MAX_RULES))
    for index, rule in enumerate(rules):
        causes += _success_rule(f"{field}.rules[{index}]", rule, completions)
    return causes


def _success_rule(at: str, rule: Document, completions: int) -> list[Cause]:
    count: int | None = rule.get("succeededCount")
    indexes: str | None = rule.get("succeededIndexes")
    causes: list[Cause] = []
    if count is None and indexes is None:
        causes.append(required(at, "at least one of succeededCount or succeededIndexes must be specified"))
    named = 0
    if indexes is not None:
        if len(indexes) > _MAX_INDEXES_TEXT:
            causes.append(too_long(f"{at}.succeededIndexes", _MAX_INDEXES_TEXT))
        try:
            named = sum(last - first + 1 for first, last in index_ranges(indexes, completions))
        except ValueError as error:
            causes.append(invalid(f"{at}.succeededIndexes", indexes, f"error parsing succeededIndexes: {error}"))
    if count is None:
        return causes
    causes += non_negative(f"{at}.succeededCount", count)
    limits = [(completions, "specified completions")]
    if indexes is not None:
        limits.append((named, "indexes in the specified succeededIndexes field"))
    for limit, of in limits:
        if count > limit:
            problem = f"must be less than or equal to {limit} (the number of {of})"
            causes.append(invalid(f"{at}.succeededCount", count, problem))
    return causes


def index_ranges(text: str, completions: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last index of each range in "0,3-5". Raises ValueError, worded as Kubernetes."""
    previous = -1
    for fragment in text.split(",") if text else ():
        parts = fragment.split("-")
        if len(parts) > 2:
            raise ValueError(
                f'the fragment "{fragment}" violates the requirement that an index interval can have at most two '
                "parts separated by '-'"
            )
        first, last = _index(parts[0], completions), _index(parts[-1], completions)
        if len(parts) == 2 and first >= last:
            raise _disorder(first, last)
        if previous >= first:
            raise _disorder(previous, first)
        yield first, last
        previous = last


def _disorder(previous: int, current: int) -> ValueError:
    return ValueError(f"non-increasing order, previous: {previous}, current: {current}")


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)
