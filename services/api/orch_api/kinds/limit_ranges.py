"""LimitRanges: what each pod, container and claim of a namespace may ask for (ValidateLimitRange)."""

from __future__ import annotations

from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch.quantity import Quantity
from orch_api.kinds.columns import NAME, text
from orch_api.kinds.quantities import canonicalise
from orch_api.kinds.resource_names import container_resource_name, overcommits, resource_name
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, duplicate, forbidden, invalid, qualified_name, quantity_value, required

_TYPES: Final = frozenset({"Pod", "Container", "PersistentVolumeClaim"})
_PARTS: Final = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_ONE: Final = quantity.parse("1")
_MAX_MILLI: Final = (2**63 - 1) // 1000

Limits = dict[str, Quantity]
"""What one part of a limit says of one resource, by the part's name."""


class LimitRangeStrategy(Strategy):
    """The rules of limit ranges."""

    made_by_update = True

    def default(self, obj: Document) -> None:
        """Let containers ask for what they may have at most, or must ask for at least."""
        for limit in section(obj, "spec").get("limits") or ():
            if limit.get("type") == "Container":
                _default_container(limit)
            for part in _PARTS:
                if found := limit.get(part):
                    canonicalise(found)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the limits."""
        causes: list[Cause] = []
        types: set[str] = set()
        limits: list[Document] = section(obj, "spec").get("limits") or []
        for index, limit in enumerate(limits):
            at = f"spec.limits[{index}]"
            kind: str = limit.get("type") or ""
            causes += check(f"{at}.type", kind, qualified_name)
            if "/" not in kind and kind not in _TYPES:
                causes.append(invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified"))
            if kind in types:
                causes.append(duplicate(f"{at}.type", kind))
            types.add(kind)
            causes += _limit(at, kind, limit)
        return causes


def _default_container(limit: Document) -> None:
    default: dict[str, Any] = section(limit, "max") | section(limit, "default")
    request = section(limit, "min") | default | section(limit, "defaultRequest")
    if default:
        limit["default"] = default
    if request:
        limit["defaultRequest"] = request


def _limit(at: str, kind: str, limit: Document) -> list[Cause]:
    rule = container_resource_name if kind in {"Pod", "Container"} else resource_name
    causes: list[Cause] = []
    wrong: list[Cause] = []
    of: dict[str, Limits] = {}
    for part in _PARTS:
        found = section(limit, part)
        if kind == "Pod" and part in {"default", "defaultRequest"}:
            if found:
                causes.append(forbidden(f"{at}.{part}", "may not be specified when `type` is 'Pod'"))
            continue
        for name, value in found.items():
            causes += check(f"{at}.{part}[{name}]", name, rule)
            wrong += quantity_value(f"{at}.{part}[{name}]", value)
            if not wrong:
                of.setdefault(name, {})[part] = quantity.parse(str(value))
    if kind == "PersistentVolumeClaim" and not any("storage" in section(limit, part) for part in ("min", "max")):
        problem = "either minimum or maximum storage value is required, but neither was provided"
        causes.append(required(f"{at}.limits", problem))
    causes += wrong
    if not wrong:
        for name, parts in of.items():
            causes += _relations(at, name, parts)
    return causes


_ORDER: Final = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)
"""What must not be greater than what; the field that the message is about, the value that it shows, and its words."""


def _relations(at: str, name: str, parts: Limits) -> list[Cause]:
    """Return how the parts of a limit contradict one another for one resource."""
    causes: list[Cause] = []
    for lower, upper, field, shown, words in _ORDER:
        low, high = parts.get(lower), parts.get(upper)
        if low is not None and high is not None and low.nanos > high.nanos:
            causes.append(invalid(f"{at}.{field}[{name}]", str(parts[shown]), words.format(low, high)))
    ratio = parts.get("maxLimitRequestRatio")
    if ratio is not None:
        causes += _ratio(f"{at}.maxLimitRequestRatio[{name}]", ratio, parts)
    default, request = parts.get("default"), parts.get("defaultRequest")
    if default is not None and request is not None and not overcommits(name) and default.nanos != request.nanos:
        problem = f"default value {default} must equal to defaultRequest value {request} in {name}"
        causes.append(invalid(f"{at}.defaultRequest[{name}]", str(request), problem))
    return causes


def _ratio(field: str, ratio: Quantity, parts: Limits) -> list[Cause]:
    causes: list[Cause] = []
    if ratio.nanos < _ONE.nanos:
        causes.append(invalid(field, str(ratio), f"ratio {ratio} is less than 1"))
    low, high = parts.get("min"), parts.get("max")
    if low is None or high is None or low.nanos == 0:
        return causes
    small = all(one.value < _MAX_MILLI for one in (ratio, low, high))
    most = high.milli / low.milli if small else high.value / low.value
    if (ratio.milli / 1000 if small else ratio.value) > most:
        causes.append(invalid(field, str(ratio), f"ratio {ratio} is greater than max/min = {most:f}"))
    return causes


RESOURCES: Final = (
    Resource(
        plural="limitranges",
        singular="limitrange",
        kind="LimitRange",
        short_names=("limits",),
        strategy=LimitRangeStrategy(),
        columns=(
            NAME,
            Column("Created At", text("metadata", "creationTimestamp"), description="When the object was created."),
        ),
    ),
)
