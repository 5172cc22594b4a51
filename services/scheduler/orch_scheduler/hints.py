"""Whether a change of the cluster can help a pod that certain rules refused (kube-scheduler's queueing hints).

A rule's `wake` says which kinds of change can matter to it; a hint looks at the very object that changed. A rule
without a hint is helped by every change of the kinds that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from orch.objects.cluster import Node
from orch.objects.taints import tolerates
from orch_scheduler.demand import PODS, Demand
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.requests import amount
from orch_scheduler.terms import NamespaceLabels

_EVENTS: Final[Mapping[Wake, str]] = {
    Wake.NODE_ADDED: "NodeAdd",
    Wake.NODE_REMOVED: "NodeDelete",
    Wake.NODE_ALLOCATABLE: "NodeAllocatableChange",
    Wake.NODE_LABELS: "NodeLabelChange",
    Wake.NODE_TAINTS: "NodeTaintChange",
    Wake.POD_ADDED: "AssignedPodAdd",
    Wake.POD_REMOVED: "AssignedPodDelete",
    Wake.STORAGE: "StorageChange",
}
_NODE: Final = Wake.NODE_ADDED | Wake.NODE_ALLOCATABLE | Wake.NODE_LABELS | Wake.NODE_TAINTS
_KEEPS_OFF: Final = frozenset({"NoSchedule", "NoExecute"})


class Happening(msgspec.Struct, frozen=True):
    """What happened: a node is new, changed or (with `old` alone) gone, or a pod came to a node or left it.

    `pod`: what the pod asks, as far as it is known. `room`: whether the node of the pod that left has room for a demand
    now. `namespaces`: the labels of all namespaces.
    """

    old: Node | None = None
    node: Node | None = None
    pod: Demand | None = None
    room: Callable[[Demand], bool] | None = None
    namespaces: NamespaceLabels = {}


def event_of(change: Wake) -> str:
    """Return the change's name in metrics, as kube-scheduler has it."""
    return _EVENTS.get(change, "Change")


def helps(rules: Collection[str], demand: Demand, change: Wake, about: Happening) -> bool:
    """Return whether one of the rules that refused the demand could be content now."""
    return not rules or any(_HINTS.get(rule, _always)(demand, change, about) for rule in rules)


def _always(demand: Demand, change: Wake, about: Happening) -> bool:
    del demand, change, about
    return True


def _fit(demand: Demand, change: Wake, about: Happening) -> bool:
    """Return whether an empty node of this size would do and has more than before, or a pod left enough room."""
    if about.node is not None:
        if not change & (Wake.NODE_ADDED | Wake.NODE_ALLOCATABLE):
            return False
        now = about.node.status.allocatable
        before = about.old.status.allocatable if about.old is not None else {}
        asked = demand.requests.items()
        return all(_amount(now, resource) >= value for resource, value in asked) and (
            about.old is None or any(_amount(now, resource) > _amount(before, resource) for resource, _ in asked)
        )
    if change & Wake.POD_REMOVED:
        return about.room is None or about.room(demand)
    return False


def _amount(amounts: Mapping[str, str], resource: str) -> int:
    text = amounts.get(resource)
    try:
        return amount(resource, text) if text is not None else (1 if resource == PODS else 0)
    except ValueError:
        return 0


def _node_affinity(demand: Demand, change: Wake, about: Happening) -> bool:
    """Return whether the labels are those of nodeSelector, and something that the pod looks at is new."""
    node = about.node
    if node is None or not change & (Wake.NODE_ADDED | Wake.NODE_LABELS):
        return False
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in demand.node_selector):
        return False
    if about.old is None:
        return True
    before = about.old.metadata.labels
    return any(labels.get(key) != before.get(key) for key in _keys(demand))


def _keys(demand: Demand) -> set[str]:
    """Return the labels of nodes that the pod's selector and required affinity look at."""
    keys = {key for key, _ in demand.node_selector}
    for term in demand.required.node_selector_terms if demand.required is not None else ():
        keys.update(requirement.key for requirement in term.match_expressions)
    return keys


def _taints(demand: Demand, change: Wake, about: Happening) -> bool:
    """Return whether all of the node's taints are tolerated."""
    if about.node is None or not change & (Wake.NODE_ADDED | Wake.NODE_TAINTS):
        return False
    return all(tolerates(demand.tolerations, one) for one in about.node.spec.taints if one.effect in _KEEPS_OFF)


def _schedulable(demand: Demand, change: Wake, about: Happening) -> bool:
    del demand
    node = about.node
    return node is not None and bool(change & (Wake.NODE_ADDED | Wake.NODE_TAINTS)) and not node.spec.unschedulable


def _neighbours(demand: Demand, change: Wake, about: Happening) -> bool:
    """Return whether a pod that is looked for came, one that is in the way left, or the node's place is new."""
    if about.node is not None:
        return bool(change & (Wake.NODE_ADDED | Wake.NODE_LABELS))
    other = about.pod
    if other is None:
        return True  # the node's pods are near nobody any more
    if change & Wake.POD_ADDED:
        return any(term.group.means(other, about.namespaces) for term in demand.near)
    together = demand.together
    if together is not None and together.means(demand, about.namespaces) and together.means(other, about.namespaces):
        return True  # where there is none of them any more, the first of them may go anywhere
    return any(term.group.means(other, about.namespaces) for term in demand.away) or any(
        term.group.means(demand, about.namespaces) for term in other.away
    )


def _spread(demand: Demand, change: Wake, about: Happening) -> bool:
    """Return whether a pod of the same namespace came or left, or a node did."""
    if about.node is not None:
        return bool(change & _NODE)
    return about.pod is None or about.pod.namespace == demand.namespace


_HINTS: Final[Mapping[str, Callable[[Demand, Wake, Happening], bool]]] = {
    "NodeResourcesFit": _fit,
    "NodeAffinity": _node_affinity,
    "TaintToleration": _taints,
    "NodeUnschedulable": _schedulable,
    "InterPodAffinity": _neighbours,
    "PodTopologySpread": _spread,
}
