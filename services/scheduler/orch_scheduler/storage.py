"""Claims, volumes, classes of storage and what nodes can attach, as the rules about volumes need them.

What each node has attached is counted by driver in columns that are brought up to date when a rule asks for them: only
nodes are looked at again whose pods, or whose pods' claims, have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from orch.objects.pods import NodeSelector
from orch.objects.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from orch.selectors import from_label_selector
from orch_scheduler.demand import Demand
from orch_scheduler.requests import amount
from orch_scheduler.storage_capacity import StorageCapacities

DELAYED: Final = "WaitForFirstConsumer"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
SINGLE_POD: Final = "ReadWriteOncePod"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
_STORAGE: Final = "storage"

Name = tuple[str, str]
"""A claim's namespace and name."""
Attached = tuple[str, str]
"""A volume as a node attaches it: its driver and what the driver calls it."""


class PodClaims(msgspec.Struct, frozen=True):
    """A pod's claims by what they have: a volume, or none yet because they wait for a pod (`delayed`).

    `problem`: why the pod can be nowhere, whatever the node.
    """

    bound: tuple[PersistentVolumeClaim, ...] = ()
    delayed: tuple[PersistentVolumeClaim, ...] = ()
    problem: str = ""


class Storage:
    """The cluster's storage."""

    def __init__(self) -> None:
        self.classes: dict[str, StorageClass] = {}
        self.volumes: dict[str, PersistentVolume] = {}
        self.limits: dict[str, Mapping[str, int]] = {}
        self.capacities = StorageCapacities()
        self._claims: dict[Name, PersistentVolumeClaim] = {}
        self._of_class: dict[str, dict[str, PersistentVolume]] = {}
        self._claims_of: dict[str, dict[Name, None]] = {}  # volume → the claims that name it
        self._on: dict[int, dict[Name, int]] = {}  # row → claim → pods that use it there
        self._rows: dict[Name, dict[int, None]] = {}
        self._attached: dict[int, frozenset[Attached]] = {}
        self._used: dict[str, dict[int, int]] = {}  # driver → row → volumes
        self._stale: dict[int, None] = {}

    def set_claim(self, namespace: str, name: str, claim: PersistentVolumeClaim | None) -> None:
        """Take over a claim, None when it is gone."""
        key = (namespace, name)
        old = self._claims.pop(key, None)
        if claim is not None:
            self._claims[key] = claim
        before, after = _volume_of(old), _volume_of(claim)
        if before != after:
            if before:
                self._claims_of.get(before, {}).pop(key, None)
            if after:
                self._claims_of.setdefault(after, {})[key] = None
        self._stale.update(self._rows.get(key, {}))

    def set_volume(self, name: str, volume: PersistentVolume | None) -> None:
        """Take over a volume, None when it is gone."""
        old = self.volumes.pop(name, None)
        if old is not None:
            self._of_class.get(old.spec.storage_class_name, {}).pop(name, None)
        if volume is not None:
            self.volumes[name] = volume
            self._of_class.setdefault(volume.spec.storage_class_name, {})[name] = volume
        for key in self._claims_of.get(name, ()):
            self._stale.update(self._rows.get(key, {}))

    def set_class(self, name: str, found: StorageClass | None) -> None:
        """Take over a class of storage, None when it is gone."""
        self.classes.pop(name, None)
        if found is not None:
            self.classes[name] = found

    def set_node(self, name: str, node: CSINode | None) -> None:
        """Take over what a node can attach, None when that is not known any more."""
        self.limits.pop(name, None)
        if node is not None:
            limits = {
                driver.name: driver.allocatable.count
                for driver in node.spec.drivers
                if driver.allocatable is not None and driver.allocatable.count is not None
            }
            if limits:
                self.limits[name] = limits

    def set_driver(self, name: str, driver: CSIDriver | None) -> bool:
        """Take over a driver, None when it is gone; return whether pods can have got room by that."""
        return self.capacities.set_driver(name, driver)

    def set_capacity(self, namespace: str, name: str, capacity: CSIStorageCapacity | None) -> bool:
        """Take over how much room there is on some nodes; return whether pods can have got room by that."""
        return self.capacities.set_capacity((namespace, name), capacity)

    def count(self, row: int, demand: Demand, sign: int) -> None:
        """Count a pod's claims on a row, or count them no more."""
        claims = self._on.setdefault(row, {})
        for claim in demand.claims:
            key = (demand.namespace, claim.name)
            claims[key] = claims.get(key, 0) + sign
            if claims[key]:
                self._rows.setdefault(key, {})[row] = None
            else:
                del claims[key]
                self._rows[key].pop(row, None)
                if not self._rows[key]:
                    del self._rows[key]
        if not claims:
            del self._on[row]
        self._stale[row] = None

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        """Return a claim."""
        return self._claims.get((namespace, name))

    def claims_of(self, demand: Demand) -> PodClaims:
        """Return a pod's claims by what they have."""
        bound: list[PersistentVolumeClaim] = []
        delayed: list[PersistentVolumeClaim] = []
        immediate = False
        for wanted in demand.claims:
            claim = self._claims.get((demand.namespace, wanted.name))
            problem = _problem(claim, wanted.name, ephemeral=wanted.ephemeral)
            if claim is None or problem:
                return PodClaims(problem=problem)
            if _is_bound(claim):
                bound.append(claim)
            elif self._waits(claim):
                delayed.append(claim)
            else:
                immediate = True
        if immediate:
            return PodClaims(problem="pod has unbound immediate PersistentVolumeClaims")
        return PodClaims(tuple(bound), tuple(delayed))

    def room_for(self, claim: PersistentVolumeClaim) -> Sequence[NodeSelector | None] | None:
        """Return on which nodes there is room to make a claim's volume, None among them: on all. None: nobody tells."""
        found = self.classes.get(claim.spec.storage_class_name or "")
        size = claim.spec.resources.requests.get(_STORAGE)
        if found is None or size is None or not self.capacities.tells(found.provisioner):
            return None
        return self.capacities.room_for(found.metadata.name, amount(_STORAGE, size))

    def matching(self, claim: PersistentVolumeClaim) -> list[PersistentVolume]:
        """Return the volumes that a claim could be bound to, the smallest first, on whichever nodes they are."""
        selector = claim.spec.selector
        wanted = from_label_selector(selector) if selector is not None else None
        found: list[tuple[int, str, PersistentVolume]] = []
        for name, volume in self._of_class.get(claim.spec.storage_class_name or "", {}).items():
            spec = volume.spec
            size = amount(_STORAGE, spec.capacity.get(_STORAGE, "0"))
            promised = _is_for(volume, claim)
            if (
                (spec.claim_ref is not None and not promised)
                or (spec.claim_ref is None and volume.status.phase != "Available")
                or volume.metadata.deletion_timestamp
                or size < amount(_STORAGE, claim.spec.resources.requests.get(_STORAGE, "0"))
                or not set(claim.spec.access_modes) <= set(spec.access_modes)
                or spec.volume_mode != claim.spec.volume_mode
                or (wanted is not None and not wanted.matches(volume.metadata.labels))
            ):
                continue
            found.append((-1 if promised else size, name, volume))
        return [volume for _, _, volume in sorted(found, key=lambda each: each[:2])]

    def attachments(self, namespace: str, names: Iterable[str]) -> frozenset[Attached]:
        """Return what a node with a pod that has these claims attaches."""
        found: list[Attached] = []
        for name in names:
            attached = self._attachment((namespace, name))
            if attached is not None:
                found.append(attached)
        return frozenset(found)

    def used(self, driver: str, size: int) -> NDArray[np.int64]:
        """Return how many volumes of a driver each row has attached."""
        self._refresh()
        column = np.zeros(size, np.int64)
        for row, count in self._used.get(driver, {}).items():
            if row < size:
                column[row] = count
        return column

    def attached(self, row: int) -> frozenset[Attached]:
        """Return what a row has attached."""
        self._refresh()
        return self._attached.get(row, frozenset())

    def sharing(self, namespace: str, names: Iterable[str]) -> Sequence[int]:
        """Return the rows on which one of the claims is in use already."""
        rows: dict[int, None] = {}
        for name in names:
            rows.update(self._rows.get((namespace, name), {}))
        return tuple(rows)

    def _waits(self, claim: PersistentVolumeClaim) -> bool:
        found = self.classes.get(claim.spec.storage_class_name or "")
        return found is not None and found.volume_binding_mode == DELAYED and not claim.spec.volume_name

    def _attachment(self, key: Name) -> Attached | None:
        claim = self._claims.get(key)
        if claim is None:
            return None
        if not claim.spec.volume_name:
            found = self.classes.get(claim.spec.storage_class_name or "")
            return (found.provisioner, "/".join(key)) if found is not None else None
        volume = self.volumes.get(claim.spec.volume_name)
        if volume is None or volume.spec.csi is None:
            return None
        return volume.spec.csi.driver, volume.spec.csi.volume_handle

    def _refresh(self) -> None:
        for row in self._stale:
            claims = self._on.get(row, {})
            new = frozenset(found for key in claims if (found := self._attachment(key)) is not None)
            for driver, _ in self._attached.pop(row, frozenset()):
                self._used[driver].pop(row, None)
            if new:
                self._attached[row] = new
                for driver, _ in new:
                    rows = self._used.setdefault(driver, {})
                    rows[row] = rows.get(row, 0) + 1
        self._stale.clear()


def _volume_of(claim: PersistentVolumeClaim | None) -> str:
    return claim.spec.volume_name if claim is not None else ""


def _is_bound(claim: PersistentVolumeClaim) -> bool:
    completed = claim.status.phase == "Bound" or _BIND_COMPLETED in claim.metadata.annotations
    return bool(claim.spec.volume_name) and completed


def _is_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Return whether a volume is promised to the claim."""
    reference, metadata = volume.spec.claim_ref, claim.metadata
    return (
        reference is not None
        and (reference.namespace, reference.name) == (metadata.namespace, metadata.name)
        and reference.uid in {"", metadata.uid}
    )


def _problem(claim: PersistentVolumeClaim | None, name: str, *, ephemeral: bool) -> str:
    """Return what makes a claim useless, in kube-scheduler's words."""
    if claim is None:
        if ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if claim.status.phase == "Lost":
        volume = claim.spec.volume_name
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if claim.metadata.deletion_timestamp:
        return f'persistentvolumeclaim "{name}" is being deleted'
    return ""
