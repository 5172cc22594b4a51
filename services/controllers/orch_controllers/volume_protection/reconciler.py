"""Keeps the finalizer of volumes that are bound (k8s.io/kubernetes pkg/controller/volume/pvprotection)."""

from __future__ import annotations

import logging
from typing import Final

from orch.objects.scheme import PERSISTENT_VOLUMES
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.finalizers import is_held, is_unprotected, put, take

log = logging.getLogger(__name__)

FINALIZER: Final = "kubernetes.io/pv-protection"
_BOUND: Final = "Bound"


class VolumeProtectionReconciler:
    """Reconciles volumes."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)

    async def reconcile(self, key: Key) -> Result:
        """Protect a volume, or let it go."""
        item = self._volumes.get("", key.name)
        if item is None:
            return DONE
        volume = item.object
        if is_held(volume.metadata, FINALIZER):
            if volume.status.phase == _BOUND:
                log.debug("the volume %s is bound and stays", key.name)
                return DONE
            await take(self._client, PERSISTENT_VOLUMES, volume, FINALIZER)
        elif is_unprotected(volume.metadata, FINALIZER):
            await put(self._client, PERSISTENT_VOLUMES, volume, FINALIZER)
        return DONE
