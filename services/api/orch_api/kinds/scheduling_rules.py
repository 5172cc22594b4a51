"""What a pod's wishes for a place must be: affinity, tolerations, spread; and a node's taints."""

from __future__ import annotations

from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.pod_label_keys import label_keys
from orch_api.strategy import Document
from orch_api.validation import check, duplicate, invalid, required, unsupported

TAINT_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TOLERATION_OPERATORS: Final = ("Equal", "Exists")
_NODE_FIELD: Final = "metadata.name"
_POLICIES: Final = ("Honor", "Ignore")
_UNSATISFIABLE: Final = ("DoNotSchedule", "ScheduleAnyway")

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def tolerations(field: str, found: list[Document]) -> list[Cause]:
    """Return what is wrong with the tolerations of a pod."""
    causes: list[Cause] = []
    for index, toleration in enumerate(found):
        at = f"{field}[{index}]"
        key: str = toleration.get("key") or ""
        operator: str = toleration.get("operator") or ""
        effect: str = toleration.get("effect") or ""
        value: str = toleration.get("value") or ""
        if key:
            if problems := validation.qualified_name(key):
                causes += [invalid(f"{at}.key", key, problem) for problem in problems]
        elif operator != "Exists":
            problem = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.append(invalid(f"{at}.operator", operator, problem))
        if effect != "NoExecute" and toleration.get("tolerationSeconds") is not None:
            problem = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.append(invalid(f"{at}.effect", effect, problem))
        if operator in {"Equal", ""}:
            if problems := validation.label_value(value):
                causes.append(invalid(f"{at}.operator", value, ";".join(problems)))
        elif operator != "Exists":
            causes.append(unsupported(f"{at}.operator", operator, _TOLERATION_OPERATORS))
        elif value:
            causes.append(invalid(f"{at}.operator", toleration, "value must be empty when `operator` is 'Exists'"))
        if effect and effect not in TAINT_EFFECTS:
            causes.append(unsupported(f"{at}.effect", effect, TAINT_EFFECTS))
    return causes


def taints(field: str, found: list[Document]) -> list[Cause]:
    """Return what is wrong with the taints of a node."""
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(found):
        at = f"{field}[{index}]"
        key: str = taint.get("key") or ""
        effect: str = taint.get("effect") or ""
        causes += check(f"{at}.key", key, validation.qualified_name)
        if problems := validation.label_value(taint.get("value") or ""):
            causes.append(invalid(f"{at}.value", taint.get("value"), ";".join(problems)))
        if not effect:
            causes.append(required(f"{at}.effect"))
        elif effect not in TAINT_EFFECTS:
            causes.append(unsupported(f"{at}.effect", effect, TAINT_EFFECTS))
        if (key, effect) in seen:
            cause = duplicate(at, taint)
            causes.append(Cause(cause.reason, f"{cause.message}: taints must be unique by key and effect pair", at))
        seen.add((key, effect))
    return causes


def affinity(field: str, found: Document) -> list[Cause]:
    """Return what is wrong with a pod's affinity to nodes, to pods, and against pods."""
    causes: list[Cause] = []
    if node := found.get("nodeAffinity"):
        causes += _node_affinity(f"{field}.nodeAffinity", node)
    for name in ("podAffinity", "podAntiAffinity"):
        if pods := found.get(name):
            causes += _pod_affinity(f"{field}.{name}", pods)
    return causes


def _node_affinity(at: str, node: Document) -> list[Cause]:
    causes: list[Cause] = []
    if (needed := node.get(_REQUIRED)) is not None:
        causes += node_selector(f"{at}.{_REQUIRED}", needed)
    for index, preferred in enumerate(node.get(_PREFERRED) or ()):
        one = f"{at}.{_PREFERRED}[{index}]"
        causes += _weight(f"{one}.weight", preferred.get("weight") or 0)
        causes += _node_term(f"{one}.preference", preferred.get("preference") or {})
    return causes


def node_selector(at: str, selector: Document) -> list[Cause]:
    """Return what is wrong with a NodeSelector: terms of which a node must meet one."""
    terms: list[Document] = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{at}.nodeSelectorTerms", "must have at least one node selector term")]
    causes: list[Cause] = []
    for index, term in enumerate(terms):
        causes += _node_term(f"{at}.nodeSelectorTerms[{index}]", term)
    return causes


def _weight(at: str, weight: int) -> list[Cause]:
    return [] if 1 <= weight <= 100 else [invalid(at, weight, "must be in the range 1-100")]


def _node_term(at: str, term: Document) -> list[Cause]:
    causes: list[Cause] = []
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        causes += _node_requirement(f"{at}.matchExpressions[{index}]", requirement)
    for index, requirement in enumerate(term.get("matchFields") or ()):
        one = f"{at}.matchFields[{index}]"
        if requirement.get("key") != _NODE_FIELD:
            causes.append(invalid(f"{one}.key", requirement.get("key") or "", "not a valid field selector key"))
        if requirement.get("operator") not in {"In", "NotIn"}:
            causes.append(
                invalid(f"{one}.operator", requirement.get("operator") or "", "not a valid selector operator")
            )
        elif len(requirement.get("values") or ()) != 1:
            problem = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            causes.append(required(f"{one}.values", problem))
    return causes


def _node_requirement(at: str, requirement: Document) -> list[Cause]:
    operator: str = requirement.get("operator") or ""
    values: list[Any] = requirement.get("values") or []
    causes: list[Cause] = []
    if operator in {"In", "NotIn"}:
        if not values:
            causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            problem = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(validation.forbidden(f"{at}.values", problem))
    elif operator in {"Gt", "Lt"}:
        if len(values) != 1:
            problem = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            causes.append(required(f"{at}.values", problem))
    else:
        causes.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
    return causes + check(f"{at}.key", requirement.get("key") or "", validation.qualified_name)


def _pod_affinity(at: str, pods: Document) -> list[Cause]:
    causes: list[Cause] = []
    for index, term in enumerate(pods.get(_REQUIRED) or ()):
        causes += _pod_term(f"{at}.{_REQUIRED}[{index}]", term)
    for index, preferred in enumerate(pods.get(_PREFERRED) or ()):
        one = f"{at}.{_PREFERRED}[{index}]"
        causes += _weight(f"{one}.weight", preferred.get("weight") or 0)
        causes += _pod_term(f"{one}.podAffinityTerm", preferred.get("podAffinityTerm") or {})
    return causes


def _pod_term(at: str, term: Document) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("labelSelector", "namespaceSelector"):
        if selector := term.get(name):
            causes += validation.label_selector(f"{at}.{name}", selector)
    for index, namespace in enumerate(term.get("namespaces") or ()):
        causes += check(f"{at}.namespaces[{index}]", namespace, validation.dns_label)
    causes += label_keys(at, term)
    key: str = term.get("topologyKey") or ""
    if not key:
        return [*causes, required(f"{at}.topologyKey", "can not be empty")]
    return causes + check(f"{at}.topologyKey", key, validation.qualified_name)


def spread_constraints(field: str, found: list[Document]) -> list[Cause]:
    """Return what is wrong with the topology spread constraints of a pod."""
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(found):
        at = f"{field}[{index}]"
        skew: int = constraint.get("maxSkew") or 0
        if skew <= 0:
            causes.append(invalid(f"{at}.maxSkew", skew, "must be greater than zero"))
        key: str = constraint.get("topologyKey") or ""
        if key:
            causes += check(f"{at}.topologyKey", key, validation.qualified_name)
        else:
            causes.append(required(f"{at}.topologyKey", "can not be empty"))
        action: str = constraint.get("whenUnsatisfiable") or ""
        if action not in _UNSATISFIABLE:
            causes.append(unsupported(f"{at}.whenUnsatisfiable", action, _UNSATISFIABLE))
        if (key, action) in seen:
            causes.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.add((key, action))
        causes += _spread_details(at, constraint, action)
    return causes


def _spread_details(at: str, constraint: Document, action: str) -> list[Cause]:
    causes: list[Cause] = []
    domains = constraint.get("minDomains")
    if domains is not None and domains <= 0:
        causes.append(invalid(f"{at}.minDomains", domains, "must be greater than 0"))
    if domains is not None and action != "DoNotSchedule":
        problem = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        causes.append(invalid(f"{at}.minDomains", domains, problem))
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = constraint.get(name)
        if policy is not None and policy not in _POLICIES:
            causes.append(unsupported(f"{at}.{name}", policy, _POLICIES))
    if selector := constraint.get("labelSelector"):
        causes += validation.label_selector(f"{at}.labelSelector", selector)
    return causes + label_keys(at, constraint)
