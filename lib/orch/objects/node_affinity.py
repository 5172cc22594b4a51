"""Whether a node is one that a pod's node selector and required node affinity ask for. Pure.

Rules are k8s.io/component-helpers scheduling/corev1/nodeaffinity's: what cannot be read selects nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from orch.objects.pods import NodeSelectorRequirement, NodeSelectorTerm, PodSpec

NAME_FIELD = "metadata.name"


def selects(spec: PodSpec, name: str, labels: Mapping[str, str]) -> bool:
    """Return whether a pod of that spec may be on the node, by the node's name and labels."""
    if not spec.node_selector.items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    if required is None:
        return True
    return any(_matches(term, name, labels) for term in required.node_selector_terms)


def _matches(term: NodeSelectorTerm, name: str, labels: Mapping[str, str]) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    return all(_holds(each, labels) for each in term.match_expressions) and all(
        each.key == NAME_FIELD and _holds(each, {NAME_FIELD: name}) for each in term.match_fields
    )


def _holds(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values if value is not None else False
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compares(requirement, value)
        case _:
            return False


def _compares(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    if value is None or len(requirement.values) != 1:
        return False
    try:
        found, bound = int(value), int(requirement.values[0])
    except ValueError:
        return False
    return found > bound if requirement.operator == "Gt" else found < bound
