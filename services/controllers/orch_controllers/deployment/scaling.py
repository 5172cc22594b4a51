"""The arithmetic of a rollout: how many replicas each replica set shall have. Pure.

Algorithms are k8s.io/kubernetes pkg/controller/deployment's (rolling.go, sync.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from orch.objects.apps import Deployment, ReplicaSet
from orch_controllers.deployment.revisions import DESIRED, MAX
from orch_controllers.shares import resolve


class Bounds(msgspec.Struct, frozen=True):
    """How many pods a deployment may be over and short while it rolls."""

    surge: int
    unavailable: int


def desired(deployment: Deployment) -> int:
    """Return how many replicas the deployment wants."""
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def size(replica_set: ReplicaSet) -> int:
    """Return how many replicas the replica set wants."""
    return 1 if replica_set.spec.replicas is None else replica_set.spec.replicas


def occupied(replica_set: ReplicaSet) -> int:
    """Return how many pods the replica set has or may have: one that shrinks has more than it wants."""
    return max(size(replica_set), replica_set.status.replicas)


def available(replica_set: ReplicaSet) -> int:
    """Return how many available pods the replica set has and will keep."""
    return min(size(replica_set), replica_set.status.available_replicas)


def is_observed(replica_set: ReplicaSet) -> bool:
    """Return whether the replica set's status speaks of its present size."""
    return replica_set.metadata.generation <= replica_set.status.observed_generation


def bounds(deployment: Deployment) -> Bounds:
    """Return maxSurge and maxUnavailable as counts; were both 0, one pod may be missing, else nothing could move."""
    if deployment.spec.strategy.type != "RollingUpdate":
        return Bounds(0, 0)
    rolling = deployment.spec.strategy.rolling_update
    wanted = desired(deployment)
    surge = resolve(rolling.max_surge if rolling else None, wanted, "25%", up=True)
    unavailable = resolve(rolling.max_unavailable if rolling else None, wanted, "25%", up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(surge, min(unavailable, wanted))


def new_size(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> int:
    """Return how many replicas the template's replica set may have now.

    Kubernetes counts what the replica sets want; here the pods that they still have count too, so that the surge is
    not exceeded while old pods are only about to be deleted.
    """
    wanted = desired(deployment)
    current = size(new) if new is not None else 0
    if current >= wanted or deployment.spec.strategy.type != "RollingUpdate":
        return wanted
    if not all(is_observed(each) for each in old):
        return current
    room = wanted + bounds(deployment).surge - sum(occupied(each) for each in old)
    room -= occupied(new) if new is not None else 0
    return current + max(min(room, wanted - current), 0)


def scale_down_old(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> list[tuple[ReplicaSet, int]]:
    """Return the old replica sets to shrink, with their new sizes; `old` is ordered, oldest first.

    Pods that are not available go first, wherever they are; then as many available ones as the deployment can spare.
    """
    least = desired(deployment) - bounds(deployment).unavailable
    spare = sum(size(each) for each in (*old, new)) - least - (size(new) - available(new))
    if spare <= 0:
        return []
    sizes = {each.metadata.uid: size(each) for each in old}
    for each in old:
        cut = min(spare, size(each) - available(each))
        sizes[each.metadata.uid] -= cut
        spare -= cut
    spare = sum(available(each) for each in (*old, new)) - least
    for each in old:
        cut = max(min(spare, sizes[each.metadata.uid]), 0)
        sizes[each.metadata.uid] -= cut
        spare -= cut
    return [(each, sizes[each.metadata.uid]) for each in old if sizes[each.metadata.uid] != size(each)]


def proportionally(deployment: Deployment, active: Sequence[ReplicaSet]) -> list[tuple[ReplicaSet, int]]:
    """Return sizes for several active replica sets when the deployment is scaled in the middle of a rollout.

    What is to be added or removed is shared by the sets in proportion to their sizes; the largest takes what rounding
    leaves, and of what is to be removed the next ones what it has not got. Each set's own annotation says what the
    deployment's limit was when it was sized.
    """
    wanted = desired(deployment)
    limit = wanted + bounds(deployment).surge if wanted else 0
    change = limit - sum(size(each) for each in active)
    ordered = sorted(active, key=lambda each: each.metadata.creation_timestamp, reverse=change > 0)
    ordered.sort(key=size, reverse=True)  # stable: among equals the newest grows, the oldest shrinks first
    sizes: list[tuple[ReplicaSet, int]] = []
    left = change
    for each in ordered:
        share = _share(deployment, each, limit, left)
        left -= share
        sizes.append((each, size(each) + share))
    for place, (each, count) in enumerate(sizes):
        rest = max(left, -count)
        left -= rest
        sizes[place] = (each, count + rest)
    return sizes


def _share(deployment: Deployment, replica_set: ReplicaSet, limit: int, left: int) -> int:
    if left == 0:
        return 0
    former = _number(replica_set, MAX) or deployment.status.replicas
    if not former:
        return 0
    share = _round(size(replica_set) * limit, former) - size(replica_set)
    return min(share, left) if left > 0 else max(share, left)


def _round(dividend: int, divisor: int) -> int:
    """Return the quotient of two positive numbers, rounded half up."""
    return (2 * dividend + divisor) // (2 * divisor)


def _number(replica_set: ReplicaSet, annotation: str) -> int | None:
    text = replica_set.metadata.annotations.get(annotation, "")
    return int(text) if text.isdecimal() else None


def was_scaled(deployment: Deployment, sets: Iterable[ReplicaSet]) -> bool:
    """Return whether the deployment wants another number than when its active replica sets were sized."""
    wanted = desired(deployment)
    return any(size(each) > 0 and _number(each, DESIRED) not in {None, wanted} for each in sets)


def is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    """Return whether the template's replica set has all pods that are wanted, and all are available."""
    wanted = desired(deployment)
    return size(new) == wanted and _number(new, DESIRED) == wanted and new.status.available_replicas == wanted


def scale_annotations(deployment: Deployment) -> dict[str, str]:
    """Return the annotations that remember what a replica set was sized for."""
    wanted = desired(deployment)
    return {DESIRED: str(wanted), MAX: str(wanted + bounds(deployment).surge)}
