"""Gives aggregated ClusterRoles the rules of those they select (k8s.io/kubernetes clusterroleaggregation)."""

from __future__ import annotations

from collections.abc import Iterable

from orch.errors import NotFoundError
from orch.objects.rbac import ClusterRole, PolicyRule
from orch.objects.scheme import CLUSTER_ROLES
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import from_label_selector
from orch_controllers.context import Context


class AggregationReconciler:
    """Reconciles ClusterRoles that have an aggregation rule."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._roles = context.informers.of(CLUSTER_ROLES)

    def keys_of_role(self, change: Change[ClusterRole]) -> Iterable[Key]:
        """Return all aggregated roles: each may select the one that changed."""
        old, new = change.old, change.new
        if old is not None and new is not None and old is not new:
            same = old.object.rules == new.object.rules and old.labels == new.labels
            if same and old.object.aggregation_rule == new.object.aggregation_rule:
                return ()
        return [Key("", item.name) for item in self._roles.items() if item.object.aggregation_rule is not None]

    async def reconcile(self, key: Key) -> Result:
        """Bring one role's rules to those of the roles that it selects."""
        item = self._roles.get("", key.name)
        if item is None or item.object.aggregation_rule is None:
            return DONE
        rules = aggregated(item.object, (each.object for each in self._roles.items()))
        if rules == item.object.rules:
            return DONE
        version = {"uid": item.uid, "resourceVersion": str(item.revision)}
        try:
            await self._client.patch(CLUSTER_ROLES, "", key.name, {"metadata": version, "rules": rules})
        except NotFoundError:
            return DONE
        return DONE


def aggregated(role: ClusterRole, roles: Iterable[ClusterRole]) -> tuple[PolicyRule, ...]:
    """Return the rules of all roles that a role selects but itself, by name, none twice."""
    if role.aggregation_rule is None:
        return role.rules
    ordered = sorted(roles, key=lambda each: each.metadata.name)
    rules: dict[PolicyRule, None] = {}
    for selector in map(from_label_selector, role.aggregation_rule.cluster_role_selectors):
        for each in ordered:
            if each.metadata.name != role.metadata.name and selector.matches(each.metadata.labels):
                rules |= dict.fromkeys(each.rules)
    return tuple(rules)
