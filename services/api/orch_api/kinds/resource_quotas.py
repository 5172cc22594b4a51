"""ResourceQuotas: what all objects of a namespace may ask for together (ValidateResourceQuota)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME
from orch_api.kinds.quantities import canonicalise
from orch_api.kinds.resource_names import is_standard_for_quotas, is_whole, quota_resource_name
from orch_api.resource import Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, immutable, invalid, quantity_value, required

_PODS: Final = frozenset({"pods"})
_COMPUTE: Final = frozenset({"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
_CLAIMS: Final = frozenset({"persistentvolumeclaims", "requests.storage"})
_SCOPES: Final = {
    "Terminating": _PODS | _COMPUTE,
    "NotTerminating": _PODS | _COMPUTE,
    "BestEffort": _PODS,
    "NotBestEffort": _PODS | _COMPUTE,
    "PriorityClass": _PODS | _COMPUTE,
    "CrossNamespacePodAffinity": _PODS | _COMPUTE,
    "VolumeAttributesClass": _CLAIMS,
}
"""What of the resources that every cluster has can be limited for a part of the objects."""

_EXCLUSIVE: Final = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_WITHOUT_VALUES: Final = frozenset(_SCOPES.keys() - {"PriorityClass", "VolumeAttributesClass"})
_EXISTS_ONLY: Final = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


class ResourceQuotaStrategy(Strategy):
    """The rules of resource quotas."""

    has_status = True

    def default(self, obj: Document) -> None:
        """Bring the amounts into canonical form."""
        for found in (section(obj, "spec").get("hard"), *section(obj, "status").values()):
            if found:
                canonicalise(found)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the quota."""
        spec = section(obj, "spec")
        hard = section(spec, "hard")
        causes = _amounts("spec.hard", hard)
        scopes: list[str] = spec.get("scopes") or []
        for scope in scopes:
            causes += _applies("spec.scopes", "spec.scopes", scope, scopes, scopes, hard)
        causes += _exclusive("spec.scopes", scopes, scopes)
        selector: Document | None = spec.get("scopeSelector")
        if selector is not None:
            causes += _scope_selector("spec.scopeSelector.matchExpressions", selector, scopes, hard)
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the quota would be for other objects."""
        scopes: list[str] = section(obj, "spec").get("scopes") or []
        if set(scopes) == set(section(old, "spec").get("scopes") or ()):
            return []
        return [immutable("spec.scopes", scopes)]

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the amounts that are there and in use."""
        _ = old
        status = section(obj, "status")
        return [cause for part in ("hard", "used") for cause in _amounts(f"status.{part}", section(status, part))]


def _amounts(field: str, amounts: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    for name, value in amounts.items():
        at = f"{field}[{name}]"
        causes += check(at, name, quota_resource_name)
        problems = quantity_value(at, value)
        if not problems and is_whole(name) and quantity.milli(str(value)) % 1000:
            problems = [invalid(at, value, "must be an integer")]
        causes += problems
    return causes


def _applies(at: str, named_at: str, scope: str, named: Any, shown: Any, hard: dict[str, Any]) -> list[Cause]:
    """Return whether a scope is unknown, or has nothing to do with a resource that the quota limits.

    `named` and `shown` are the values that the two messages show.
    """
    causes = [] if scope in _SCOPES else [invalid(named_at, named, "unsupported scope")]
    allowed = _SCOPES.get(scope)
    causes += [
        invalid(at, shown, "unsupported scope applied to resource")
        for name in sorted(hard)
        if allowed is not None and is_standard_for_quotas(name) and name not in allowed
    ]
    return causes


def _exclusive(at: str, scopes: Iterable[str], shown: list[str]) -> list[Cause]:
    found = set(scopes)
    return [invalid(at, shown, "conflicting scopes") for pair in _EXCLUSIVE if pair <= found]


def _scope_selector(at: str, selector: Document, scopes: list[str], hard: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    requirements: list[Document] = selector.get("matchExpressions") or []
    for requirement in requirements:
        scope: str = requirement.get("scopeName") or ""
        operator: str = requirement.get("operator") or ""
        values: list[str] = requirement.get("values") or []
        causes += _applies(at, f"{at}.scopeName", scope, scope, selector, hard)
        if scope in _WITHOUT_VALUES and operator != "Exists":
            causes.append(invalid(f"{at}.operator", operator, _EXISTS_ONLY))
        if operator in {"In", "NotIn"}:
            if not values:
                problem = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                causes.append(required(f"{at}.values", problem))
        elif operator in {"Exists", "DoesNotExist"}:
            if values:
                problem = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                causes.append(invalid(f"{at}.values", values, problem))
        else:
            causes.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
    return causes + _exclusive(at, (one.get("scopeName") or "" for one in requirements), scopes)


def _use(*, limits: bool) -> Cell:
    """Return the cell of what is used, of what may be: of limits, or of all else."""

    def cell(obj: Document, now: datetime) -> str:
        _ = now
        status = section(obj, "status")
        used = section(status, "used")
        return ", ".join(
            f"{name}: {used.get(name) or 0}/{hard}"
            for name, hard in sorted(section(status, "hard").items())
            if name.startswith("limits.") == limits
        )

    return cell


RESOURCES: Final = (
    Resource(
        plural="resourcequotas",
        singular="resourcequota",
        kind="ResourceQuota",
        short_names=("quota",),
        returns_deleted=True,
        strategy=ResourceQuotaStrategy(),
        columns=(
            NAME,
            Column("Request", _use(limits=False), description="What is asked for and may be asked for, at least."),
            Column("Limit", _use(limits=True), description="What is used and may be used, at most."),
            AGE,
        ),
        subresources={"status": Subresource("ResourceQuota")},
    ),
)
