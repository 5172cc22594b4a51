"""How the default roles and bindings are written down, and the documents that they become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from orch.objects.rbac import PolicyRule

GROUP: Final = "rbac.authorization.k8s.io"
AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
LABELS: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}

CORE: Final = ""
READ: Final = "get list watch"
WRITE: Final = "create update patch delete deletecollection"
READ_WRITE: Final = f"{READ} {WRITE}"
READ_UPDATE: Final = f"{READ} update patch"

Document = dict[str, Any]


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A ClusterRole, or with a namespace a Role. `aggregates` is the label by which it gathers the rules of others."""

    name: str
    rules: tuple[PolicyRule, ...] = ()
    labels: Mapping[str, str] = {}
    aggregates: str = ""
    namespace: str = ""


class Subject(msgspec.Struct, frozen=True):
    """Who is given a role: a User, a Group or a ServiceAccount of a namespace."""

    kind: str
    name: str
    namespace: str = ""


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A ClusterRoleBinding, or with a namespace a RoleBinding, whose role is a Role of that namespace."""

    name: str
    role: str
    subjects: tuple[Subject, ...] = ()
    namespace: str = ""


def rule(verbs: str, resources: str, *groups: str, names: tuple[str, ...] = ()) -> PolicyRule:
    """Return what permits verbs on resources, each list parted by spaces; without groups of the core one."""
    return PolicyRule(
        verbs=tuple(verbs.split()),
        api_groups=groups or (CORE,),
        resources=tuple(resources.split()),
        resource_names=names,
    )


def paths(verbs: str, urls: str) -> PolicyRule:
    """Return what permits verbs on paths that are no resources'."""
    return PolicyRule(verbs=tuple(verbs.split()), non_resource_urls=tuple(urls.split()))


EVENTS: Final = rule("create update patch", "events", CORE, "events.k8s.io")


def user(name: str) -> Subject:
    """Return a user."""
    return Subject("User", name)


def group(name: str) -> Subject:
    """Return a group."""
    return Subject("Group", name)


def account(name: str, namespace: str = "kube-system") -> Subject:
    """Return a service account."""
    return Subject("ServiceAccount", name, namespace)


def aggregated(role: Role, roles: Iterable[Role]) -> tuple[PolicyRule, ...]:
    """Return the rules of an aggregated role, as the controller makes them: by name, none twice."""
    found: dict[PolicyRule, None] = {}
    everyone = sorted(roles, key=lambda one: one.name)
    for each in everyone:
        if each.name != role.name and each.labels.get(role.aggregates) == "true":
            found |= dict.fromkeys(aggregated(each, everyone) if each.aggregates else each.rules)
    return tuple(found)


def role_document(role: Role, rules: Iterable[PolicyRule]) -> Document:
    """Return a role as it is created."""
    document: Document = {"metadata": _metadata(role.name, role.namespace, role.labels)}
    document["rules"] = [msgspec.to_builtins(one) for one in rules]
    if role.aggregates:
        selector = {"matchLabels": {role.aggregates: "true"}}
        document["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return document


def binding_document(binding: Binding) -> Document:
    """Return a binding as it is created."""
    return {
        "metadata": _metadata(binding.name, binding.namespace, {}),
        "roleRef": {"apiGroup": GROUP, "kind": "Role" if binding.namespace else "ClusterRole", "name": binding.role},
        "subjects": [subject_document(one) for one in binding.subjects],
    }


def subject_document(subject: Subject) -> Document:
    """Return a subject as bindings name it."""
    if subject.kind == "ServiceAccount":
        return {"kind": subject.kind, "name": subject.name, "namespace": subject.namespace}
    return {"apiGroup": GROUP, "kind": subject.kind, "name": subject.name}


def _metadata(name: str, namespace: str, labels: Mapping[str, str]) -> Document:
    metadata: Document = {"name": name, "labels": {**LABELS, **labels}, "annotations": {AUTOUPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    return metadata
