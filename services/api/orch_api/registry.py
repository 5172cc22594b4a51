"""The one visible list of all kinds that the api serves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from orch_api.kinds import (
    accounts,
    admission_policies,
    admission_registration,
    api_services,
    autoscaling,
    certificates,
    component_statuses,
    config,
    controller_revisions,
    coordination,
    cron_jobs,
    csi,
    daemon_sets,
    definitions,
    device_taint_rules,
    disruption_budgets,
    endpoint_slices,
    events,
    flow_control,
    ingresses,
    jobs,
    limit_ranges,
    namespaces,
    network_policies,
    nodes,
    persistent_volumes,
    pod_certificates,
    pod_template_objects,
    pods,
    priority_classes,
    rbac,
    replication_controllers,
    resource_claims,
    resource_quotas,
    resource_slices,
    reviews,
    runtime_classes,
    service_ranges,
    services,
    stateful_sets,
    storage_classes,
    storage_migrations,
    usage,
    volume_attachments,
    volume_claims,
    workloads,
)
from orch_api.resource import Column, Resource, ScalePaths, Subresource

__all__ = ["REGISTRY", "Column", "Registry", "Resource", "ScalePaths", "Subresource"]


class Registry:
    """Finds resources by what requests, documents and keys call them."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._listed: Final = tuple(resources)
        self._added: dict[str, tuple[Resource, ...]] = {}
        self._ends: dict[tuple[str, str, str], asyncio.Event] = {}
        self.generation = 0
        """Counts the changes of what is served: what was made of an older generation is out of date."""
        self._index(self._listed)

    def _index(self, resources: tuple[Resource, ...]) -> None:
        by_path = {(one.group, one.version, one.plural): one for one in resources}
        by_kind = {(one.group, one.version, one.kind): one for one in resources}
        if len(by_path) != len(resources) or len(by_kind) != len(resources):
            raise ValueError("two resources of the registry share a name")
        stored: dict[tuple[str, str], Resource] = {}
        for one in resources:
            stored.setdefault((one.group, one.plural), one.storage)
        self.resources = resources
        self._by_path, self._by_kind, self._stored = by_path, by_kind, stored

    def replace(self, origin: str, resources: Iterable[Resource], *, lasting: bool = False) -> None:
        """Serve `resources` in place of what the same origin, a definition, had served before; nothing: no more.

        Watches of what was served before end, so that clients look anew, unless the change is a `lasting` one: one of
        which they would see nothing. Raises ValueError, and changes nothing, when a name is taken by another origin or
        a built-in kind.
        """
        added = {**self._added, origin: tuple(resources)}
        if not added[origin]:
            del added[origin]
        self._index((*self._listed, *(one for some in added.values() for one in some)))
        if not lasting:
            for one in self._added.get(origin, ()):
                if (end := self._ends.pop((one.group, one.version, one.plural), None)) is not None:
                    end.set()
        self._added = added
        self.generation += 1

    def end_of(self, resource: Resource) -> asyncio.Event | None:
        """Return what is set when watches of a resource are to end; None for the built-in ones, which stay."""
        if resource.schema is None:
            return None
        return self._ends.setdefault((resource.group, resource.version, resource.plural), asyncio.Event())

    @property
    def built_in(self) -> tuple[Resource, ...]:
        """The resources that are served in every cluster."""
        return self._listed

    def copy(self) -> Registry:
        """Return a registry with the same built-in kinds, to which its own are added."""
        return Registry(self._listed)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return what is served under a path."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """Return the resource whose documents are of a kind."""
        return self._by_kind.get((group, version, kind))

    def kept(self) -> list[Resource]:
        """Return the resources of which there are objects, each once, in the version in which they are stored."""
        return [one for one in self.resources if one.stored and one.stored_as is None]

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
        *stateful_sets.RESOURCES,
        *daemon_sets.RESOURCES,
        *controller_revisions.RESOURCES,
        *replication_controllers.RESOURCES,
        *pod_template_objects.RESOURCES,
        *jobs.RESOURCES,
        *cron_jobs.RESOURCES,
        *limit_ranges.RESOURCES,
        *resource_quotas.RESOURCES,
        *disruption_budgets.RESOURCES,
        *autoscaling.RESOURCES,
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
        *definitions.RESOURCES,
        *resource_claims.RESOURCES,
        *resource_slices.RESOURCES,
        *device_taint_rules.RESOURCES,
        *rbac.RESOURCES,
        *admission_registration.RESOURCES,
        *admission_policies.RESOURCES,
        *certificates.RESOURCES,
        *pod_certificates.RESOURCES,
        *flow_control.RESOURCES,
        *api_services.RESOURCES,
        *reviews.RESOURCES,
        *usage.RESOURCES,
        *component_statuses.RESOURCES,
    )
)
