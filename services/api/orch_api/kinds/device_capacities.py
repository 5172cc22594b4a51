"""How much a device has of something, and in which portions it may be asked for (validateRequestPolicy)."""

from __future__ import annotations

import itertools
from typing import Final

from orch import quantity
from orch.errors import Cause
from orch_api.kinds.quantities import canonical
from orch_api.strategy import Document, section
from orch_api.validation import duplicate, forbidden, invalid, required, too_many

_MAX_OPTIONS: Final = 10
_RANGE: Final = ("min", "max", "step")


def default_capacity(found: Document) -> None:
    """Bring the amounts of a capacity into canonical form."""
    policy = section(found, "requestPolicy")
    for place, name in (
        (found, "value"),
        (policy, "default"),
        *((section(policy, "validRange"), one) for one in _RANGE),
    ):
        if place.get(name) is not None:
            place[name] = canonical(str(place[name]))
    if values := policy.get("validValues"):
        policy["validValues"] = [canonical(str(value)) for value in values]


def capacity(at: str, found: Document, *, shared: bool) -> list[Cause]:
    """Return what is wrong with a capacity; only a device that several may have at once can be had in portions."""
    whole = str(found.get("value") or "0")
    try:
        amounts = _amounts(found)
    except ValueError as problem:
        return [invalid(f"{at}.value", whole, str(problem))]
    policy: Document | None = found.get("requestPolicy")
    if policy is None:
        return []
    at = f"{at}.requestPolicy"
    return _policy(at, policy, whole, amounts) if shared else [forbidden(at, "allowMultipleAllocations must be true")]


def _policy(at: str, policy: Document, whole: str, amounts: dict[str, int]) -> list[Cause]:
    values: list[str] = policy.get("validValues") or []
    span: Document | None = policy.get("validRange")
    if values and span is not None:
        problem = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [forbidden(at, problem)]
    if not values and span is None:
        return []
    default: str | None = policy.get("default")
    if default is None:
        given = "validValues" if values else "validRange"
        return [required(f"{at}.default", f"required when {given} is defined")]
    if span is None:
        return _options(f"{at}.validValues", values, default, whole, amounts)
    return _span(f"{at}.validRange", span, default, whole, amounts)


def _amounts(found: Document) -> dict[str, int]:
    """Return every amount of a capacity in billionths by how it is written. Raises ValueError."""
    policy = section(found, "requestPolicy")
    span = section(policy, "validRange")
    written = [found.get("value") or "0", policy.get("default"), *(policy.get("validValues") or ())]
    written += [span.get(name) for name in _RANGE]
    return {str(one): quantity.parse(str(one)).nanos for one in written if one is not None}


def _options(at: str, values: list[str], default: str, whole: str, amounts: dict[str, int]) -> list[Cause]:
    causes: list[Cause] = []
    for index, (value, following) in enumerate(itertools.pairwise(values)):
        if amounts[value] > amounts[following]:
            causes.append(invalid(f"{at}[{index + 1}]", following, "values must be sorted in ascending order"))
    if len(values) > _MAX_OPTIONS:
        return [*causes, too_many(at, len(values), _MAX_OPTIONS)]
    for index, value in enumerate(values):
        if amounts[value] > amounts[whole]:
            causes.append(invalid(f"{at}[{index}]", value, f"option is larger than capacity value: {whole}"))
        if value in values[:index]:
            causes.append(duplicate(f"{at}[{index}]", value))
    if amounts[default] not in {amounts[value] for value in values}:
        causes.append(invalid(at, default, "default value is not valid according to the requestPolicy"))
    return causes


def _span(at: str, span: Document, default: str, whole: str, amounts: dict[str, int]) -> list[Cause]:
    least: str | None = span.get("min")
    most: str | None = span.get("max")
    if least is None:
        return [required(f"{at}.min", "required when validRange is defined")]
    causes: list[Cause] = []
    if amounts[least] > amounts[whole]:
        causes.append(invalid(f"{at}.min", least, f"min is larger than capacity value: {whole}"))
    if amounts[default] < amounts[least]:
        causes.append(invalid(f"{at}.default", default, f"default is less than min: {least}"))
    if most is not None:
        if amounts[least] > amounts[most]:
            causes.append(invalid(f"{at}.max", least, f"min is larger than max: {most}"))
        if amounts[most] > amounts[whole]:
            causes.append(invalid(f"{at}.max", most, f"max is larger than capacity value: {whole}"))
        if amounts[default] > amounts[most]:
            causes.append(invalid(f"{at}.default", default, f"default is more than max: {most}"))
    return causes if span.get("step") is None else causes + _step(f"{at}.step", span, default, whole, amounts)


def _step(at: str, span: Document, default: str, whole: str, amounts: dict[str, int]) -> list[Cause]:
    step: str = span["step"]
    least: str = span["min"]
    if amounts[step] <= 0:
        return [invalid(at, step, "must be greater than zero")]
    causes: list[Cause] = []
    if amounts[least] + amounts[step] > amounts[whole]:
        causes.append(invalid(at, step, f"one step {step} is larger than capacity value: {whole}"))
    for value in (default, span.get("max")):
        if value is not None and (amounts[value] - amounts[least]) % amounts[step]:
            problem = f"value is not a multiple of a given step ({step}) from ({least})"
            causes.append(invalid(at, value, problem))
    return causes
