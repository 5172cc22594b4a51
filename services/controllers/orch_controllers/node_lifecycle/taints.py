"""The taints that follow from a node's conditions (k8s.io/kubernetes pkg/controller/nodelifecycle). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from orch.clock import rfc3339
from orch.objects.cluster import Node, Taint
from orch_controllers.node_lifecycle.health import Evictions

UNREACHABLE: Final = "node.kubernetes.io/unreachable"
NOT_READY: Final = "node.kubernetes.io/not-ready"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"

_LOST: Final = frozenset({UNREACHABLE, NOT_READY})
_OF_CONDITIONS: Final[Mapping[str, str]] = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS: Final = _LOST | {UNSCHEDULABLE, *_OF_CONDITIONS.values()}


def lost_key(node: Node) -> str:
    """Return the key of the taint that the node's Ready condition calls for, "" when it is ready."""
    ready = node.status.condition("Ready")
    status = ready.status if ready is not None else "Unknown"
    return {"True": "", "False": NOT_READY}.get(status, UNREACHABLE)


def taints_of(node: Node, evictions: Evictions, now: datetime) -> tuple[Taint, ...]:
    """Return the taints that the node shall have: those of others as they are, and ours.

    While evictions are held, a node that is being evicted stays so, under the key that its condition calls for now.
    """
    wanted = _no_schedule(node)
    lost = lost_key(node)
    if lost:
        wanted.append((lost, "NoSchedule"))
        evicting = any(taint.effect == "NoExecute" and taint.key in _LOST for taint in node.spec.taints)
        if evictions is Evictions.ALLOWED or (evictions is Evictions.HELD and evicting):
            wanted.append((lost, "NoExecute"))
    kept = [taint for taint in node.spec.taints if not _is_ours(taint) or (taint.key, taint.effect) in wanted]
    present = {(taint.key, taint.effect) for taint in kept}
    added = [
        Taint(key=key, effect=effect, time_added=rfc3339(now)) for key, effect in wanted if (key, effect) not in present
    ]
    return (*kept, *added)


def _no_schedule(node: Node) -> list[tuple[str, str]]:
    conditions = {each.type: each.status for each in node.status.conditions}
    wanted = [(key, "NoSchedule") for kind, key in _OF_CONDITIONS.items() if conditions.get(kind) == "True"]
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    return wanted


def _is_ours(taint: Taint) -> bool:
    if taint.effect == "NoExecute":
        return taint.key in _LOST
    return taint.effect == "NoSchedule" and taint.key in _OURS


def evicting(taints: Sequence[Taint]) -> tuple[Taint, ...]:
    """Return the taints that drive pods away."""
    return tuple(taint for taint in taints if taint.effect == "NoExecute")
