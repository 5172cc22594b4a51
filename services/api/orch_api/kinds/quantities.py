"""Quantities inside of documents: their canonical form, and the rules of resource lists."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch_api import validation
from orch_api.validation import invalid

STANDARD_CONTAINER_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES: Final = "hugepages-"
_NATIVE_DOMAIN: Final = "kubernetes.io/"


@lru_cache(8192)
def canonical(text: str) -> str:
    """Return the canonical form, rounded up to thousandths; what is no quantity stays, for validation to refuse."""
    try:
        exact = quantity.canonical(text)
        if exact.endswith(("n", "u")):
            return quantity.canonical(f"{quantity.milli(text)}m")
    except ValueError:
        return text
    return exact


def canonicalise(resources: dict[str, Any]) -> None:
    """Bring a resource list into canonical form, in place."""
    for name, value in resources.items():
        if value is not None:
            resources[name] = canonical(value if isinstance(value, str) else str(value))


@lru_cache(1024)
def _name_problems(name: str) -> tuple[str, ...]:
    """Return why a name cannot be a container's resource."""
    problems = validation.qualified_name(name)
    if problems:
        return problems
    if "/" not in name:
        if name in STANDARD_CONTAINER_RESOURCES or name.startswith(_HUGE_PAGES):
            return ()
        return ("must be a standard resource type or fully qualified", "must be a standard resource for containers")
    if not _is_native(name) and not is_extended(name):
        return ("doesn't follow extended resource name standard",)
    return ()


def _is_native(name: str) -> bool:
    domain = name.partition("/")[0]
    return f"{domain}/".endswith(_NATIVE_DOMAIN) and (domain == "kubernetes.io" or domain.endswith(".kubernetes.io"))


def is_extended(name: str) -> bool:
    """Tell whether a name is that of a resource that somebody other than Kubernetes adds to nodes."""
    if "/" not in name or _is_native(name):
        return False
    return not name.startswith("requests.") and not validation.qualified_name(f"requests.{name}")


def _overcommits(name: str) -> bool:
    return not name.startswith(_HUGE_PAGES) and ("/" not in name or _is_native(name))


def quantities(field: str, resources: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with the values of a resource list, whatever its names."""
    causes: list[Cause] = []
    for name, value in resources.items():
        causes += validation.quantity_value(f"{field}[{name}]", value)
    return causes


def container_resources(field: str, resources: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with a container's limits and requests."""
    limits: dict[str, Any] = resources.get("limits") or {}
    requests: dict[str, Any] = resources.get("requests") or {}
    causes = _resource_list(f"{field}.limits", limits) + _resource_list(f"{field}.requests", requests)
    if causes:
        return causes
    for name, request in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not _overcommits(name):
                problem = "Limit must be set for non overcommitable resources"
                causes.append(validation.required(f"{field}.limits", problem))
            continue
        asked, allowed = quantity.milli(str(request)), quantity.milli(str(limit))
        if not _overcommits(name) and asked != allowed:
            causes.append(invalid(f"{field}.requests", request, f"must be equal to {name} limit of {limit}"))
        elif asked > allowed:
            problem = f"must be less than or equal to {name} limit of {limit}"
            causes.append(invalid(f"{field}.requests", request, problem))
    return causes


def _resource_list(field: str, resources: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    for name, value in resources.items():
        causes += [invalid(f"{field}[{name}]", name, problem) for problem in _name_problems(name)]
        problems = validation.quantity_value(f"{field}[{name}]", value)
        if not problems and _is_whole_only(name) and quantity.milli(str(value)) % 1000:
            problems = [invalid(f"{field}[{name}]", value, "must be an integer")]
        causes += problems
    return causes


def _is_whole_only(name: str) -> bool:
    return "/" in name and not _is_native(name)
