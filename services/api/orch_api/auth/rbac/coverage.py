"""Whether some rules grant no more than others do, and how Kubernetes says what is missing.

Follows k8s.io/component-helpers/auth/rbac/validation (Covers, BreakdownRule) and pkg/registry/rbac/validation
(CompactRules): each rule is broken down into the smallest ones, each of which one rule of the owner has to cover.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from orch.objects.rbac import PolicyRule
from orch.quoting import quote
from orch_api.auth.identity import Caller
from orch_api.auth.rbac.rules import ALL


def missing(owned: Sequence[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Return the smallest rules of `wanted` that no rule of `owned` covers."""
    parts = dict.fromkeys(part for rule in wanted for part in _broken_down(rule))
    return [part for part in parts if not any(_covers(rule, part) for rule in owned)]


def _broken_down(rule: PolicyRule) -> Iterator[PolicyRule]:
    for verb in rule.verbs:
        for group in rule.api_groups:
            for resource in rule.resources:
                part = PolicyRule(verbs=(verb,), api_groups=(group,), resources=(resource,))
                if not rule.resource_names:
                    yield part
                for name in rule.resource_names:
                    yield msgspec.structs.replace(part, resource_names=(name,))
        for url in rule.non_resource_urls:
            yield PolicyRule(verbs=(verb,), non_resource_urls=(url,))


def _covers(rule: PolicyRule, part: PolicyRule) -> bool:
    """Return whether a rule covers one of the smallest ones."""
    if ALL not in rule.verbs and part.verbs[0] not in rule.verbs:
        return False
    if part.non_resource_urls:
        return any(_covers_path(url, part.non_resource_urls[0]) for url in rule.non_resource_urls)
    if ALL not in rule.api_groups and part.api_groups[0] not in rule.api_groups:
        return False
    if not _covers_resource(rule.resources, part.resources[0]):
        return False
    if not rule.resource_names:
        return True
    return bool(part.resource_names) and part.resource_names[0] in rule.resource_names


def _covers_resource(resources: Sequence[str], wanted: str) -> bool:
    if ALL in resources or wanted in resources:
        return True
    _, slash, subresource = wanted.partition("/")
    return bool(slash) and f"{ALL}/{subresource}" in resources


def _covers_path(url: str, wanted: str) -> bool:
    return url in (ALL, wanted) or (url.endswith(ALL) and wanted.startswith(url.rstrip(ALL)))


def refusal(caller: Caller, lacking: Iterable[PolicyRule], gap: str) -> str:
    """Return what is said to somebody who would grant what it does not have."""
    groups = " ".join(quote(one) for one in caller.groups)
    told = "\n".join(sorted({_written(rule) for rule in _compacted(lacking)}))
    problem = (
        f"user {quote(caller.user)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:"
    )
    return f"{problem}\n{told}" + (f"; resolution errors: [{gap}]" if gap else "")


def _compacted(rules: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Return the rules with those that differ in nothing but their verbs put together."""
    found: dict[PolicyRule, tuple[str, ...]] = {}
    whole: list[PolicyRule] = []
    for rule in rules:
        if rule.non_resource_urls:
            whole.append(rule)
            continue
        bare = msgspec.structs.replace(rule, verbs=())
        found[bare] = (*found.get(bare, ()), *rule.verbs)
    return [*whole, *(msgspec.structs.replace(rule, verbs=verbs) for rule, verbs in found.items())]


def _written(rule: PolicyRule) -> str:
    parts = (
        ("APIGroups", rule.api_groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.non_resource_urls),
        ("ResourceNames", rule.resource_names),
        ("Verbs", rule.verbs),
    )
    listed = (f"{name}:[{' '.join(quote(one) for one in values)}]" for name, values in parts if values)
    return f"{{{', '.join(listed)}}}"
