"""What can be limited, by name: for containers, and for namespaces as a whole (pkg/apis/core/helper)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from orch_api import validation
from orch_api.validation import Problems

HUGE_PAGES: Final = "hugepages-"

_COUNTED: Final = frozenset(
    {
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
    }
)
_OF_CONTAINERS: Final = frozenset({"cpu", "ephemeral-storage", "memory"})
_OF_QUOTAS: Final = (
    _COUNTED
    | _OF_CONTAINERS
    | {f"{part}.{name}" for part in ("requests", "limits") for name in _OF_CONTAINERS}
    | {"requests.storage"}
)
_STANDARD: Final = _OF_QUOTAS | {"storage"}

_UNKNOWN: Final = "must be a standard resource type or fully qualified"


@lru_cache(1024)
def resource_name(name: str) -> Problems:
    """Refuse what is no name of a resource."""
    problems = validation.qualified_name(name)
    if "/" not in name and name not in _STANDARD and not _is_huge_pages(name):
        return (*problems, _UNKNOWN)
    return problems


@lru_cache(1024)
def container_resource_name(name: str) -> Problems:
    """Refuse what is no name of a resource that a container can ask for."""
    problems = resource_name(name)
    if "/" not in name:
        if name not in _OF_CONTAINERS and not name.startswith(HUGE_PAGES):
            return (*problems, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        return (*problems, "doesn't follow extended resource name standard")
    return problems


@lru_cache(1024)
def quota_resource_name(name: str) -> Problems:
    """Refuse what is no name of a resource that a quota can limit."""
    problems = resource_name(name)
    if "/" not in name and not is_standard_for_quotas(name):
        return (*problems, "must be a standard resource for quota")
    return problems


def is_standard_for_quotas(name: str) -> bool:
    """Return whether a quota can limit it in every cluster."""
    return name in _OF_QUOTAS or _is_huge_pages(name)


def is_native(name: str) -> bool:
    """Return whether a resource is Kubernetes' own: one without a domain, or with its domain."""
    domain = name.rpartition("/")[0]
    return not domain or domain == "kubernetes.io" or domain.endswith(".kubernetes.io")


def is_extended(name: str) -> bool:
    """Return whether a resource is somebody else's: whole things that a node has a number of."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not validation.qualified_name(f"requests.{name}")


def is_whole(name: str) -> bool:
    """Return whether only whole numbers make sense."""
    return name in _COUNTED or is_extended(name)


def overcommits(name: str) -> bool:
    """Return whether more may be promised than there is."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def _is_huge_pages(name: str) -> bool:
    return name.startswith((HUGE_PAGES, f"requests.{HUGE_PAGES}"))
