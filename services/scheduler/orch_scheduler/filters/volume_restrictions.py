"""VolumeRestrictions: a claim that is for a single pod is used by one pod only, on whatever node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.storage import SINGLE_POD


class VolumeRestrictions:
    """Refuses every node while another pod uses a claim with access mode ReadWriteOncePod."""

    name = "VolumeRestrictions"
    wake = Wake.POD_REMOVED | Wake.STORAGE

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow all nodes, or none."""
        single = [
            wanted.name
            for wanted in demand.claims
            if (claim := snapshot.storage.claim(demand.namespace, wanted.name)) is not None
            and SINGLE_POD in claim.spec.access_modes
        ]
        return _Single(snapshot, demand.namespace, single) if single else None


class _Single(Ruling):
    __slots__ = ("_claims", "_namespace", "_users")

    def __init__(self, snapshot: Snapshot, namespace: str, claims: Sequence[str]) -> None:
        self._namespace = namespace
        self._claims = frozenset(claims)
        self._users = sum(
            sum(rows.values()) for claim in claims for _, rows in snapshot.neighbours.users(namespace, claim)
        )
        super().__init__(np.full(snapshot.size, not self._users, np.bool_))

    def placed(self, row: int) -> bool:
        """Refuse all from now on: the pod uses the claim."""
        del row
        self.allowed = np.zeros_like(self.allowed)
        return True

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return kube-scheduler's words."""
        words = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
        return ((words, rows),)

    def curable(self) -> Mask | None:
        """Return all rows: the other pod may go."""
        return np.ones_like(self.allowed)

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether nobody would use the claims."""
        del row
        less = sum(
            wanted.name in self._claims for each in gone if each.namespace == self._namespace for wanted in each.claims
        )
        return self._users <= less
