"""Which requests webhooks and admission policies are about: rules, selectors, conditions and parameters.

They follow k8s.io/kubernetes/pkg/apis/admissionregistration/validation. Expressions are compiled, so that a wrong one
is refused when it is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.extensions.expressions.admission import Variable, Wanted, Words, problem
from orch_api.strategy import Document, put_section
from orch_api.validation import check, duplicate, forbidden, invalid, required, too_many, unsupported

FAILURE_POLICIES: Final = ("Fail", "Ignore")
MATCH_POLICIES: Final = ("Equivalent", "Exact")
REINVOCATION_POLICIES: Final = ("IfNeeded", "Never")
_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES: Final = ("*", "Cluster", "Namespaced")
_NOT_FOUND_ACTIONS: Final = ("Allow", "Deny")
_MAX_CONDITIONS: Final = 64
_CEL_IDENTIFIER: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_CEL_RESERVED: Final = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
        "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip


def default_rules(rules: Sequence[Document] | None) -> None:
    """Let rules apply to resources of any scope."""
    for rule in rules or ():
        if rule.get("scope") is None:
            rule["scope"] = "*"


def default_selectors(obj: Document) -> None:
    """Let what has a match policy and selectors match equivalent requests for all objects."""
    if obj.get("matchPolicy") is None:
        obj["matchPolicy"] = "Equivalent"
    put_section(obj, "namespaceSelector")
    put_section(obj, "objectSelector")


def default_match_resources(resources: Document | None) -> None:
    """Default a MatchResources."""
    if resources is not None:
        default_selectors(resources)
        default_rules(resources.get("resourceRules"))
        default_rules(resources.get("excludeResourceRules"))


def optional(at: str, value: str | None, allowed: tuple[str, ...]) -> list[Cause]:
    """Return the cause when a value is given and outside of its enumeration."""
    return [] if value is None or value in allowed else [unsupported(at, value, allowed)]


def rule_with_operations(at: str, rule: Document) -> list[Cause]:
    """Return what is wrong with a RuleWithOperations."""
    operations: list[str] = rule.get("operations") or []
    causes = _one_wildcard(f"{at}.operations", operations, "operations")
    causes += [
        unsupported(f"{at}.operations[{index}]", operation, _OPERATIONS)
        for index, operation in enumerate(operations)
        if operation not in _OPERATIONS
    ]
    causes += _one_wildcard(f"{at}.apiGroups", rule.get("apiGroups") or [], "API groups")
    versions: list[str] = rule.get("apiVersions") or []
    causes += _one_wildcard(f"{at}.apiVersions", versions, "API versions")
    causes += [required(f"{at}.apiVersions[{index}]") for index, version in enumerate(versions) if not version]
    causes += _resources(f"{at}.resources", rule.get("resources") or [])
    return causes + optional(f"{at}.scope", rule.get("scope"), _SCOPES)


def _one_wildcard(at: str, values: list[str], what: str) -> list[Cause]:
    if not values:
        return [required(at)]
    if len(values) > 1 and "*" in values:
        return [invalid(at, values, f"if '*' is present, must not specify other {what}")]
    return []


def _resources(at: str, resources: list[str]) -> list[Cause]:
    if not resources:
        return [required(at)]
    causes: list[Cause] = []
    whole: set[str] = set()  # resources of which all subresources are named
    everywhere: set[str] = set()  # subresources that are named of all resources
    plain = False
    for index, one in enumerate(resources):
        if not one:
            causes.append(required(f"{at}[{index}]"))
            continue
        resource, slash, subresource = one.partition("/")
        if not slash:
            plain = one != "*"
            continue
        if resource in whole:
            causes.append(invalid(f"{at}[{index}]", one, f"if '{resource}/*' is present, must not specify {one}"))
        if subresource in everywhere:
            causes.append(invalid(f"{at}[{index}]", one, f"if '*/{subresource}' is present, must not specify {one}"))
        if subresource == "*":
            whole.add(resource)
        if resource == "*":
            everywhere.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        causes.append(invalid(at, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        problem = "if '*' is present, must not specify other resources without subresources"
        causes.append(invalid(at, resources, problem))
    return causes


def match_conditions(at: str, conditions: Sequence[Document], words: Words = Words()) -> list[Cause]:  # noqa: B008
    """Return what is wrong with a list of MatchConditions, whose expressions may speak of `words`."""
    causes = [too_many(at, len(conditions), _MAX_CONDITIONS)] if len(conditions) > _MAX_CONDITIONS else []
    names: set[str] = set()
    for index, condition in enumerate(conditions):
        text: str = condition.get("expression") or ""
        if not text.strip():
            causes.append(required(f"{at}[{index}].expression"))
        else:
            causes += _compiled(f"{at}[{index}].expression", text, words, "bool")
        name: str = condition.get("name") or ""
        field = f"{at}[{index}].name"
        causes += check(field, name, validation.qualified_name) if name else [required(field)]
        if name and name in names:
            causes.append(duplicate(field, name))
        names.add(name)
    return causes


def match_resources(at: str, resources: Document) -> list[Cause]:
    """Return what is wrong with a MatchResources, defaults filled in."""
    policy: str = resources.get("matchPolicy") or ""
    causes = optional(f"{at}.matchPolicy", policy, MATCH_POLICIES)
    for name in ("namespaceSelector", "objectSelector"):
        causes += validation.label_selector(f"{at}.{name}", resources.get(name) or {})
    for name in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(resources.get(name) or ()):
            causes += _named_rule(f"{at}.{name}[{index}]", rule)
    return causes


def _named_rule(at: str, rule: Document) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, name in enumerate(rule.get("resourceNames") or ()):
        field = f"{at}.resourceNames[{index}]"
        causes += check(field, name, validation.path_segment)
        if name in names:
            causes.append(duplicate(field, name))
        names.add(name)
    return causes + rule_with_operations(at, rule)


def param_kind(at: str, kind: Document) -> list[Cause]:
    """Return what is wrong with a ParamKind."""
    causes: list[Cause] = []
    api_version: str = kind.get("apiVersion") or ""
    group, slash, version = api_version.rpartition("/")
    field = f"{at}.apiVersion"
    if not api_version:
        causes.append(required(field))
    elif "/" in group:
        causes.append(invalid(field, api_version, f"unexpected GroupVersion string: {api_version}"))
    else:
        if slash and (problems := validation.dns_subdomain(group)):
            causes.append(invalid(field, group, ",".join(problems)))
        if not version:
            causes.append(invalid(field, api_version, "version must be specified"))
        elif problems := validation.dns_1035_label(version):
            causes.append(invalid(field, version, ",".join(problems)))
    name: str = kind.get("kind") or ""
    if not name:
        causes.append(required(f"{at}.kind"))
    elif problems := validation.dns_1035_label(name.lower()):
        problem = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        causes.append(invalid(f"{at}.kind", name, problem))
    return causes


def param_ref(at: str, reference: Document) -> list[Cause]:
    """Return what is wrong with a ParamRef."""
    name: str = reference.get("name") or ""
    selector: Document | None = reference.get("selector")
    exclusive = "name and selector are mutually exclusive"
    causes: list[Cause] = []
    if name:
        causes += check(f"{at}.name", name, validation.path_segment)
        if selector is not None:
            causes.append(forbidden(f"{at}.name", exclusive))
    if selector is not None:
        causes += validation.label_selector(f"{at}.selector", selector)
        if name:
            causes.append(forbidden(f"{at}.selector", exclusive))
    elif not name:
        causes.append(required(at, "one of name or selector must be specified"))
    return causes + validation.one_of(
        f"{at}.parameterNotFoundAction", reference.get("parameterNotFoundAction") or "", _NOT_FOUND_ACTIONS
    )


def variables(at: str, found: Sequence[Document], *, params: bool) -> list[Cause]:
    """Return what is wrong with the variables of a policy; each may speak of those before it."""
    causes: list[Cause] = []
    known = declared(found)
    for index, variable in enumerate(found):
        name: str = variable.get("name") or ""
        if not name.strip():
            causes.append(required(f"{at}[{index}].name", "name is not specified"))
        elif not _CEL_IDENTIFIER.fullmatch(name) or name in _CEL_RESERVED:
            causes.append(invalid(f"{at}[{index}].name", name, "name is not a valid CEL identifier"))
        words = Words(known[:index], params=params)
        causes += expression(f"{at}[{index}].expression", variable.get("expression"), words, "any")
    return causes


def declared(found: Sequence[Document]) -> tuple[Variable, ...]:
    """Return the variables of a policy as expressions speak of them."""
    return tuple(Variable(one.get("name") or "", one.get("expression") or "") for one in found)


def expression(at: str, text: Any, words: Words, wanted: Wanted) -> list[Cause]:
    """Return that an expression is missing, or why it cannot be compiled."""
    if not (text or "").strip():
        return [required(at, f"{at.rpartition('.')[2]} is not specified")]
    return _compiled(at, text, words, wanted)


def _compiled(at: str, text: str, words: Words, wanted: Wanted) -> list[Cause]:
    wrong = problem(text, words, wanted)
    return [invalid(at, text, wrong)] if wrong else []
