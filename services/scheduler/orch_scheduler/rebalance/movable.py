"""Which pods may be moved: those that somebody makes again elsewhere and that lose nothing by it (as kubectl drain)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from orch.objects.meta import Object, View
from orch.objects.policy import DisruptionBudget
from orch.selectors import Selector, from_label_selector

MIRROR: Final = "kubernetes.io/config.mirror"
_FINISHED: Final = frozenset({"Succeeded", "Failed"})


class Volume(View, frozen=True):
    """A volume, as far as it is bound to its node."""

    name: str = ""
    empty_dir: dict[str, Any] | None = None


class Spec(View, frozen=True):
    """Of a pod's spec what keeps it where it is."""

    node_name: str = ""
    volumes: tuple[Volume, ...] = ()


class Status(View, frozen=True):
    """Whether a pod still runs."""

    phase: str = ""


class MovingPod(Object, frozen=True):
    """A pod, as moving it needs to know it."""

    spec: Spec = Spec()
    status: Status = Status()

    @property
    def full_name(self) -> str:
        """The namespace and the name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def owner(self) -> str:
        """What makes it again, such as "ReplicaSet/web-1"; empty: nobody does."""
        owner = self.metadata.controller
        return f"{owner.kind}/{owner.name}" if owner is not None else ""


class Mobility(msgspec.Struct, frozen=True):
    """What holds of one pod. `stays`: why it cannot be moved, "" when it can; `ignored`: it goes with its node."""

    pod: MovingPod
    stays: str = ""
    ignored: bool = False


class Budgets:
    """The disruption budgets that a pod's eviction must respect."""

    def __init__(self, budgets: Iterable[DisruptionBudget]) -> None:
        self._by_namespace: dict[str, list[tuple[Selector, DisruptionBudget]]] = {}
        for budget in budgets:
            if budget.spec.selector is not None:
                selector = from_label_selector(budget.spec.selector)
                self._by_namespace.setdefault(budget.metadata.namespace, []).append((selector, budget))

    def of(self, pod: MovingPod) -> Sequence[DisruptionBudget]:
        """Return the budgets that count a pod."""
        known = self._by_namespace.get(pod.metadata.namespace, ())
        return [budget for selector, budget in known if selector.matches(pod.metadata.labels)]


def mobility(pod: MovingPod, budgets: Budgets, *, delete_local: bool) -> Mobility:
    """Return whether a pod may be moved. `delete_local`: whether emptyDir volumes may be lost."""
    owner = pod.metadata.controller
    if owner is not None and owner.kind == "DaemonSet":
        return Mobility(pod, ignored=True)
    if MIRROR in pod.metadata.annotations or (owner is not None and owner.kind == "Node"):
        return Mobility(pod, ignored=True)
    if pod.status.phase in _FINISHED or pod.metadata.deletion_timestamp:
        return Mobility(pod, ignored=True)
    return Mobility(pod, _why_it_stays(pod, budgets, delete_local=delete_local))


def _why_it_stays(pod: MovingPod, budgets: Budgets, *, delete_local: bool) -> str:
    if pod.metadata.controller is None:
        return "has no controller that would make it again"
    if not delete_local and any(volume.empty_dir is not None for volume in pod.spec.volumes):
        return "has local storage (emptyDir)"
    found = budgets.of(pod)
    if len(found) > 1:
        return "has more than one disruption budget"
    if found and found[0].status.disruptions_allowed <= 0:
        return f"disruption budget {found[0].metadata.name} allows no disruption"
    return ""
