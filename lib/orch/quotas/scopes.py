"""Which objects a quota is about (k8s.io/kubernetes pkg/quota/v1/evaluator/core, podMatchesScopeFunc). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from orch.objects.pods import Pod, PodAffinity, PodAffinityTerm
from orch.objects.quota import ResourceQuotaSpec, ScopeRequirement
from orch.objects.storage import PersistentVolumeClaim


def requirements(spec: ResourceQuotaSpec) -> tuple[ScopeRequirement, ...]:
    """Return all that must hold of an object for it to count."""
    plain = tuple(ScopeRequirement(scope_name=scope, operator="Exists") for scope in spec.scopes)
    return plain + (spec.scope_selector.match_expressions if spec.scope_selector is not None else ())


def pod_matches(pod: Pod, wanted: tuple[ScopeRequirement, ...]) -> bool:
    """Return whether a pod counts."""
    return all(_POD.get(each.scope_name, _never)(pod, each) for each in wanted)


def claim_matches(claim: PersistentVolumeClaim, wanted: tuple[ScopeRequirement, ...]) -> bool:
    """Return whether a claim counts."""
    name = claim.spec.volume_attributes_class_name or ""
    return all(each.scope_name == "VolumeAttributesClass" and _named(name, each) for each in wanted)


def _terminating(pod: Pod, _: ScopeRequirement) -> bool:
    return pod.spec.active_deadline_seconds is not None


def _best_effort(pod: Pod, _: ScopeRequirement) -> bool:
    return pod.status.qos_class == "BestEffort"


def _cross_namespace(pod: Pod, _: ScopeRequirement) -> bool:
    affinity = pod.spec.affinity
    if affinity is None:
        return False
    terms = (*_terms(affinity.pod_affinity), *_terms(affinity.pod_anti_affinity))
    return any(term.namespaces or term.namespace_selector is not None for term in terms)


def _terms(affinity: PodAffinity | None) -> tuple[PodAffinityTerm, ...]:
    if affinity is None:
        return ()
    preferred = affinity.preferred_during_scheduling_ignored_during_execution
    required = affinity.required_during_scheduling_ignored_during_execution
    return (*required, *(each.pod_affinity_term for each in preferred))


def _priority_class(pod: Pod, wanted: ScopeRequirement) -> bool:
    return _named(pod.spec.priority_class_name, wanted)


def _named(name: str, wanted: ScopeRequirement) -> bool:
    match wanted.operator:
        case "In":
            return bool(name) and name in wanted.values
        case "NotIn":
            return name not in wanted.values
        case "Exists":
            return bool(name)
        case "DoesNotExist":
            return not name
        case _:
            return False


def _never(pod: Pod, wanted: ScopeRequirement) -> bool:
    _ = pod, wanted
    return False


_POD: Final[Mapping[str, Callable[[Pod, ScopeRequirement], bool]]] = {
    "Terminating": _terminating,
    "NotTerminating": lambda pod, wanted: not _terminating(pod, wanted),
    "BestEffort": _best_effort,
    "NotBestEffort": lambda pod, wanted: not _best_effort(pod, wanted),
    "PriorityClass": _priority_class,
    "CrossNamespacePodAffinity": _cross_namespace,
}
