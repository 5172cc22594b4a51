"""What the objects of each kind use of quotas, and which quotas are about them; as its controller counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from orch.objects.networking import Service
from orch.objects.pods import Container, Pod
from orch.objects.quota import ResourceQuotaSpec, ScopeRequirement
from orch.objects.storage import PersistentVolumeClaim
from orch.quotas.amounts import COUNT, ONE, Amounts, of_claim, of_pod, of_service
from orch.quotas.scopes import claim_matches, pod_matches, requirements
from orch_api.strategy import Document, section

_BARE: Final = frozenset({"configmaps", "secrets", "replicationcontrollers", "resourcequotas"})
"""Kinds that are counted by their bare name, too."""
_ALWAYS_SAID: Final = ("cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory")
"""What every container has to say when a quota limits it."""


def usage(resource: str, document: Document, now: datetime) -> Amounts:
    """Return what an object of the kind "plural.group" uses."""
    counted: Amounts = {f"{COUNT}{resource}": ONE}
    if resource == "pods":
        return counted | of_pod(msgspec.convert(document, Pod), now)
    if resource == "services":
        has_node_ports = section(document, "spec").get("allocateLoadBalancerNodePorts") is not False
        return counted | of_service(msgspec.convert(document, Service), has_node_ports=has_node_ports)
    if resource == "persistentvolumeclaims":
        return counted | of_claim(msgspec.convert(document, PersistentVolumeClaim))
    if resource in _BARE:
        counted[resource] = ONE
    return counted


def is_about(resource: str, name: str) -> bool:
    """Return whether a quota's limit may be about objects of a kind."""
    if name in {resource, f"{COUNT}{resource}"}:
        return True
    if resource == "pods":
        plain = name.removeprefix("requests.").removeprefix("limits.")
        compute = plain in {"cpu", "memory", "ephemeral-storage"} or plain.startswith("hugepages-")
        return compute or (name.startswith("requests.") and "/" in name)
    if resource == "services":
        return name.startswith("services.")
    return resource == "persistentvolumeclaims" and (
        name == "requests.storage" or ".storageclass.storage.k8s.io/" in name
    )


def scopes_that_match(
    resource: str, document: Document, wanted: Iterable[ScopeRequirement]
) -> tuple[ScopeRequirement, ...]:
    """Return which requirements an object meets; only pods and claims can meet any."""
    if resource == "pods":
        pod = msgspec.convert(document, Pod)
        return tuple(one for one in wanted if pod_matches(pod, (one,)))
    if resource == "persistentvolumeclaims":
        claim = msgspec.convert(document, PersistentVolumeClaim)
        return tuple(one for one in wanted if claim_matches(claim, (one,)))
    return ()


def all_scopes(spec: ResourceQuotaSpec) -> tuple[ScopeRequirement, ...]:
    """Return all that must hold of an object for a quota to be about it."""
    return requirements(spec)


def unsaid(pod: Document, limited: Iterable[str]) -> str:
    """Return what of a pod's containers a quota needs to be said and is not, "" when all is: as Kubernetes words it."""
    needed = [name for name in _ALWAYS_SAID if name in limited]
    spec = msgspec.convert(pod, Pod).spec
    missing: dict[str, set[str]] = {}
    for name in needed:
        if spec.resources is not None and _says(spec.resources.requests, spec.resources.limits, name):
            continue
        for container in (*spec.containers, *spec.init_containers):
            if not _container_says(container, name):
                missing.setdefault(name, set()).add(container.name)
    told = (f"{name} for: {','.join(sorted(containers))}" for name, containers in sorted(missing.items()))
    return "; ".join(told)


def _container_says(container: Container, name: str) -> bool:
    return _says(container.resources.requests, container.resources.limits, name)


def _says(requests: Mapping[str, Any], limits: Mapping[str, Any], name: str) -> bool:
    if name.startswith("limits."):
        return name.removeprefix("limits.") in limits
    return name.removeprefix("requests.") in requests
