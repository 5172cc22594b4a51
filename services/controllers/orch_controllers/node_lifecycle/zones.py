"""What many lost nodes at once say of a zone, and how fast its pods may then be evicted. Pure.

The rules are k8s.io/kubernetes pkg/controller/nodelifecycle's: the failure domain of a node is its region and zone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from orch_controllers.config import ControllersConfig

REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"

_FEW: Final = 2
"""So many lost nodes are never most of a zone."""


class ZoneState(enum.Enum):
    """How much of a zone is lost."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


class Count(msgspec.Struct):
    """The nodes of a zone."""

    healthy: int = 0
    unhealthy: int = 0

    @property
    def size(self) -> int:
        """All of them."""
        return self.healthy + self.unhealthy


def zone_of(labels: Mapping[str, str]) -> str:
    """Return which zone a node is in; nodes without labels are in one of their own."""
    return f"{labels.get(REGION, '')}/{labels.get(ZONE, '')}"


def state_of(count: Count, threshold: float) -> ZoneState:
    """Return a zone's state; `threshold` is the share of lost nodes from which on most are."""
    if count.unhealthy and not count.healthy:
        return ZoneState.FULL
    if count.unhealthy > _FEW and count.unhealthy / count.size >= threshold:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def rate_of(state: ZoneState, size: int, config: ControllersConfig) -> float:
    """Return how many lost nodes of a zone are emptied a second.

    A zone that is lost as a whole, while others are not, is one that failed. When most of it is lost, that may be the
    network between us: then large zones are emptied slowly, if at all, and small ones are left alone.
    """
    if state is not ZoneState.PARTIAL:
        return config.node_eviction_rate
    return config.secondary_node_eviction_rate if size > config.large_cluster_size_threshold else 0.0


class Admissions:
    """Lets lost nodes be emptied one after the other: a token bucket for each zone."""

    def __init__(self, burst: int) -> None:
        self._burst = float(burst)
        self._tokens: dict[str, float] = {}
        self._filled: dict[str, float] = {}
        self._admitted: set[str] = set()

    def admit(self, node: str, zone: str, rate: float, now: float) -> bool:
        """Return whether a lost node may be emptied now; one that was let in stays so until `forget`."""
        if node in self._admitted:
            return True
        if rate <= 0:
            return False
        tokens = self._tokens.get(zone, self._burst) + (now - self._filled.get(zone, now)) * rate
        tokens = min(tokens, self._burst)
        self._filled[zone] = now
        admitted = tokens >= 1
        self._tokens[zone] = tokens - 1 if admitted else tokens
        if admitted:
            self._admitted.add(node)
        return admitted

    def forget(self, node: str) -> None:
        """Note that the node is not lost any more: the next time it has to wait for its turn again."""
        self._admitted.discard(node)
