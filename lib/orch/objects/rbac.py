"""Views of ClusterRole (k8s.io/api/rbac/v1)."""

from __future__ import annotations

import msgspec

from orch.objects.meta import LabelSelector, Object, View


class PolicyRule(View, frozen=True):
    """What a role permits."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")


class AggregationRule(View, frozen=True):
    """Whose rules a role takes over."""

    cluster_role_selectors: tuple[LabelSelector, ...] = ()


class ClusterRole(Object, frozen=True):
    """A role of the whole cluster."""

    rules: tuple[PolicyRule, ...] = ()
    aggregation_rule: AggregationRule | None = None
