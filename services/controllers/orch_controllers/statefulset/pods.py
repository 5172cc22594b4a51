"""What a stateful set does to its pods and their claims, told to people in Kubernetes' words."""

from __future__ import annotations

import logging
from typing import Any, Final

from orch.errors import AlreadyExistsError, ApiError, NotFoundError, OrchError
from orch.objects.apps import ClaimTemplate, StatefulSet
from orch.objects.meta import Object
from orch.objects.pods import Pod, PodTemplate
from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from orch.runtime.events import EventType, reference
from orch.runtime.reconcile import Key
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import Expectations, Written
from orch_controllers.pod_writes import PodWrites
from orch_controllers.statefulset import identity, retention

log = logging.getLogger(__name__)

_COMPONENT: Final = "statefulset-controller"


class StatefulPods:
    """Makes, removes and puts right pods with their claims."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of(_COMPONENT)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._expectations = Expectations(context.informers.of(PODS), context.client, context.clock)
        self._written_claims = Written(self._claims)
        self._writes = PodWrites(context.client, self._expectations)

    async def shown(self, key: Key) -> bool:
        """Return whether informers have shown all that was done for a key. Raises what the client raises."""
        await self._expectations.settle(key)
        return self._expectations.satisfied(key) and self._written_claims.shown(key)

    def forget(self, key: Key) -> None:
        """Drop what is known of a key that is gone."""
        self._expectations.forget(key)
        self._written_claims.forget(key)

    def claim(self, namespace: str, name: str) -> Object | None:
        """Return a claim as the informer has it."""
        item = self._claims.get(namespace, name)
        return item.object if item is not None else None

    async def create(self, key: Key, owner: StatefulSet, template: PodTemplate, revision: str, ordinal: int) -> Pod:
        """Make a pod and, before it, the claims that it needs. Raises what the client raises."""
        name = identity.pod_name(owner, ordinal)
        try:
            await self._make_claims(key, owner, ordinal)
            pod = await self._writes.create(key, identity.pod_body(owner, template, revision, ordinal))
        except AlreadyExistsError:
            raise  # someone else's pod, or one that is not shown yet: nothing to tell
        except OrchError as error:
            self._tell_of(owner, "create", name, error)
            raise
        await self.own(key, owner, pod)
        self._tell_of(owner, "create", name)
        return pod

    async def remove(self, key: Key, owner: StatefulSet, pod: Pod) -> None:
        """Delete a pod. Raises what the client raises."""
        try:
            was_there = await self._writes.delete(key, pod)
        except OrchError as error:
            self._tell_of(owner, "delete", pod.metadata.name, error)
            raise
        if was_there:
            self._tell_of(owner, "delete", pod.metadata.name)

    async def fill(self, key: Key, owner: StatefulSet, pod: Pod) -> None:
        """Make the claims that a pod lacks. Raises what the client raises."""
        await self._make_claims(key, owner, identity.parse(pod.metadata.name)[1])

    async def identify(self, key: Key, owner: StatefulSet, pod: Pod) -> None:
        """Give a pod its identity. Its volumes the api does not let change: then that is told. Raises ApiError."""
        meta = pod.metadata
        ordinal = identity.parse(meta.name)[1]
        patch: dict[str, Any] = {"metadata": {"uid": meta.uid, "labels": identity.identity(owner, ordinal)}}
        try:
            if not identity.has_storage(owner, pod, ordinal):
                await self._make_claims(key, owner, ordinal)
                patch["spec"] = {"volumes": _claimed_volumes(owner, ordinal)}
            patched = await self._client.patch(PODS, meta.namespace, meta.name, patch, strategic=True)
        except NotFoundError:
            log.debug("pod %s/%s was gone already", meta.namespace, meta.name)
            return
        except OrchError as error:
            self._tell_of(owner, "update", meta.name, error)
            raise
        self._expectations.created(key, patched)
        self._tell_of(owner, "update", meta.name)

    async def own(self, key: Key, owner: StatefulSet, pod: Pod) -> None:
        """Give a pod's claims their owners. Raises what the client raises."""
        ordinal = identity.parse(pod.metadata.name)[1]
        for template in owner.spec.volume_claim_templates:
            claim = self.claim(owner.metadata.namespace, identity.claim_name(owner, template, ordinal))
            if claim is None:
                continue
            refs = retention.owners_of_claim(owner, pod.metadata, claim.metadata.owner_references)
            if refs is None:
                continue
            meta = claim.metadata
            patch = {
                "metadata": {
                    "uid": meta.uid,
                    "resourceVersion": meta.resource_version,
                    "ownerReferences": [retention.as_document(ref) for ref in refs],
                }
            }
            try:
                made = await self._client.patch(PERSISTENT_VOLUME_CLAIMS, meta.namespace, meta.name, patch)
            except NotFoundError:
                log.debug("claim %s/%s was gone already", meta.namespace, meta.name)
            else:
                self._written_claims.note(key, made)

    async def _make_claims(self, key: Key, owner: StatefulSet, ordinal: int) -> None:
        for template in owner.spec.volume_claim_templates:
            name = identity.claim_name(owner, template, ordinal)
            claim = self.claim(owner.metadata.namespace, name)
            if claim is None:
                await self._make_claim(key, owner, template, ordinal)
            elif claim.metadata.deletion_timestamp:
                raise OrchError(f"pvc {name} is being deleted")

    async def _make_claim(self, key: Key, owner: StatefulSet, template: ClaimTemplate, ordinal: int) -> None:
        body = identity.claim_body(owner, template, ordinal)
        if owners := retention.owners_at_creation(owner):
            body["metadata"]["ownerReferences"] = owners
        claim, pod = body["metadata"]["name"], identity.pod_name(owner, ordinal)
        name = owner.metadata.name
        try:
            made = await self._client.create(PERSISTENT_VOLUME_CLAIMS, key.namespace, body)
        except AlreadyExistsError:
            log.debug("claim %s/%s was there already", key.namespace, claim)
            return
        except OrchError as error:
            if is_namespace_terminating(error):
                raise
            told = f"create Claim {claim} for Pod {pod} in StatefulSet {name} failed error: {error}"
            self._tell(owner, "Warning", "FailedCreate", told)
            if isinstance(error, ApiError):
                raise OrchError(f"failed to create PVC {claim}: {error}") from error
            raise
        self._written_claims.note(key, made)
        told = f"create Claim {claim} Pod {pod} in StatefulSet {name} success"
        self._tell(owner, "Normal", "SuccessfulCreate", told)

    def _tell_of(self, owner: StatefulSet, verb: str, pod: str, error: OrchError | None = None) -> None:
        """Tell what was done to a pod, or that it failed; not when the namespace is going away."""
        about = f"{verb} Pod {pod} in StatefulSet {owner.metadata.name}"
        if error is None:
            self._tell(owner, "Normal", f"Successful{verb.title()}", f"{about} successful")
        elif not is_namespace_terminating(error):
            self._tell(owner, "Warning", f"Failed{verb.title()}", f"{about} failed error: {error}")

    def _tell(self, owner: StatefulSet, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(STATEFUL_SETS, owner), kind, reason, message)


def _claimed_volumes(owner: StatefulSet, ordinal: int) -> list[dict[str, Any]]:
    return [
        {
            "name": each.metadata.name,
            "persistentVolumeClaim": {"claimName": identity.claim_name(owner, each, ordinal)},
        }
        for each in owner.spec.volume_claim_templates
    ]
