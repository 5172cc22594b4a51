"""Keeps the finalizer of VolumeAttributesClasses in use (k8s.io/kubernetes pkg/controller/volume/vacprotection).

A claim uses the class that it asks for, the one that its volume has, and the one that its volume is being changed to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from orch.objects.storage import PersistentVolume, PersistentVolumeClaim
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.finalizers import is_held, is_unprotected, put, take

log = logging.getLogger(__name__)

FINALIZER: Final = "kubernetes.io/vac-protection"
_CLAIMS: Final = "volume-attributes-protection/claims"
_VOLUMES: Final = "volume-attributes-protection/volumes"


class VolumeAttributesProtectionReconciler:
    """Reconciles VolumeAttributesClasses."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._classes = context.informers.of(VOLUME_ATTRIBUTES_CLASSES)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        context.informers.index(PERSISTENT_VOLUME_CLAIMS, _CLAIMS, _of_claim)
        context.informers.index(PERSISTENT_VOLUMES, _VOLUMES, _of_volume)

    def keys_of_claim(self, change: Change[PersistentVolumeClaim]) -> Iterable[Key]:
        """Return the classes that a claim used and uses no more."""
        now = _of_claim(change.new) if change.new is not None else ()
        return _keys(set(_of_claim(change.old) if change.old is not None else ()).difference(now))

    def keys_of_volume(self, change: Change[PersistentVolume]) -> Iterable[Key]:
        """Return the class that a volume had and has no more."""
        now = _of_volume(change.new) if change.new is not None else ()
        return _keys(set(_of_volume(change.old) if change.old is not None else ()).difference(now))

    async def reconcile(self, key: Key) -> Result:
        """Protect a class, or let it go."""
        item = self._classes.get("", key.name)
        if item is None:
            return DONE
        found = item.object
        if is_held(found.metadata, FINALIZER):
            if await self._is_used(key.name):
                log.debug("the VolumeAttributesClass %s is used and stays", key.name)
                return DONE
            await take(self._client, VOLUME_ATTRIBUTES_CLASSES, found, FINALIZER)
        elif is_unprotected(found.metadata, FINALIZER):
            await put(self._client, VOLUME_ATTRIBUTES_CLASSES, found, FINALIZER)
        return DONE

    async def _is_used(self, name: str) -> bool:
        """Return whether anything names the class. Only the api knows that nothing does."""
        if self._claims.indexed(_CLAIMS, name) or self._volumes.indexed(_VOLUMES, name):
            return True
        claims = await self._client.list(PERSISTENT_VOLUME_CLAIMS)
        if any(name in _classes_of(claim) for claim in claims):
            return True
        volumes = await self._client.list(PERSISTENT_VOLUMES)
        return any(name == volume.spec.volume_attributes_class_name for volume in volumes)


def _classes_of(claim: PersistentVolumeClaim) -> tuple[str, ...]:
    status = claim.status
    changing = status.modify_volume_status.target_volume_attributes_class_name if status.modify_volume_status else ""
    named = (claim.spec.volume_attributes_class_name, status.current_volume_attributes_class_name, changing)
    return tuple({name for name in named if name})


def _of_claim(item: Item[PersistentVolumeClaim]) -> tuple[str, ...]:
    return _classes_of(item.object)


def _of_volume(item: Item[PersistentVolume]) -> tuple[str, ...]:
    name = item.object.spec.volume_attributes_class_name
    return (name,) if name else ()


def _keys(names: Iterable[str]) -> list[Key]:
    return [Key("", name) for name in names]
