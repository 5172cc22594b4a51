"""Roles and their bindings: what they may say (k8s.io/kubernetes/pkg/apis/rbac/validation)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.resource import Cell, Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import Problems, check, invalid, required, same, unsupported

GROUP: Final = "rbac.authorization.k8s.io"
SERVICE_ACCOUNT: Final = "ServiceAccount"
_SUBJECT_KINDS: Final = (SERVICE_ACCOUNT, "User", "Group")


class RoleStrategy(Strategy):
    """The rules of roles, which live in a namespace."""

    made_by_update = True
    namespaced: ClassVar[bool] = True

    def name_problems(self, name: str) -> Problems:
        """Refuse only what could not stand in a path: names such as "system:node" are usual."""
        return validation.path_segment(name)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the rules."""
        causes: list[Cause] = []
        for index, rule in enumerate(obj.get("rules") or ()):
            causes += _rule(f"rules[{index}]", rule, namespaced=self.namespaced)
        return causes


class ClusterRoleStrategy(RoleStrategy):
    """The rules of roles for the whole cluster, which may gather the rules of others."""

    namespaced: ClassVar[bool] = False

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the rules and with the selectors of what to gather."""
        causes = super().validate(obj)
        aggregation: Document | None = obj.get("aggregationRule")
        if aggregation is None:
            return causes
        field = "aggregationRule.clusterRoleSelectors"
        selectors: list[Document] = aggregation.get("clusterRoleSelectors") or []
        if not selectors:
            needed = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            causes.append(required(field, needed))
        for index, selector in enumerate(selectors):
            causes += validation.label_selector(f"{field}[{index}]", selector)
        return causes


def _rule(at: str, rule: Document, *, namespaced: bool) -> list[Cause]:
    causes = [] if rule.get("verbs") else [required(f"{at}.verbs", "verbs must contain at least one value")]
    if urls := rule.get("nonResourceURLs"):
        field = f"{at}.nonResourceURLs"
        if namespaced:
            causes.append(invalid(field, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            both = "rules cannot apply to both regular resources and non-resource URLs"
            causes.append(invalid(field, urls, both))
        return causes
    if not rule.get("apiGroups"):
        causes.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


class RoleBindingStrategy(Strategy):
    """The rules of bindings in a namespace."""

    made_by_update = True
    role_kinds: ClassVar[tuple[str, ...]] = ("Role", "ClusterRole")
    namespaced: ClassVar[bool] = True

    def name_problems(self, name: str) -> Problems:
        """Refuse only what could not stand in a path."""
        return validation.path_segment(name)

    def default(self, obj: Document) -> None:
        """Take the group of roles, users and groups for granted."""
        reference: Document | None = obj.get("roleRef")
        if reference is not None and not reference.get("apiGroup"):
            reference["apiGroup"] = GROUP
        for subject in obj.get("subjects") or ():
            if subject.get("kind") in {"User", "Group"} and not subject.get("apiGroup"):
                subject["apiGroup"] = GROUP

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the role that is named, and with those who get it."""
        reference = section(obj, "roleRef")
        causes: list[Cause] = []
        if (group := reference.get("apiGroup") or "") != GROUP:
            causes.append(unsupported("roleRef.apiGroup", group, (GROUP,)))
        if (kind := reference.get("kind") or "") not in self.role_kinds:
            causes.append(unsupported("roleRef.kind", kind, self.role_kinds))
        if name := reference.get("name"):
            causes += check("roleRef.name", name, validation.path_segment)
        else:
            causes.append(required("roleRef.name"))
        for index, subject in enumerate(obj.get("subjects") or ()):
            causes += _subject(f"subjects[{index}]", subject, namespaced=self.namespaced)
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return that the role changes, which only a new binding may name."""
        if same(obj.get("roleRef"), old.get("roleRef")):
            return []
        return [invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")]


class ClusterRoleBindingStrategy(RoleBindingStrategy):
    """The rules of bindings for the whole cluster."""

    role_kinds: ClassVar[tuple[str, ...]] = ("ClusterRole",)
    namespaced: ClassVar[bool] = False


def _subject(at: str, subject: Document, *, namespaced: bool) -> list[Cause]:
    name: str = subject.get("name") or ""
    kind: str = subject.get("kind") or ""
    group: str = subject.get("apiGroup") or ""
    causes = [] if name else [required(f"{at}.name")]
    if kind == SERVICE_ACCOUNT:
        if name:
            causes += check(f"{at}.name", name, validation.dns_subdomain)
        if group:
            causes.append(unsupported(f"{at}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            causes.append(required(f"{at}.namespace"))
    elif kind in _SUBJECT_KINDS:
        if group != GROUP:
            causes.append(unsupported(f"{at}.apiGroup", group, (GROUP,)))
    else:
        causes.append(unsupported(f"{at}.kind", kind, _SUBJECT_KINDS))
    return causes


# Tables ---------------------------------------------------------------------------------------------------------


def _role(obj: Document, now: datetime) -> str:
    _ = now
    reference = section(obj, "roleRef")
    return f"{reference.get('kind') or ''}/{reference.get('name') or ''}"


def _subjects(kind: str, written: Callable[[Document], str]) -> Cell:
    def cell(obj: Document, now: datetime) -> str:
        _ = now
        return ", ".join(written(one) for one in obj.get("subjects") or () if one.get("kind") == kind)

    return cell


def _plain(subject: Document) -> str:
    return subject.get("name") or ""


def _account(subject: Document) -> str:
    return f"{subject.get('namespace') or ''}/{subject.get('name') or ''}"


_ROLE_COLUMNS: Final = (
    NAME,
    Column("Created At", text("metadata", "creationTimestamp"), type="date", description="When the role was created."),
)
_BINDING_COLUMNS: Final = (
    NAME,
    Column("Role", _role, description="The role that is given."),
    AGE,
    Column("Users", _subjects("User", _plain), description="Users in the roleBinding", priority=1),
    Column("Groups", _subjects("Group", _plain), description="Groups in the roleBinding", priority=1),
    Column(
        "ServiceAccounts",
        _subjects(SERVICE_ACCOUNT, _account),
        description="ServiceAccounts in the roleBinding",
        priority=1,
    ),
)

RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="roles",
        singular="role",
        kind="Role",
        strategy=RoleStrategy(),
        columns=_ROLE_COLUMNS,
    ),
    Resource(
        group=GROUP,
        plural="rolebindings",
        singular="rolebinding",
        kind="RoleBinding",
        strategy=RoleBindingStrategy(),
        columns=_BINDING_COLUMNS,
    ),
    Resource(
        group=GROUP,
        plural="clusterroles",
        singular="clusterrole",
        kind="ClusterRole",
        namespaced=False,
        strategy=ClusterRoleStrategy(),
        columns=_ROLE_COLUMNS,
    ),
    Resource(
        group=GROUP,
        plural="clusterrolebindings",
        singular="clusterrolebinding",
        kind="ClusterRoleBinding",
        namespaced=False,
        strategy=ClusterRoleBindingStrategy(),
        columns=_BINDING_COLUMNS,
    ),
)
