"""The pods that a daemon set makes: bound to their node by affinity, so that the scheduler places them. Pure.

Facts are k8s.io/kubernetes pkg/controller/daemon/util's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from orch.objects.apps import DaemonSet
from orch.objects.meta import ObjectMeta
from orch.objects.node_affinity import NAME_FIELD
from orch.objects.pods import Pod, PodSpec
from orch.objects.scheme import DAEMON_SETS
from orch_controllers.daemonset.placement import tolerations
from orch_controllers.pod_templates import generated_name, pod_of

HASH: Final = "controller-revision-hash"
"""The label of pods and revisions that says which template they are of."""
GENERATION: Final = "pod-template-generation"
TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"


def template_generation(meta: ObjectMeta) -> str:
    """Return how often the template has changed, as the api counts it; "" when it does not say."""
    return meta.annotations.get(TEMPLATE_GENERATION, "")


def is_updated(owner: DaemonSet, hash_: str, pod: Pod) -> bool:
    """Return whether a pod is of the present template."""
    labels = pod.metadata.labels
    generation = template_generation(owner.metadata)
    return labels.get(HASH) == hash_ or (bool(generation) and labels.get(GENERATION) == generation)


def target_of(pod: Pod) -> str:
    """Return the node that a pod is on or is meant for, "" when that cannot be told."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    for term in required.node_selector_terms if required is not None else ():
        for each in term.match_fields:
            if each.key == NAME_FIELD and each.operator == "In" and len(each.values) == 1:
                return each.values[0]
    return ""


class PodFactory:
    """Makes the bodies of one template's pods. The template is read once, not for every node."""

    def __init__(self, owner: DaemonSet, spec: PodSpec, hash_: str) -> None:
        self._owner = owner
        labels = {**owner.spec.template.metadata.labels, HASH: hash_}
        if generation := template_generation(owner.metadata):
            labels[GENERATION] = generation
        self._labels = labels
        document: dict[str, Any] = msgspec.json.decode(owner.spec.template.spec)
        added: list[dict[str, Any]] = [msgspec.to_builtins(each) for each in tolerations(spec)]
        document["tolerations"] = [*(document.get("tolerations") or []), *added]
        self._spec = document
        self._affinity: Mapping[str, Any] = document.get("affinity") or {}

    def body(self, node: str) -> dict[str, Any]:
        """Return the body of a pod for a node."""
        owner = self._owner
        body = pod_of(DAEMON_SETS, owner.metadata, owner.spec.template, generated_name(owner.metadata.name))
        body["metadata"]["labels"] = self._labels
        return {**body, "spec": {**self._spec, "affinity": self._towards(node)}}

    def _towards(self, node: str) -> dict[str, Any]:
        """Return the template's affinity with the node in place of the terms by which it was chosen."""
        term = {"matchFields": [{"key": NAME_FIELD, "operator": "In", "values": [node]}]}
        own: Mapping[str, Any] = self._affinity.get("nodeAffinity") or {}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        return {**self._affinity, "nodeAffinity": {**own, **required}}
