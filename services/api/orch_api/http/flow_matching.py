"""Which requests a FlowSchema is about (k8s.io/apiserver/pkg/util/flowcontrol, rule.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from orch_api.auth.identity import Caller
from orch_api.strategy import section

ALL: Final = "*"
_ACCOUNT: Final = "system:serviceaccount:"


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for: a resource, with its subresource behind a slash, or else a path."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    path: str = ""


class _ResourceRule(msgspec.Struct, frozen=True):
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    namespaces: frozenset[str]
    cluster_scope: bool

    def matches(self, asked: Asked) -> bool:
        where = self.cluster_scope if not asked.namespace else _has(self.namespaces, asked.namespace)
        what = _has(self.groups, asked.group) and _has(self.resources, asked.resource)
        return where and what and _has(self.verbs, asked.verb)


class _PathRule(msgspec.Struct, frozen=True):
    verbs: frozenset[str]
    paths: tuple[str, ...]

    def matches(self, asked: Asked) -> bool:
        return _has(self.verbs, asked.verb) and any(_covers(one, asked.path) for one in self.paths)


class Rule(msgspec.Struct, frozen=True):
    """One of a schema's rules: who asks, and for what."""

    users: frozenset[str]
    groups: frozenset[str]
    accounts: tuple[str, ...]
    """Prefixes or whole names of the users that service accounts are; a prefix ends with a colon."""
    resources: tuple[_ResourceRule, ...]
    paths: tuple[_PathRule, ...]

    def matches(self, caller: Caller, asked: Asked) -> bool:
        """Return whether a request is one of those that the rule is about."""
        if not self._is_by(caller):
            return False
        return any(one.matches(asked) for one in (self.paths if asked.path else self.resources))

    def _is_by(self, caller: Caller) -> bool:
        if _has(self.users, caller.user) or ALL in self.groups or not self.groups.isdisjoint(caller.groups):
            return True
        return any(caller.user.startswith(one) if one.endswith(":") else caller.user == one for one in self.accounts)


def read_rules(spec: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules of a FlowSchema's spec, which has been validated."""
    return tuple(_rule(one) for one in spec.get("rules") or ())


def _rule(rule: Mapping[str, Any]) -> Rule:
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for one in rule.get("subjects") or ():
        by_kind.setdefault(one.get("kind") or "", []).append(one)
    return Rule(
        users=_names(section(one, "user") for one in by_kind.get("User", ())),
        groups=_names(section(one, "group") for one in by_kind.get("Group", ())),
        accounts=tuple(_account(section(one, "serviceAccount")) for one in by_kind.get("ServiceAccount", ())),
        resources=tuple(
            _ResourceRule(
                verbs=frozenset(one.get("verbs") or ()),
                groups=frozenset(one.get("apiGroups") or ()),
                resources=frozenset(one.get("resources") or ()),
                namespaces=frozenset(one.get("namespaces") or ()),
                cluster_scope=bool(one.get("clusterScope")),
            )
            for one in rule.get("resourceRules") or ()
        ),
        paths=tuple(
            _PathRule(frozenset(one.get("verbs") or ()), tuple(one.get("nonResourceURLs") or ()))
            for one in rule.get("nonResourceRules") or ()
        ),
    )


def _names(subjects: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(one.get("name") or "" for one in subjects)


def _account(subject: Mapping[str, Any]) -> str:
    name: str = subject.get("name") or ""
    return f"{_ACCOUNT}{subject.get('namespace') or ''}:{'' if name == ALL else name}"


def _has(values: frozenset[str], value: str) -> bool:
    return ALL in values or value in values


def _covers(pattern: str, path: str) -> bool:
    if pattern in {ALL, path}:
        return True
    return pattern.endswith("/*") and path.startswith(pattern[:-1])
