"""Selectors as those who authorize look at them: what they require, whether a request or a review carries them.

A requirement that cannot be expressed is left out: who decides by a selector then permits less, never more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from orch import selectors
from orch_api.auth.attributes import Requirement

_OPERATORS: Final = {
    "=": "In",
    "==": "In",
    "in": "In",
    "!=": "NotIn",
    "notin": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}
_OF_LABELS: Final = frozenset(_OPERATORS.values())

Found = tuple[tuple[Requirement, ...], str]
"""The requirements, and what is said of those that were left out: "ignored", "partially ignored" or nothing."""


def label_requirements(text: str) -> tuple[Requirement, ...]:
    """Return what a label selector requires, nothing for one that cannot be read."""
    try:
        parsed = selectors.parse_label_selector(text).requirements
    except ValueError:
        return ()
    return tuple(
        Requirement(one.key, _OPERATORS[one.operator], tuple(sorted(one.values)))
        for one in parsed
        if one.operator in _OPERATORS
    )


def field_requirements(text: str) -> tuple[Requirement, ...]:
    """Return what a field selector requires, nothing for one that cannot be read."""
    try:
        parsed = selectors.parse_field_selector(text)
    except ValueError:
        return ()
    return tuple(Requirement(path, _OPERATORS[operator], (value,)) for path, operator, value in parsed)


def of_review(selector: Mapping[str, Any] | None, *, labels: bool) -> Found:
    """Return what the labelSelector or fieldSelector of a review's resourceAttributes requires."""
    if not selector:
        return (), ""
    raw: str = selector.get("rawSelector") or ""
    if raw:
        found = label_requirements(raw) if labels else field_requirements(raw)
        return found, "" if found else "ignored"
    asked: list[Mapping[str, Any]] = selector.get("requirements") or []
    known = tuple(_requirements(asked, labels=labels))
    if len(known) == len(asked):
        return known, ""
    return known, "partially ignored" if known else "ignored"


def _requirements(asked: Iterable[Mapping[str, Any]], *, labels: bool) -> Iterable[Requirement]:
    for one in asked:
        operator, values = one.get("operator") or "", tuple(one.get("values") or ())
        if operator in _OF_LABELS and (labels or (len(values) == 1 and operator in {"In", "NotIn"})):
            yield Requirement(one.get("key") or "", operator, values)
