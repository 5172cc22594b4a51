"""What one reconciliation of a deployment works on, and its writes to replica sets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from orch.errors import NotFoundError
from orch.objects.apps import Deployment, DeploymentStatus, ReplicaSet
from orch.objects.scheme import DEPLOYMENTS, REPLICA_SETS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, EventType, reference
from orch_controllers.deployment import conditions, revisions, scaling

log = logging.getLogger(__name__)


class Rollout:
    """A deployment and its replica sets. `new` is the template's; `status` and `revision` are written at the end.

    Every change of a replica set is made to the version that was read, so a stale view of it changes nothing.
    """

    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        deployment: Deployment,
        new: ReplicaSet | None,
        old: list[ReplicaSet],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self.deployment = deployment
        self.new = new
        self.old = old
        self.status: DeploymentStatus = deployment.status
        self.revision = deployment.metadata.annotations.get(revisions.REVISION, "")
        self.written: list[ReplicaSet] = []
        """The replica sets that were written, as the api answered them."""

    @property
    def all_sets(self) -> list[ReplicaSet]:
        """Every replica set, old ones first."""
        return [*self.old, *([self.new] if self.new is not None else [])]

    @property
    def active(self) -> list[ReplicaSet]:
        """The replica sets that want pods."""
        return [each for each in self.all_sets if scaling.size(each) > 0]

    def tell(self, kind: EventType, reason: str, message: str) -> None:
        """Record an event about the deployment."""
        self._recorder.event(reference(DEPLOYMENTS, self.deployment), kind, reason, message)

    def note(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = msgspec.structs.replace(self.status, **changes)

    async def create(self, body: Mapping[str, Any]) -> ReplicaSet:
        """Create the template's replica set."""
        made = await self._client.create(REPLICA_SETS, self.deployment.metadata.namespace, body)
        self._take(made)
        self.new = made
        return made

    async def find(self, name: str) -> ReplicaSet:
        """Return a replica set as the api has it."""
        return await self._client.get(REPLICA_SETS, self.deployment.metadata.namespace, name)

    async def scale(self, replica_set: ReplicaSet, count: int) -> None:
        """Give a replica set its size and remember what that was for."""
        annotations = scaling.scale_annotations(self.deployment)
        size, meta = scaling.size(replica_set), replica_set.metadata
        if size == count and annotations.items() <= meta.annotations.items():
            return
        patch: dict[str, Any] = {"metadata": {"annotations": annotations}}
        if size != count:
            patch["spec"] = {"replicas": count}
        await self.patch(replica_set, patch)
        if size != count:
            direction = "up" if count > size else "down"
            message = f"Scaled {direction} replica set {meta.name} from {size} to {count}"
            self.tell("Normal", "ScalingReplicaSet", message)

    async def patch(self, replica_set: ReplicaSet, patch: Mapping[str, Any]) -> None:
        """Change a replica set and hold it as it is then."""
        meta = replica_set.metadata
        guarded = {**patch.get("metadata", {}), "uid": meta.uid, "resourceVersion": meta.resource_version}
        patched = await self._client.patch(REPLICA_SETS, meta.namespace, meta.name, {**patch, "metadata": guarded})
        self._take(patched)
        if self.new is not None and self.new.metadata.uid == meta.uid:
            self.new = patched
        else:
            self.old = [patched if each.metadata.uid == meta.uid else each for each in self.old]

    async def delete(self, replica_set: ReplicaSet) -> None:
        """Delete a replica set, if it is still as it was read: it may have been scaled up since."""
        meta = replica_set.metadata
        try:
            await self._client.delete(
                REPLICA_SETS, meta.namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
            )
        except NotFoundError:
            log.debug("replica set %s/%s was gone already", meta.namespace, meta.name)

    @property
    def can_wait(self) -> bool:
        """Whether what is to be written of the status are newer numbers, and nothing that anybody waits for."""
        return not self._revises and conditions.merely_keeps_up(self.deployment, self.status)

    @property
    def is_told(self) -> bool:
        """Whether the deployment says all that there is to say of it."""
        return self.status == self.deployment.status and not self._revises

    async def write_status(self) -> Deployment | None:
        """Write the status, and with it the revision, if they are not so already; return what was written."""
        if self.is_told:
            return None
        meta = self.deployment.metadata
        annotations = self._annotation() if self._revises else {}
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, **annotations},
            "status": conditions.as_patch(self.status),
        }
        try:
            return await self._client.patch(DEPLOYMENTS, meta.namespace, meta.name, patch, subresource="status")
        except NotFoundError:
            log.debug("deployment %s/%s was deleted meanwhile", meta.namespace, meta.name)
            return None

    @property
    def _revises(self) -> bool:
        return self.deployment.metadata.annotations.get(revisions.REVISION, "") != self.revision

    def _annotation(self) -> dict[str, dict[str, str]]:
        return {"annotations": {revisions.REVISION: self.revision}}

    def _take(self, written: ReplicaSet) -> None:
        self.written.append(written)
