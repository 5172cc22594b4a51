"""ImageLocality: rather a node that has the pod's images, large ones and such as many nodes have above all."""

from __future__ import annotations

from typing import Final

import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.scores.protocol import MOST, Scoring
from orch_scheduler.snapshot import Snapshot

_MEBIBYTE: Final = 1024 * 1024
_LEAST: Final = 23 * _MEBIBYTE
"""Smaller images do not matter."""
_PLENTY: Final = 1000 * _MEBIBYTE
"""Larger ones, for each container, matter no more than this."""


class ImageLocality:
    """Scores the bytes of the pod's images that a node has, each counted by the part of all nodes that have it."""

    name = "ImageLocality"

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Return 0 for less than 23 MiB, 100 for 1000 MiB a container."""
        found = [name for name in demand.images if snapshot.images.count(name)]
        if not found:
            return None
        there = np.zeros(snapshot.size, np.int64)
        for name in found:
            part = snapshot.images.count(name) / snapshot.nodes
            there[snapshot.images.rows(name)] += int(snapshot.image_sizes[name] * part)
        most = _PLENTY * len(demand.images)
        return Scoring(MOST * (np.clip(there, _LEAST, most) - _LEAST) // (most - _LEAST))
