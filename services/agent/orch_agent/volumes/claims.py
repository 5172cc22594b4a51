"""Volumes of claims: what kubelet says while none of them can be attached or mounted on this node.

Kinds of persistent volumes come in here: a bound claim's volume is looked up, and the plugin that handles it mounts it.
"""

from __future__ import annotations

from pathlib import Path

from orch.errors import ApiError, UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS
from orch.objects.storage import PersistentVolumeClaim
from orch.objects.volumes import Volume
from orch_agent.objects import ObjectReader
from orch_agent.volumes.protocol import Ready, UnprocessedError


class ClaimVolumes:
    """The kinds persistentVolumeClaim and ephemeral, whose claim is named after the pod and the volume."""

    name = "kubernetes.io/persistent-claim"
    volatile = False

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is a claim's."""
        return volume.persistent_volume_claim is not None or volume.ephemeral is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Raise UnprocessedError saying what the claim lacks."""
        _ = folder
        named = volume.persistent_volume_claim
        name = named.claim_name if named is not None else f"{pod.metadata.name}-{volume.name}"
        what = f"error processing PVC {pod.metadata.namespace}/{name}"
        try:
            claim: PersistentVolumeClaim = await self._reader.get(
                PERSISTENT_VOLUME_CLAIMS, pod.metadata.namespace, name
            )
        except (ApiError, UnavailableError) as error:
            raise UnprocessedError(f"{what}: failed to fetch PVC from API server: {error}") from error
        if named is None and all(owner.uid != pod.metadata.uid for owner in claim.metadata.owner_references):
            raise UnprocessedError(
                f"{what}: PVC {pod.metadata.namespace}/{name} was not created for pod "
                f"{pod.metadata.namespace}/{pod.metadata.name} (pod is not owner)"
            )
        if claim.metadata.deletion_timestamp:
            raise UnprocessedError(f"{what}: PVC is being deleted")
        if claim.status.phase != "Bound" or not claim.spec.volume_name:
            raise UnprocessedError(f"{what}: PVC is not bound")
        raise UnprocessedError(
            f'failed to get Plugin from volumeSpec for volume "{claim.spec.volume_name}" err=no volume plugin matched'
        )

    async def tear_down(self, folder: Path) -> None:
        """Nothing is there."""
