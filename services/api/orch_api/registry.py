"""The one visible list of all kinds that the api serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orch_api.kinds import (
    accounts,
    config,
    coordination,
    csi,
    endpoint_slices,
    events,
    ingresses,
    namespaces,
    network_policies,
    nodes,
    persistent_volumes,
    pods,
    priority_classes,
    runtime_classes,
    service_ranges,
    services,
    storage_classes,
    storage_migrations,
    volume_attachments,
    volume_claims,
    workloads,
)
from orch_api.resource import Column, Resource, ScalePaths, Subresource

__all__ = ["REGISTRY", "Column", "Registry", "Resource", "ScalePaths", "Subresource"]


class Registry:
    """Finds resources by what requests, documents and keys call them."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources: Final = tuple(resources)
        self._by_path = {(one.group, one.version, one.plural): one for one in self.resources}
        self._by_kind = {(one.group, one.version, one.kind): one for one in self.resources}
        self._stored: dict[tuple[str, str], Resource] = {}
        for one in self.resources:
            self._stored.setdefault((one.group, one.plural), one)
        if len(self._by_path) != len(self.resources) or len(self._by_kind) != len(self.resources):
            raise ValueError("two resources of the registry share a name")

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return what is served under a path."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """Return the resource whose documents are of a kind."""
        return self._by_kind.get((group, version, kind))

    def stored(self, group: str, plural: str) -> Resource | None:
        """Return the resource in the version in which it is stored: the first one listed."""
        return self._stored.get((group, plural))


REGISTRY: Final = Registry(
    (
        *namespaces.RESOURCES,
        *nodes.RESOURCES,
        *pods.RESOURCES,
        *config.RESOURCES,
        *accounts.RESOURCES,
        *services.RESOURCES,
        *events.RESOURCES,
        *workloads.RESOURCES,
        *coordination.RESOURCES,
        *ingresses.RESOURCES,
        *network_policies.RESOURCES,
        *service_ranges.RESOURCES,
        *endpoint_slices.RESOURCES,
        *persistent_volumes.RESOURCES,
        *volume_claims.RESOURCES,
        *storage_classes.RESOURCES,
        *volume_attachments.RESOURCES,
        *csi.RESOURCES,
        *storage_migrations.RESOURCES,
        *priority_classes.RESOURCES,
        *runtime_classes.RESOURCES,
    )
)
