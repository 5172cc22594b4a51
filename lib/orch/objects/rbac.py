"""Views of roles and their bindings (k8s.io/api/rbac/v1)."""

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


class RoleRules(View, frozen=True):
    """A Role or ClusterRole, as one who decides reads it: nothing but its rules, which may be null."""

    rules: tuple[PolicyRule, ...] | None = None


class RoleRef(View, frozen=True):
    """The role that a binding gives."""

    api_group: str = ""
    kind: str = ""
    name: str = ""


class Subject(View, frozen=True):
    """Who gets it."""

    kind: str = ""
    api_group: str = ""
    name: str = ""
    namespace: str = ""


class Binding(View, frozen=True):
    """A RoleBinding or ClusterRoleBinding."""

    role_ref: RoleRef = RoleRef()
    subjects: tuple[Subject, ...] | None = None
