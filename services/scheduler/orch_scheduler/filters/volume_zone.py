"""VolumeZone: volumes that are labelled with zones or regions are reached from there only."""

from __future__ import annotations

from typing import Final

import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.filters.affinity import holding
from orch_scheduler.filters.protocol import Plain, Ruling, Wake
from orch_scheduler.snapshot import Snapshot

_LABELS: Final = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)
_SEPARATOR: Final = "__"
"""Between the zones of a volume that is in several."""


class VolumeZone:
    """Refuses nodes in other zones or regions than the volumes; nodes without any such label take all volumes."""

    name = "VolumeZone"
    wake = Wake.NODE_ADDED | Wake.NODE_LABELS | Wake.STORAGE

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes in the right places."""
        wanted: dict[tuple[str, tuple[str, ...]], None] = {}
        for used in demand.claims:
            claim = snapshot.storage.claim(demand.namespace, used.name)
            volume = snapshot.storage.volumes.get(claim.spec.volume_name) if claim is not None else None
            if volume is not None:
                for key in _LABELS:
                    value = volume.metadata.labels.get(key)
                    if value is not None:
                        wanted[key, tuple(value.split(_SEPARATOR))] = None
        if not wanted:
            return None
        unlabelled = np.ones(snapshot.size, np.bool_)
        for key in _LABELS:
            unlabelled &= snapshot.topologies.of(key).domains[: snapshot.size] == 0
        allowed = np.ones(snapshot.size, np.bool_)
        for key, values in wanted:
            here = holding(snapshot, key, values)
            other = _LABELS[(_LABELS.index(key) + 2) % len(_LABELS)]
            bare = snapshot.topologies.of(key).domains[: snapshot.size] == 0
            allowed &= here | (bare & holding(snapshot, other, values))
        return Plain(allowed | unlabelled, "node(s) had no available volume zone")
