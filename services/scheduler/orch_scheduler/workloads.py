"""Which pods belong together, as services and workloads select them: what a pod is spread with unless it says itself.

The rule is kube-scheduler's (k8s.io/kubernetes pkg/scheduler/framework/plugins/helper DefaultSelector): the selectors
of all services that select the pod, and that of the workload which made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orch.objects.meta import LabelSelector
from orch.selectors import Requirement, Selector, from_label_selector, from_labels
from orch_scheduler.demand import Demand
from orch_scheduler.terms import Group, Meant, anchor_of

_REMEMBERED: Final = 16384


class Workloads:
    """The selectors of services, replica sets, stateful sets and replication controllers."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Selector]] = {}
        self._owners: dict[tuple[str, str, str], Selector] = {}
        self._groups: dict[tuple[str, Selector], Group] = {}
        self._known: dict[Demand, Group | None] = {}

    def set_service(self, namespace: str, name: str, selector: Mapping[str, str] | None) -> bool:
        """Take over a service's selector, None or an empty one when it selects nothing; return whether it changed."""
        services = self._services.setdefault(namespace, {})
        old = services.pop(name, None)
        new = from_labels(selector) if selector else None
        if new is not None:
            services[name] = new
        if old != new:
            self._forget()
        return old != new

    def set_owner(self, kind: str, namespace: str, name: str, selector: LabelSelector | None) -> bool:
        """Take over a workload's selector, None when it is gone; return whether it changed. Raises ValueError."""
        old = self._owners.pop((kind, namespace, name), None)
        new = from_label_selector(selector) if selector is not None else None
        if new is not None:
            self._owners[kind, namespace, name] = new
        if old != new:
            self._forget()
        return old != new

    def group(self, demand: Demand) -> Group | None:
        """Return the pods that the demand belongs with; None when nothing selects it."""
        if demand not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._forget()
            self._known[demand] = self._find(demand)
        return self._known[demand]

    def _find(self, demand: Demand) -> Group | None:
        requirements: dict[Requirement, None] = {}
        for selector in self._services.get(demand.namespace, {}).values():
            if selector.matches(demand.labels):
                requirements.update(dict.fromkeys(selector.requirements))
        if demand.owner is not None:
            kind, name = demand.owner
            owner = self._owners.get((kind, demand.namespace, name))
            if owner is not None and not owner.nothing:
                requirements.update(dict.fromkeys(owner.requirements))
        if not requirements:
            return None
        selector = Selector(tuple(sorted(requirements, key=str)))
        meant = (Meant(selector, frozenset((demand.namespace,))),)
        group = Group(meant, living=True, anchor=anchor_of(meant))
        return self._groups.setdefault((demand.namespace, selector), group)

    def _forget(self) -> None:
        self._known.clear()
        if len(self._groups) >= _REMEMBERED:
            self._groups.clear()
