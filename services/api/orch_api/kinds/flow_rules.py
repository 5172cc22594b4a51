"""Which requests a flow schema is about (k8s.io/kubernetes/pkg/apis/flowcontrol/validation)."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document
from orch_api.validation import Problems, check, forbidden, invalid, required, unsupported

_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS: Final = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}


def policy_rules(at: str, rules: Document) -> list[Cause]:
    """Return what is wrong with a PolicyRulesWithSubjects."""
    subjects: list[Document] = rules.get("subjects") or []
    causes = [] if subjects else [required(f"{at}.subjects", "subjects must contain at least one value")]
    for index, subject in enumerate(subjects):
        causes += _subject(f"{at}.subjects[{index}]", subject)
    resources: list[Document] = rules.get("resourceRules") or []
    paths: list[Document] = rules.get("nonResourceRules") or []
    if not resources and not paths:
        causes.append(required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, rule in enumerate(resources):
        causes += _resource_rule(f"{at}.resourceRules[{index}]", rule)
    for index, rule in enumerate(paths):
        causes += _path_rule(f"{at}.nonResourceRules[{index}]", rule)
    return causes


def _subject(at: str, subject: Document) -> list[Cause]:
    kind: str = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        return [unsupported(f"{at}.kind", kind, _SUBJECTS)]
    causes: list[Cause] = []
    for other, field in _SUBJECTS.items():
        inner: Document | None = subject.get(field)
        if other != kind:
            if inner is not None:
                causes.append(forbidden(f"{at}.{field}", f"{field} is forbidden when subject kind is not '{other}'"))
        elif inner is None:
            causes.append(required(f"{at}.{field}", f"{field} is required when subject kind is '{kind}'"))
        else:
            causes += _named(f"{at}.{field}", inner, account=kind == "ServiceAccount")
    return causes


def _named(at: str, inner: Document, *, account: bool) -> list[Cause]:
    name: str = inner.get("name") or ""
    causes = [] if name else [required(f"{at}.name")]
    if account:
        if name and name != "*":
            causes += check(f"{at}.name", name, validation.dns_subdomain)
        if namespace := inner.get("namespace"):
            causes += check(f"{at}.namespace", namespace, validation.dns_label)
        else:
            causes.append(required(f"{at}.namespace", "must specify namespace for service account"))
    return causes


def _verbs(at: str, verbs: list[str]) -> list[Cause]:
    if not verbs:
        return [required(at, "verbs must contain at least one value")]
    if "*" in verbs:
        return _one_wildcard(at, verbs, "verbs")
    return [] if set(verbs) <= set(_VERBS) else [unsupported(at, verbs, _VERBS)]


def _one_wildcard(at: str, values: list[str], what: str) -> list[Cause]:
    if len(values) > 1 and "*" in values:
        return [invalid(at, values, f"if '*' is present, must not specify other {what}")]
    return []


def _resource_rule(at: str, rule: Document) -> list[Cause]:
    causes = _verbs(f"{at}.verbs", rule.get("verbs") or [])
    for field, one, several in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values: list[str] = rule.get(field) or []
        if values:
            causes += _one_wildcard(f"{at}.{field}", values, several)
        else:
            causes.append(required(f"{at}.{field}", f"resource rules must supply at least one {one}"))
    namespaces: list[str] = rule.get("namespaces") or []
    field = f"{at}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        needed = "resource rules that are not cluster scoped must supply at least one namespace"
        causes.append(required(field, needed))
    elif "*" in namespaces:
        causes += _one_wildcard(field, namespaces, "namespaces")
    else:
        for index, namespace in enumerate(namespaces):
            causes += check(f"{field}[{index}]", namespace, _namespace)
    return causes


def _namespace(text: str) -> Problems:
    problems = validation.dns_label(text)
    return tuple(f"each member of this list must be '*' or a DNS-1123 label; {problem}" for problem in problems)


def _path_rule(at: str, rule: Document) -> list[Cause]:
    causes = _verbs(f"{at}.verbs", rule.get("verbs") or [])
    paths: list[str] = rule.get("nonResourceURLs") or []
    field = f"{at}.nonResourceURLs"
    if not paths:
        causes.append(required(field, "nonResourceURLs must contain at least one value"))
    elif "*" in paths:
        causes += _one_wildcard(field, paths, "non-resource URLs")
    else:
        for index, path in enumerate(paths):
            causes += _path(f"{field}[{index}]", path)
    return causes


def _path(at: str, path: str) -> list[Cause]:
    if not path:
        return [invalid(at, path, "must not be empty")]
    if path == "/":
        return []
    problem = ""
    if not path.startswith("/"):
        problem = "must start with slash"
    elif " " in path:
        problem = "must not contain white-space"
    elif "//" in path:
        problem = "must not contain double slash"
    elif (count := path.count("*")) > 1 or (count == 1 and not path.endswith("/*")):
        problem = "wildcard can only do suffix matching"
    return [invalid(at, path, problem)] if problem else []
