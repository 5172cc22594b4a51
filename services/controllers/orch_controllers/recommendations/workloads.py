"""Whose pod a pod is: the Deployment behind its ReplicaSet, the CronJob behind its Job, or what controls it itself."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from orch.objects.meta import OwnerReference
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS, REPLICA_SETS, Kind
from orch.runtime.informer import Informers, Item

_BETWEEN: Final[dict[str, Kind[Any]]] = {kind.name: kind for kind in (REPLICA_SETS, JOBS)}


class Workload(msgspec.Struct, frozen=True):
    """What pods are made for."""

    namespace: str
    kind: str
    name: str


def workload_of(informers: Informers, item: Item[Pod]) -> Workload:
    """Return the workload of a pod; one that nobody controls is its own."""
    owner = item.object.metadata.controller
    if owner is None:
        return Workload(item.namespace, "Pod", item.name)
    owner = _behind(informers, item.namespace, owner) or owner
    return Workload(item.namespace, owner.kind, owner.name)


def _behind(informers: Informers, namespace: str, owner: OwnerReference) -> OwnerReference | None:
    kind = _BETWEEN.get(owner.kind)
    between = informers.of(kind).get(namespace, owner.name) if kind is not None else None
    return between.object.metadata.controller if between is not None else None
