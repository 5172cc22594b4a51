"""The deployment's reconciliation: a list of ordered steps over one rollout, and one final write of the status."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from orch.runtime.events import reference

from orch.errors import AlreadyExistsError, ConflictError, InvalidError, NotFoundError, OrchError
from orch.objects.apps import Deployment, DeploymentStatus, ReplicaSet
from orch.objects.pods import Pod
from orch.objects.scheme import DEPLOYMENTS, PODS, REPLICA_SETS
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import Selector, from_label_selector
from orch_controllers.context import Context
from orch_controllers.deployment import conditions, revisions, scaling
from orch_controllers.ownership import Claims
from orch_controllers.pod_state import FINISHED

log = logging.getLogger(__name__)

_POD_OWNER: Final = "deployment/pod-owner"


class Rollout(msgspec.Struct):
    """What one reconciliation works on. `new` is the template's replica set; `status` is written at the end."""

    deployment: Deployment
    new: ReplicaSet | None
    old: list[ReplicaSet]
    status: DeploymentStatus

    @property
    def all_sets(self) -> list[ReplicaSet]:
        """Every replica set, old ones first."""
        return [*self.old, *([self.new] if self.new is not None else [])]


class DeploymentReconciler:
    """Reconciles deployments."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._clock = context.clock
        self._deployments = context.informers.of(DEPLOYMENTS)
        self._sets = context.informers.of(REPLICA_SETS)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, _POD_OWNER, _owner_uid)
        self._written: dict[str, int] = {}

    def keys_of_set(self, change: Change[ReplicaSet]) -> Iterable[Key]:
        """Return the deployments that a replica set's change concerns."""
        keys: set[Key] = set()
        for item in (change.old, change.new):
            if item is None:
                continue
            owner = item.object.metadata.controller
            if owner is None:
                for each in self._deployments.items(item.namespace):
                    if _selector(each.object).matches(item.labels):
                        keys.add(Key(each.namespace, each.name))
            elif owner.kind == DEPLOYMENTS.name:
                keys.add(Key(item.namespace, owner.name))
        return keys

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the deployment that waits for a pod to go: only Recreate does."""
        gone = change.old
        if gone is None or (change.new is not None and change.new.object.status.phase not in FINISHED):
            return ()
        owner = gone.object.metadata.controller
        parent = self._sets.get(gone.namespace, owner.name) if owner is not None else None
        above = parent.object.metadata.controller if parent is not None else None
        if above is None or above.kind != DEPLOYMENTS.name:
            return ()
        return (Key(gone.namespace, above.name),)

    async def reconcile(self, key: Key) -> Result:
        """Take the next step of one deployment's rollout."""
        item = self._deployments.get(key.namespace, key.name)
        if item is None:
            return DONE
        deployment = item.object
        if deployment.spec.selector == type(deployment.spec.selector)():
            self._tell(deployment, "Warning", "SelectingAll", "This deployment is selecting all pods.")
            return DONE
        if not self._is_current(item):
            return Result(0.05)
        rollout = await self._begin(item)
        if deployment.metadata.deletion_timestamp:
            rollout.status = conditions.counts(deployment, rollout.new, rollout.all_sets)
            await self._write_status(rollout)
            return DONE
        failure: OrchError | None = None
        try:
            await self._step(rollout)
        except OrchError as error:
            failure = error
        self._conclude(rollout)
        await self._write_status(rollout)
        if failure is not None:
            raise failure
        left = conditions.seconds_left(deployment, rollout.status, self._clock.now())
        return Result(max(left, 0.0) + 1) if left is not None else DONE

    def _is_current(self, item: Item[Deployment]) -> bool:
        """Return whether the informers have shown what was last written for this deployment."""
        return self._written.get(item.uid, 0) <= self._sets.revision

    async def _begin(self, item: Item[Deployment]) -> Rollout:
        deployment = item.object
        claims = Claims(self._client, REPLICA_SETS, DEPLOYMENTS, deployment, _selector(deployment))
        sets = await claims.claim([each.object for each in self._sets.items(item.namespace)])
        new, old = revisions.new_and_old(deployment, sets)
        return Rollout(deployment, new, old, deployment.status)

    async def _step(self, rollout: Rollout) -> None:
        """Do what the deployment's state asks for: hold, follow a change of scale, or roll."""
        deployment = rollout.deployment
        self._note_pause(rollout)
        if deployment.spec.paused:
            await self._follow_scale(rollout)
            await self._clean_up(rollout)
        elif scaling.was_scaled(deployment, rollout.all_sets):
            await self._follow_scale(rollout)
        elif deployment.spec.strategy.type == "Recreate":
            await self._recreate(rollout)
        else:
            await self._roll(rollout)

    def _note_pause(self, rollout: Rollout) -> None:
        """Say in the Progressing condition that the rollout was paused or resumed, so that its deadline stops."""
        if conditions.deadline(rollout.deployment) is None:
            return
        current = conditions.find(rollout.status.conditions, conditions.PROGRESSING)
        paused = current is not None and current.reason == "DeploymentPaused"
        if current is not None and current.reason == conditions.DEADLINE_EXCEEDED:
            return
        now = self._clock.now()
        if rollout.deployment.spec.paused and not paused:
            word = conditions.condition(
                conditions.PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now
            )
        elif not rollout.deployment.spec.paused and paused:
            word = conditions.condition(
                conditions.PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now
            )
        else:
            return
        kept = conditions.put(rollout.status.conditions, word)
        rollout.status = msgspec.structs.replace(rollout.status, conditions=kept)

    async def _roll(self, rollout: Rollout) -> None:
        await self._ensure_new(rollout)
        if rollout.new is None:
            return
        wanted = scaling.new_size(rollout.deployment, rollout.new, rollout.all_sets)
        if scaling.size(rollout.new) > scaling.desired(rollout.deployment):
            wanted = scaling.desired(rollout.deployment)
        if wanted != scaling.size(rollout.new):
            rollout.new = await self._scale(rollout, rollout.new, wanted)
            return
        shrunk = scaling.scale_down_old(rollout.deployment, rollout.new, rollout.old)
        for replica_set, count in shrunk:
            await self._replace_old(rollout, replica_set, count)
        if not shrunk and self._is_done(rollout):
            await self._clean_up(rollout)

    async def _recreate(self, rollout: Rollout) -> None:
        """Let all old pods end before the first new one is made."""
        active = [each for each in rollout.old if scaling.size(each) > 0]
        for replica_set in active:
            await self._replace_old(rollout, replica_set, 0)
        if active or any(self._has_pods(each) for each in rollout.old):
            return
        await self._ensure_new(rollout)
        if rollout.new is not None and scaling.size(rollout.new) != scaling.desired(rollout.deployment):
            rollout.new = await self._scale(rollout, rollout.new, scaling.desired(rollout.deployment))
        if self._is_done(rollout):
            await self._clean_up(rollout)

    def _has_pods(self, replica_set: ReplicaSet) -> bool:
        pods = self._pods.indexed(_POD_OWNER, replica_set.metadata.uid)
        return any(pod.object.status.phase not in FINISHED for pod in pods)

    def _is_done(self, rollout: Rollout) -> bool:
        status = conditions.counts(rollout.deployment, rollout.new, rollout.all_sets)
        return conditions.is_complete(rollout.deployment, status)

    async def _follow_scale(self, rollout: Rollout) -> None:
        """Bring the replica sets to another total, in proportion when several are active."""
        deployment = rollout.deployment
        active = [each for each in rollout.all_sets if scaling.size(each) > 0]
        latest = rollout.new if rollout.new is not None else (rollout.old[-1] if rollout.old else None)
        if len(active) <= 1:
            single = active[0] if active else latest
            if single is not None and scaling.size(single) != scaling.desired(deployment):
                await self._replace(rollout, single, scaling.desired(deployment))
            elif single is not None:
                await self._replace(rollout, single, scaling.size(single))
            return
        if rollout.new is not None and self._is_saturated(rollout):
            for replica_set in [each for each in active if each is not rollout.new]:
                await self._replace_old(rollout, replica_set, 0)
            return
        if deployment.spec.strategy.type == "RollingUpdate":
            for replica_set, count in scaling.proportionally(deployment, active):
                await self._replace(rollout, replica_set, count)

    def _is_saturated(self, rollout: Rollout) -> bool:
        new, wanted = rollout.new, scaling.desired(rollout.deployment)
        return new is not None and scaling.size(new) == wanted and new.status.available_replicas == wanted

    async def _replace(self, rollout: Rollout, replica_set: ReplicaSet, count: int) -> None:
        if rollout.new is not None and replica_set.metadata.uid == rollout.new.metadata.uid:
            rollout.new = await self._scale(rollout, replica_set, count)
        else:
            await self._replace_old(rollout, replica_set, count)

    async def _replace_old(self, rollout: Rollout, replica_set: ReplicaSet, count: int) -> None:
        scaled = await self._scale(rollout, replica_set, count)
        uid = scaled.metadata.uid
        rollout.old = [scaled if each.metadata.uid == uid else each for each in rollout.old]

    async def _ensure_new(self, rollout: Rollout) -> None:
        """Find or create the template's replica set, and give it its revision and the deployment's annotations."""
        deployment = rollout.deployment
        revision = revisions.next_revision(rollout.old)
        annotations = revisions.annotations_for(deployment, rollout.new, revision)
        if rollout.new is None:
            await self._create_new(rollout, {**annotations, **scaling.scale_annotations(deployment)})
        else:
            await self._update_new(rollout, rollout.new, annotations)
        if rollout.new is not None:
            await self._note_revision(rollout, rollout.new)

    async def _update_new(self, rollout: Rollout, new: ReplicaSet, annotations: dict[str, str]) -> None:
        patch: dict[str, Any] = {}
        if annotations != new.metadata.annotations:
            patch["metadata"] = {"annotations": annotations}
        if new.spec.min_ready_seconds != rollout.deployment.spec.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": rollout.deployment.spec.min_ready_seconds}
        if patch:
            rollout.new = await self._patch_set(rollout, new, patch)
        if conditions.find(rollout.status.conditions, conditions.PROGRESSING) is None:
            self._progressing(rollout, "FoundNewReplicaSet", f'Found new replica set "{new.metadata.name}"')

    async def _create_new(self, rollout: Rollout, annotations: dict[str, str]) -> None:
        deployment = rollout.deployment
        hash_ = revisions.template_hash(deployment.spec.template, deployment.status.collision_count or 0)
        count = scaling.new_size(deployment, None, rollout.old)
        body = revisions.replica_set_for(deployment, hash_, count, annotations)
        name = body["metadata"]["name"]
        try:
            rollout.new = await self._client.create(REPLICA_SETS, deployment.metadata.namespace, body)
        except AlreadyExistsError:
            await self._settle_collision(rollout, name)
            return
        except (ConflictError, InvalidError, OrchError) as error:
            message = f'Failed to create new replica set "{name}": {error}'
            self._progressing(rollout, "ReplicaSetCreateError", message, status="False")
            self._tell(deployment, "Warning", "ReplicaSetCreateError", message)
            raise
        self._remember(deployment, rollout.new)
        self._progressing(rollout, "NewReplicaSetCreated", f'Created new replica set "{name}"')
        if count:
            self._tell(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {count}")

    async def _settle_collision(self, rollout: Rollout, name: str) -> None:
        """Take the set that has the name if it is ours and of this template, else count the collision and hash anew."""
        deployment = rollout.deployment
        found = await self._client.get(REPLICA_SETS, deployment.metadata.namespace, name)
        owner = found.metadata.controller
        ours = owner is not None and owner.uid == deployment.metadata.uid
        if ours and revisions.same_template(found.spec.template, deployment.spec.template):
            rollout.new = found
            return
        collisions = (deployment.status.collision_count or 0) + 1
        rollout.status = msgspec.structs.replace(rollout.status, collision_count=collisions)

    async def _note_revision(self, rollout: Rollout, new: ReplicaSet) -> None:
        revision = new.metadata.annotations.get(revisions.REVISION, "")
        meta = rollout.deployment.metadata
        if meta.annotations.get(revisions.REVISION) != revision:
            patch = {"metadata": {"uid": meta.uid, "annotations": {revisions.REVISION: revision}}}
            await self._client.patch(DEPLOYMENTS, meta.namespace, meta.name, patch)

    async def _scale(self, rollout: Rollout, replica_set: ReplicaSet, count: int) -> ReplicaSet:
        deployment = rollout.deployment
        annotations = scaling.scale_annotations(deployment)
        size, meta = scaling.size(replica_set), replica_set.metadata
        if size == count and annotations.items() <= meta.annotations.items():
            return replica_set
        patch = {"metadata": {"annotations": annotations}, "spec": {"replicas": count}}
        scaled = await self._patch_set(rollout, replica_set, patch)
        if size != count:
            direction = "up" if count > size else "down"
            message = f"Scaled {direction} replica set {meta.name} from {size} to {count}"
            self._tell(deployment, "Normal", "ScalingReplicaSet", message)
        return scaled

    async def _patch_set(self, rollout: Rollout, replica_set: ReplicaSet, patch: dict[str, Any]) -> ReplicaSet:
        meta = replica_set.metadata
        guarded = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": meta.resource_version}}
        patched = await self._client.patch(REPLICA_SETS, meta.namespace, meta.name, guarded)
        self._remember(rollout.deployment, patched)
        return patched

    def _remember(self, deployment: Deployment, written: ReplicaSet) -> None:
        if len(self._written) > 100_000:
            self._written.clear()
        uid = deployment.metadata.uid
        self._written[uid] = max(self._written.get(uid, 0), int(written.metadata.resource_version))

    async def _clean_up(self, rollout: Rollout) -> None:
        """Delete old revisions beyond the history limit."""
        for replica_set in revisions.superfluous(rollout.deployment, rollout.old):
            meta = replica_set.metadata
            try:
                await self._client.delete(REPLICA_SETS, meta.namespace, meta.name, uid=meta.uid)
            except NotFoundError:
                log.debug("replica set %s/%s was gone already", meta.namespace, meta.name)

    def _progressing(self, rollout: Rollout, reason: str, message: str, *, status: str = "True") -> None:
        if conditions.deadline(rollout.deployment) is None:
            return
        word = conditions.condition(conditions.PROGRESSING, status, reason, message, self._clock.now())
        kept = conditions.put(rollout.status.conditions, word)
        rollout.status = msgspec.structs.replace(rollout.status, conditions=kept)

    def _conclude(self, rollout: Rollout) -> None:
        """Work out the status that is to be written."""
        deployment, now = rollout.deployment, self._clock.now()
        noted, collisions = rollout.status.conditions, rollout.status.collision_count
        status = conditions.counts(deployment, rollout.new, rollout.all_sets)
        status = msgspec.structs.replace(status, conditions=noted, collision_count=collisions)
        if not deployment.spec.paused:
            kept = conditions.progress(deployment, status, rollout.new, now)
            status = msgspec.structs.replace(status, conditions=kept)
        kept = conditions.put(status.conditions, conditions.availability(deployment, status, now))
        failing = _failure(rollout.all_sets)
        if failing is None:
            kept = conditions.drop(kept, conditions.REPLICA_FAILURE)
        else:
            word = conditions.condition(conditions.REPLICA_FAILURE, "True", failing.reason, failing.message, now)
            kept = conditions.put(kept, word)
        rollout.status = msgspec.structs.replace(status, conditions=kept)

    async def _write_status(self, rollout: Rollout) -> None:
        deployment = rollout.deployment
        if rollout.status == deployment.status:
            return
        meta = deployment.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": conditions.as_patch(rollout.status)}
        try:
            await self._client.patch(DEPLOYMENTS, meta.namespace, meta.name, patch, subresource="status")
        except NotFoundError:
            log.debug("deployment %s/%s was deleted meanwhile", meta.namespace, meta.name)

    def _tell(self, deployment: Deployment, kind: str, reason: str, message: str) -> None:
        self._recorder.event(reference(DEPLOYMENTS, deployment), kind, reason, message)  # pyright: ignore[reportArgumentType]


def _failure(sets: Sequence[ReplicaSet]) -> Any:
    for each in sets:
        found = conditions.find(each.status.conditions, conditions.REPLICA_FAILURE)
        if found is not None and found.status == "True":
            return found
    return None


def _selector(deployment: Deployment) -> Selector:
    return from_label_selector(deployment.spec.selector)


def _owner_uid(item: Item[Pod]) -> Iterable[str]:
    owner = item.object.metadata.controller
    return (owner.uid,) if owner is not None else ()
