"""What a claim may ask for: the spec of resource claims and of their templates.

Source: k8s.io/kubernetes/pkg/apis/resource/validation, validateDeviceClaim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.device_rules import (
    MAX_CONFIGS,
    MAX_REQUESTS,
    cel,
    each,
    full_name,
    label,
    qualified_name,
    selectors,
    settings,
    toleration,
)
from orch_api.kinds.quantities import canonicalise
from orch_api.strategy import Document, section
from orch_api.validation import check, duplicate, invalid, required, unsupported

_ONE_OF: Final = "exactly one of `exactly` or `firstAvailable` is required"
_NO_REQUEST: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)
_UNCONSTRAINED: Final = (
    "must be referenced by at least one matchAttribute or distinctAttribute constraint targeting this request"
)
_MODES: Final = ("All", "ExactCount")
_MAX_CONSTRAINTS: Final = 32
_MAX_ALTERNATIVES: Final = 8


def _asked(spec: Document) -> Iterator[Document]:
    """Yield each thing that is asked for: exact requests and alternatives."""
    for request in section(spec, "devices").get("requests") or ():
        if (exact := request.get("exactly")) is not None:
            yield exact
        yield from request.get("firstAvailable") or ()


def default_claim(spec: Document) -> None:
    """Ask for one device of each."""
    for asked in _asked(spec):
        if not asked.get("allocationMode"):
            asked["allocationMode"] = "ExactCount"
        if asked["allocationMode"] == "ExactCount" and not asked.get("count"):
            asked["count"] = 1
        if amounts := section(asked, "capacity").get("requests"):
            canonicalise(amounts)


def request_names(spec: Document) -> frozenset[str]:
    """Return how the requests of a claim may be called: "gpu", "gpu/large"."""
    names: set[str] = set()
    for request in section(spec, "devices").get("requests") or ():
        name: str = request.get("name") or ""
        names.add(name)
        names.update(f"{name}/{one.get('name') or ''}" for one in request.get("firstAvailable") or ())
    return frozenset(names)


def request_name(at: str, name: str, *, known: frozenset[str]) -> list[Cause]:
    """Return the cause when a name is not one of the claim's requests."""
    segments = name.split("/")
    if len(segments) > 2:
        return [invalid(at, name, _NO_REQUEST)]
    causes = [cause for segment in segments for cause in label(at, segment)]
    return causes if name in known else [*causes, invalid(at, name, _NO_REQUEST)]


def claim(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with the spec of a claim; `field` is its path."""
    devices = section(spec, "devices")
    at = f"{field}.devices"
    constraints: list[Document] = devices.get("constraints") or []
    known = request_names(spec)
    request = partial(_request, attributes=_constrained_attributes(constraints))
    causes = each(f"{at}.requests", devices.get("requests") or [], MAX_REQUESTS, request, key="name")
    constraint = partial(_constraint, known=known)
    causes += each(f"{at}.constraints", constraints, _MAX_CONSTRAINTS, constraint)
    config = partial(_config, known=known)
    return causes + each(f"{at}.config", devices.get("config") or [], MAX_CONFIGS, config)


def _config(at: str, config: Document, *, known: frozenset[str]) -> list[Cause]:
    named = partial(request_name, known=known)
    causes = each(f"{at}.requests", config.get("requests") or [], MAX_REQUESTS, named, key="")
    return causes + settings(at, config)


def _constraint(at: str, constraint: Document, *, known: frozenset[str]) -> list[Cause]:
    named = partial(request_name, known=known)
    causes = each(f"{at}.requests", constraint.get("requests") or [], MAX_REQUESTS, named, key="")
    for name in ("matchAttribute", "distinctAttribute"):
        if (attribute := constraint.get(name)) is not None:
            return causes + full_name(f"{at}.{name}", attribute)
    problem = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    return [*causes, required(at, problem)]


def _constrained_attributes(constraints: list[Document]) -> dict[str, set[str]]:
    """Return which attributes constraints name, by the request that they are about; "" is all requests."""
    found: dict[str, set[str]] = {}
    for constraint in constraints:
        attribute: str | None = constraint.get("matchAttribute") or constraint.get("distinctAttribute")
        if attribute is not None:
            for name in constraint.get("requests") or ("",):
                found.setdefault(name, set()).add(attribute)
    return found


def _request(at: str, request: Document, *, attributes: Mapping[str, set[str]]) -> list[Cause]:
    name: str = request.get("name") or ""
    causes = label(f"{at}.name", name)
    exact: Document | None = request.get("exactly")
    alternatives: list[Document] = request.get("firstAvailable") or []
    if exact is None and not alternatives:
        return [*causes, required(at, _ONE_OF)]
    if exact is not None and alternatives:
        return [*causes, invalid(at, None, f"{_ONE_OF}, but multiple fields are set")]
    if exact is not None:
        return causes + _wanted(f"{at}.exactly", exact, (name,), attributes)

    def alternative(one: str, asked: Document) -> list[Cause]:
        own: str = asked.get("name") or ""
        return label(f"{one}.name", own) + _wanted(one, asked, (name, f"{name}/{own}"), attributes)

    return causes + each(f"{at}.firstAvailable", alternatives, _MAX_ALTERNATIVES, alternative, key="name")


def _wanted(at: str, asked: Document, names: tuple[str, ...], attributes: Mapping[str, set[str]]) -> list[Cause]:
    """Return what is wrong with one thing that is asked for; `names` is how constraints may call it."""
    kind: str = asked.get("deviceClassName") or ""
    field = f"{at}.deviceClassName"
    causes = check(field, kind, validation.dns_subdomain) if kind else [required(field)]
    causes += selectors(f"{at}.selectors", asked.get("selectors") or [])
    constrained = attributes.get("", set[str]()).union(*(attributes.get(name, ()) for name in names))
    causes += _derived(f"{at}.derivedAttributes", asked.get("derivedAttributes") or [], constrained)
    causes += _count(at, asked)
    for index, one in enumerate(asked.get("tolerations") or ()):
        causes += toleration(f"{at}.tolerations[{index}]", one)
    amounts: dict[str, Any] = section(asked, "capacity").get("requests") or {}
    for name, amount in amounts.items():
        field = f"{at}.capacity.requests"
        causes += qualified_name(field, name) + validation.quantity_value(f"{field}[{name}]", amount)
    return causes


def _derived(field: str, found: list[Document], constrained: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, attribute in enumerate(found):
        at = f"{field}[{index}]"
        name: str = attribute.get("name") or ""
        if not name:
            causes.append(required(f"{at}.name"))
        elif name not in constrained:
            causes.append(invalid(f"{at}.name", name, _UNCONSTRAINED))
        causes += cel(f"{at}.expression", attribute.get("expression") or "")
        if name in names:
            causes.append(duplicate(at, name))
        names.add(name)
    return causes


def _count(at: str, asked: Document) -> list[Cause]:
    mode: str = asked.get("allocationMode") or ""
    count: int = asked.get("count") or 0
    if mode not in _MODES:
        return [unsupported(f"{at}.allocationMode", mode, _MODES)]
    if mode == "All" and count:
        return [invalid(f"{at}.count", count, "must not be specified when allocationMode is 'All'")]
    if mode == "ExactCount" and count <= 0:
        return [invalid(f"{at}.count", count, "must be greater than zero")]
    return []
