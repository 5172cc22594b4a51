"""Keeps the finalizer of claims for as long as a pod uses them (k8s.io/kubernetes pkg/controller/volume/pvcprotection).

A pod uses a claim from when it is bound to a node until it is gone: one that has ended may be looked at still, and its
node may have the volume mounted. A pod that waits for a node does not: no node starts a pod whose claim is leaving.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod
from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, PODS
from orch.objects.storage import PersistentVolumeClaim
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.finalizers import is_held, is_unprotected, put, take
from orch_controllers.pod_state import is_finished

log = logging.getLogger(__name__)

FINALIZER: Final = "kubernetes.io/pvc-protection"
_USERS: Final = "claim-protection/users"


class ClaimProtectionReconciler:
    """Reconciles claims."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, _USERS, _claims_of_item)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the claims of a pod that may have let go of them."""
        pod = change.item.object
        if change.new is not None and pod.spec.node_name and not is_finished(pod):
            return ()
        return [Key(pod.metadata.namespace, name) for name in _claims_of(pod)]

    async def reconcile(self, key: Key) -> Result:
        """Protect a claim, or let it go."""
        item = self._claims.get(key.namespace, key.name)
        if item is None:
            return DONE
        claim = item.object
        if is_held(claim.metadata, FINALIZER):
            if await self._is_used(claim):
                log.debug("the claim %s is used and stays", key)
                return DONE
            await take(self._client, PERSISTENT_VOLUME_CLAIMS, claim, FINALIZER)
        elif is_unprotected(claim.metadata, FINALIZER):
            await put(self._client, PERSISTENT_VOLUME_CLAIMS, claim, FINALIZER)
        return DONE

    async def _is_used(self, claim: PersistentVolumeClaim) -> bool:
        """Return whether a pod uses the claim. Only the api knows that none does: what is seen here may lag behind."""
        meta = claim.metadata
        seen = self._pods.indexed(_USERS, f"{meta.namespace}/{meta.name}")
        if any(_uses(item.object, meta) for item in seen):
            return True
        return any(_uses(pod, meta) for pod in await self._client.list(PODS, meta.namespace))


def _claims_of(pod: Pod) -> list[str]:
    """Return the names of the claims that a pod names, and of those that are made for it."""
    named = [each.persistent_volume_claim.claim_name for each in pod.spec.volumes if each.persistent_volume_claim]
    return [*named, *_made_for(pod)]


def _claims_of_item(item: Item[Pod]) -> tuple[str, ...]:
    return tuple(f"{item.namespace}/{name}" for name in _claims_of(item.object))


def _made_for(pod: Pod) -> list[str]:
    return [f"{pod.metadata.name}-{each.name}" for each in pod.spec.volumes if each.ephemeral]


def _uses(pod: Pod, claim: ObjectMeta) -> bool:
    if not pod.spec.node_name:
        return False
    named = (each.persistent_volume_claim for each in pod.spec.volumes)
    if any(source is not None and source.claim_name == claim.name for source in named):
        return True
    owned = any(each.controller and each.uid == pod.metadata.uid for each in claim.owner_references)
    return owned and not _is_shut_down(pod) and claim.name in _made_for(pod)


def _is_shut_down(pod: Pod) -> bool:
    """Return whether the pod's node is done with it, or will not be waited for."""
    return bool(pod.metadata.deletion_timestamp) and pod.metadata.deletion_grace_period_seconds == 0
