"""Views of ResourceQuota (k8s.io/api/core/v1). Quantities as text."""

from __future__ import annotations

from orch.objects.meta import Object, View


class ScopeRequirement(View, frozen=True):
    """Which objects a scope means."""

    scope_name: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class ScopeSelector(View, frozen=True):
    """All of it must hold."""

    match_expressions: tuple[ScopeRequirement, ...] = ()


class ResourceQuotaSpec(View, frozen=True):
    """What the objects of a namespace may use together."""

    hard: dict[str, str] = {}
    scopes: tuple[str, ...] = ()
    scope_selector: ScopeSelector | None = None


class ResourceQuotaStatus(View, frozen=True):
    """What they may use, and what they do use."""

    hard: dict[str, str] = {}
    used: dict[str, str] = {}


class ResourceQuota(Object, frozen=True):
    """A quota."""

    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()
