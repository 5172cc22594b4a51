"""VolumeBinding: a node must reach the volumes that a pod's claims have, and those that they could get.

Claims that wait for their first pod take, on each node, the smallest volume that fits, or one that is made for them if
their class can make one there. The rules are kube-scheduler's (pkg/scheduler/framework/plugins/volumebinding).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from orch.objects.pods import NodeSelector
from orch.objects.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from orch_scheduler.demand import Demand
from orch_scheduler.filters.affinity import any_term, holding
from orch_scheduler.filters.protocol import Ruling, Wake, Whole
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.storage import NO_PROVISIONER, SELECTED_NODE

_MISSING = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_UNREACHABLE = "node(s) didn't match PersistentVolume's node affinity"
_NOT_FOUND = "node(s) didn't find available persistent volumes to bind"
_NO_ROOM = "node(s) did not have enough free storage"


class VolumeBinding:
    """Refuses pods whose claims have no volume and get none yet, and nodes that the volumes cannot be on."""

    name = "VolumeBinding"
    wake = Wake.NODE_ADDED | Wake.NODE_LABELS | Wake.STORAGE

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes that reach all volumes."""
        if not demand.claims:
            return None
        claims = snapshot.storage.claims_of(demand)
        if claims.problem:
            return Whole(snapshot.size, claims.problem)
        missing = np.zeros(snapshot.size, np.bool_)
        unreachable = np.zeros(snapshot.size, np.bool_)
        for claim in claims.bound:
            volume = snapshot.storage.volumes.get(claim.spec.volume_name)
            if volume is None:
                missing[:] = True
            else:
                unreachable |= ~_reach(snapshot, volume)
        found = _Choice(snapshot, claims.delayed) if claims.delayed else None
        return _Volumes(missing, unreachable, found)


_NONE, _MADE, _CRAMPED = -1, -2, -3


class _Choice:
    """Which volume each claim that waits would get on each row: -1 none, -2 one that is made for it, -3 no room for it.

    A row on which any of the claims lacks room is `cramped`, unless another has to do without before.
    """

    def __init__(self, snapshot: Snapshot, claims: Sequence[PersistentVolumeClaim]) -> None:
        self._snapshot = snapshot
        self.claims = claims
        self._reach: dict[str, Mask] = {}
        self._taken: dict[str, Mask] = {}
        self.chosen: list[tuple[list[PersistentVolume], Rows]] = [self._choose(claim) for claim in claims]
        self.allowed: Mask = np.logical_and.reduce(
            [(choice != _NONE) & (choice != _CRAMPED) for _, choice in self.chosen]
        )
        self.cramped: Mask = np.zeros_like(self.allowed)
        without = np.zeros_like(self.allowed)
        for _, choice in self.chosen:
            self.cramped |= (choice == _CRAMPED) & ~without
            without |= choice == _NONE

    def _choose(self, claim: PersistentVolumeClaim) -> tuple[list[PersistentVolume], Rows]:
        snapshot = self._snapshot
        choice = np.full(snapshot.size, _NONE, np.int64)
        selected = claim.metadata.annotations.get(SELECTED_NODE, "")
        volumes = [] if selected else snapshot.storage.matching(claim)
        for place, volume in enumerate(volumes):
            name = volume.metadata.name
            free = (choice == _NONE) & self.reach(volume)
            if name in self._taken:
                free &= ~self._taken[name]
            if free.any():
                choice[free] = place
                taken = self._taken.setdefault(name, np.zeros(snapshot.size, np.bool_))
                taken |= free
            if not (choice == _NONE).any():
                break
        made = provisionable(snapshot, snapshot.storage.classes.get(claim.spec.storage_class_name or ""))
        if selected:
            only = np.zeros(snapshot.size, np.bool_)
            if selected in snapshot.rows:
                only[snapshot.rows[selected]] = True
            made = made & only
        made &= choice == _NONE
        choice[made] = _MADE
        room = snapshot.storage.room_for(claim) if made.any() else None
        if room is not None:
            choice[made & ~_reached(snapshot, room)] = _CRAMPED
        return volumes, choice

    def reach(self, volume: PersistentVolume) -> Mask:
        """Return the rows that reach a volume."""
        name = volume.metadata.name
        found = self._reach.get(name)
        if found is None:
            found = self._reach[name] = _reach(self._snapshot, volume)
        return found

    def settle(self, row: int) -> Mask:
        """Return the rows that are left for further pods with the same claims, once one is placed on a row."""
        mask = self.allowed
        for volumes, choice in self.chosen:
            place = int(choice[row])
            if place >= 0:
                mask = mask & self.reach(volumes[place])
            else:
                only = np.zeros_like(mask)
                only[row] = True
                mask = mask & only
        return mask


class _Volumes(Ruling):
    __slots__ = ("_choice", "_found", "_missing", "_unreachable")

    def __init__(self, missing: Mask, unreachable: Mask, choice: _Choice | None) -> None:
        self._missing = missing
        self._unreachable = unreachable
        self._choice = choice
        self._found: Mask = np.ones_like(missing) if choice is None else choice.allowed
        super().__init__(~missing & ~unreachable & self._found)

    def placed(self, row: int) -> bool:
        """Let further pods with the same claims go only where these can be by now."""
        if self._choice is None:
            return False
        self._found = self._choice.settle(row)
        self._choice.allowed = self._found
        self.allowed = self.allowed & self._found
        return True

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return kube-scheduler's words; a node may lack several things."""
        missing = rows[self._missing[rows]]
        if len(missing):
            yield _MISSING, missing
            rows = rows[~self._missing[rows]]
        unreachable = rows[self._unreachable[rows]]
        if len(unreachable):
            yield _UNREACHABLE, unreachable
        if self._choice is not None:
            cramped = rows[self._choice.cramped[rows]]
            if len(cramped):
                yield _NO_ROOM, cramped
                rows = rows[~self._choice.cramped[rows]]
        none = rows[~self._found[rows]]
        if len(none):
            yield _NOT_FOUND, none


def bindings(snapshot: Snapshot, demand: Demand, row: int) -> tuple[tuple[str, str], ...]:
    """Return, for the claims that wait for the pod, the volume that each gets on a row: "" where one is to be made."""
    claims = snapshot.storage.claims_of(demand).delayed
    if not claims:
        return ()
    choice = _Choice(snapshot, claims)
    found: list[tuple[str, str]] = []
    for claim, (volumes, places) in zip(claims, choice.chosen, strict=True):
        place = int(places[row])
        found.append((claim.metadata.name, volumes[place].metadata.name if place >= 0 else ""))
    return tuple(found)


def provisionable(snapshot: Snapshot, found: StorageClass | None) -> Mask:
    """Return the rows for which a class can make volumes."""
    if found is None or found.provisioner in {"", NO_PROVISIONER}:
        return np.zeros(snapshot.size, np.bool_)
    if not found.allowed_topologies:
        return snapshot.live.copy()
    mask = np.zeros(snapshot.size, np.bool_)
    for term in found.allowed_topologies:
        part = snapshot.live.copy()
        for requirement in term.match_label_expressions:
            part &= holding(snapshot, requirement.key, requirement.values)
        mask |= part
    return mask


def _reached(snapshot: Snapshot, room: Sequence[NodeSelector | None]) -> Mask:
    """Return the rows that any of the selectors takes; None takes all."""
    mask = np.zeros(snapshot.size, np.bool_)
    for selector in room:
        mask |= snapshot.live if selector is None else any_term(snapshot, selector)
    return mask


def _reach(snapshot: Snapshot, volume: PersistentVolume) -> Mask:
    affinity = volume.spec.node_affinity
    if affinity is None or affinity.required is None:
        return np.ones(snapshot.size, np.bool_)
    return any_term(snapshot, affinity.required)
