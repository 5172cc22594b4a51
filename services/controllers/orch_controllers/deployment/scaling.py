"""The arithmetic of a rollout: how many replicas each replica set shall have. Pure.

Algorithms are k8s.io/kubernetes pkg/controller/deployment's (rolling.go, sync.go).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from orch.objects.apps import Deployment, ReplicaSet
from orch_controllers.deployment.revisions import DESIRED, MAX


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


def resolve(value: int | str | None, total: int, default: str, *, up: bool) -> int:
    """Return a count that is given as such or as a percentage of `total`."""
    given = default if value is None else value
    if isinstance(given, int):
        return given
    share = int(given.removesuffix("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)


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


def new_size(deployment: Deployment, new: ReplicaSet | None, all_sets: Sequence[ReplicaSet]) -> int:
    """Return how many replicas the template's replica set may have now."""
    wanted = desired(deployment)
    if deployment.spec.strategy.type != "RollingUpdate":
        return wanted
    current = size(new) if new is not None else 0
    limit = wanted + bounds(deployment).surge
    total = sum(size(each) for each in all_sets)
    if total >= limit:
        return current
    return current + min(limit - total, wanted - current)


def scale_down_old(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> list[tuple[ReplicaSet, int]]:
    """Return the old replica sets to shrink, with their new sizes.

    Pods that are not available go first, wherever they are; then as many available ones as the deployment can spare.
    """
    total = sum(size(each) for each in (*old, new))
    if sum(size(each) for each in old) == 0:
        return []
    least = desired(deployment) - bounds(deployment).unavailable
    new_unavailable = size(new) - new.status.available_replicas
    spare = total - least - new_unavailable
    if spare <= 0:
        return []
    sizes = {each.metadata.uid: size(each) for each in old}
    cleaned = 0
    for each in old:
        unhealthy = sizes[each.metadata.uid] - each.status.available_replicas
        cut = min(spare - cleaned, max(unhealthy, 0))
        sizes[each.metadata.uid] -= cut
        cleaned += cut
    available = sum(each.status.available_replicas for each in (*old, new))
    spare = available - least
    for each in old:
        if spare <= 0:
            break
        cut = min(sizes[each.metadata.uid], spare)
        sizes[each.metadata.uid] -= cut
        spare -= cut
    return [(each, sizes[each.metadata.uid]) for each in old if sizes[each.metadata.uid] != size(each)]


def proportionally(deployment: Deployment, active: Sequence[ReplicaSet]) -> list[tuple[ReplicaSet, int]]:
    """Return new sizes for several active replica sets when the deployment is scaled in mid-rollout.

    What is to be added or removed is shared by the sets in proportion to their sizes; the largest takes what rounding
    leaves. Each set's own annotation says what the deployment's limit was when it was sized.
    """
    wanted = desired(deployment)
    limit = wanted + bounds(deployment).surge if wanted else 0
    total = sum(size(each) for each in active)
    change = limit - total
    ordered = sorted(active, key=lambda each: each.metadata.creation_timestamp, reverse=change > 0)
    ordered.sort(key=size, reverse=True)  # stable: among equals the newest grows, the oldest shrinks first
    sizes: list[tuple[ReplicaSet, int]] = []
    added = 0
    for each in ordered:
        share = _share(each, limit, wanted, change - added) if change else 0
        added += share
        sizes.append((each, size(each) + share))
    if sizes:
        first, count = sizes[0]
        sizes[0] = (first, max(count + change - added, 0))
    return sizes


def _share(replica_set: ReplicaSet, limit: int, wanted: int, left: int) -> int:
    if left == 0:
        return 0
    text = replica_set.metadata.annotations.get(MAX, "")
    former = int(text) if text.isdigit() and int(text) else wanted
    fraction = _round(size(replica_set) * limit / former) - size(replica_set)
    return min(fraction, left) if left > 0 else max(fraction, left)


def _round(value: float) -> int:
    """Round half away from zero, as Kubernetes does."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def was_scaled(deployment: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """Return whether the deployment wants another number than when its active replica sets were sized."""
    for each in sets:
        text = each.metadata.annotations.get(DESIRED, "")
        if size(each) > 0 and text.isdigit() and int(text) != desired(deployment):
            return True
    return False


def scale_annotations(deployment: Deployment) -> dict[str, str]:
    """Return the annotations that remember what a replica set was sized for."""
    wanted = desired(deployment)
    return {DESIRED: str(wanted), MAX: str(wanted + bounds(deployment).surge)}
