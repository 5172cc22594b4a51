"""On which nodes a daemon set has a pod (k8s.io/kubernetes pkg/controller/daemon NodeShouldRunDaemonPod)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from orch.objects.apps import DaemonSet
from orch.objects.cluster import Node
from orch.objects.node_affinity import selects
from orch.objects.pods import PodSpec, Toleration
from orch.objects.taints import tolerates
from orch.runtime.informer import Item

_OF_ALL: Final = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_OF_THE_HOSTS_NETWORK: Final = ("node.kubernetes.io/network-unavailable", "NoSchedule")


class Fit(msgspec.Struct, frozen=True):
    """Whether a node is to run a pod, and whether one that runs there may stay."""

    should_run: bool
    may_stay: bool


_NO: Final = Fit(should_run=False, may_stay=False)
_STAYS: Final = Fit(should_run=False, may_stay=True)
_YES: Final = Fit(should_run=True, may_stay=True)


def tolerations(spec: PodSpec) -> tuple[Toleration, ...]:
    """Return the tolerations that daemon pods have beside their template's: they do not leave a node in trouble."""
    keys = (*_OF_ALL, _OF_THE_HOSTS_NETWORK) if spec.host_network else _OF_ALL
    added = [Toleration(key=key, operator="Exists", effect=effect) for key, effect in keys]
    return tuple(each for each in added if each not in spec.tolerations)


def fit(spec: PodSpec, node: Node) -> Fit:
    """Return how a node suits a template's pods."""
    meta = node.metadata
    if spec.node_name not in {"", meta.name} or not selects(spec, meta.name, meta.labels):
        return _NO
    allowed = (*spec.tolerations, *tolerations(spec))
    refused = {
        taint.effect
        for taint in node.spec.taints
        if taint.effect in {"NoExecute", "NoSchedule"} and not tolerates(allowed, taint)
    }
    if "NoExecute" in refused:
        return _NO
    return _STAYS if refused else _YES


class _Known(msgspec.Struct):
    generation: int
    spec: PodSpec
    fits: dict[str, tuple[int, Fit]]
    """By node, with the version of the node."""


class Placement:
    """Remembers how nodes suit each daemon set's pods: it is asked for all nodes again and again, and few change."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def spec_of(self, owner: DaemonSet) -> PodSpec:
        """Return the template's spec as a view."""
        return self._of(owner).spec

    def fits(self, owner: DaemonSet, nodes: Iterable[Item[Node]]) -> dict[str, Fit]:
        """Return how each node suits, by name."""
        known = self._of(owner)
        before, known.fits = known.fits, {}
        found: dict[str, Fit] = {}
        for item in nodes:
            entry = before.get(item.name)
            if entry is None or entry[0] != item.revision:
                entry = (item.revision, fit(known.spec, item.object))
            known.fits[item.name] = entry
            found[item.name] = entry[1]
        return found

    def forget(self, uid: str) -> None:
        """Drop what is known of a daemon set that is gone."""
        self._known.pop(uid, None)

    def _of(self, owner: DaemonSet) -> _Known:
        meta = owner.metadata
        known = self._known.get(meta.uid)
        if known is None or known.generation != meta.generation:
            spec = msgspec.json.decode(owner.spec.template.spec, type=PodSpec)
            known = self._known[meta.uid] = _Known(meta.generation, spec, {})
        return known
