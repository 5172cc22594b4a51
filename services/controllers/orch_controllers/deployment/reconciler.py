"""The deployment's reconciliation: a list of ordered steps over one rollout, and one final write of the status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from orch.errors import AlreadyExistsError, ApiError, ConflictError, OrchError
from orch.objects.apps import Deployment, ReplicaSet
from orch.objects.pods import Pod
from orch.objects.scheme import DEPLOYMENTS, PODS, REPLICA_SETS
from orch.runtime.events import reference
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import Selector, from_label_selector
from orch_controllers.context import Context
from orch_controllers.deployment import conditions, revisions, scaling
from orch_controllers.deployment.rollout import Rollout
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import Written
from orch_controllers.ownership import (
    Claims,
    claimable,
    concerns_adopters,
    controlled,
    index_by_controller,
    owner_keys,
)
from orch_controllers.pacing import Pacing
from orch_controllers.pod_state import available_in, is_active, is_finished

_AWAIT_INFORMER: Final = 0.5
_KEEP_UP: Final = 1.0
"""Seconds between two writes of a status that merely keeps up with the pods of a rollout."""


class DeploymentReconciler:
    """Reconciles deployments."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("deployment-controller")
        self._clock = context.clock
        self._deployments = context.informers.of(DEPLOYMENTS)
        self._sets = context.informers.of(REPLICA_SETS)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)
        index_by_controller(context.informers, REPLICA_SETS)
        self._written = Written(self._sets)
        self._pacing = Pacing(self._deployments, context.clock)

    def keys_of_set(self, change: Change[ReplicaSet]) -> Iterable[Key]:
        """Return the deployments that a replica set's change concerns: its controllers, or who could adopt it."""
        keys = owner_keys(change, DEPLOYMENTS)
        if concerns_adopters(change):
            for each in self._deployments.items(change.item.namespace):
                if _selector(each.object).matches(change.item.labels):
                    keys.add(Key(each.namespace, each.name))
        return keys

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the deployment that waits for a pod to go: only Recreate does."""
        gone = change.old
        if gone is None or (change.new is not None and not is_finished(change.new.object)):
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
            self._written.forget(key)
            self._pacing.forget(key)
            return DONE
        if not self._written.shown(key):
            return Result(_AWAIT_INFORMER)  # its own last writes are not shown yet; their events bring it back
        deployment = item.object
        if _selector(deployment).everything:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._recorder.event(reference(DEPLOYMENTS, item), "Warning", "SelectingAll", message)
            return DONE
        rollout = await self._begin(item)
        try:
            return await self._advance(key, rollout)
        finally:
            for written in rollout.written:
                self._written.note(key, written)

    async def _begin(self, item: Item[Deployment]) -> Rollout:
        deployment = item.object
        claims = Claims(self._client, REPLICA_SETS, DEPLOYMENTS, deployment, _selector(deployment))
        sets = await claims.claim(claimable(self._sets, item.namespace, item.uid))
        new, old = revisions.new_and_old(deployment, sets)
        return Rollout(self._client, self._recorder, deployment, new, old)

    async def _advance(self, key: Key, rollout: Rollout) -> Result:
        if rollout.deployment.metadata.deletion_timestamp:
            self._conclude(rollout, progress=False)
            await rollout.write_status()
            return DONE
        failure: OrchError | None = None
        try:
            await self._step(rollout)
        except (ConflictError, AlreadyExistsError):
            raise  # what was read was old: the status would be, too
        except ApiError as error:
            failure = error
        self._conclude(rollout, progress=not rollout.deployment.spec.paused)
        wait = 0.0 if rollout.is_told or not rollout.can_wait else self._pacing.wait(key)
        if not wait and (written := await rollout.write_status()) is not None:
            self._pacing.wrote(key, written.metadata.resource_version, _KEEP_UP)
        if failure is not None:
            raise failure
        if wait:
            return Result(wait)
        left = conditions.seconds_left(rollout.deployment, rollout.status, self._clock.now())
        return Result(max(left, 0.0) + 1) if left is not None else DONE

    async def _step(self, rollout: Rollout) -> None:
        """Do what the deployment's state asks for: hold, follow a change of scale, or roll."""
        deployment = rollout.deployment
        self._note_pause(rollout)
        if rollout.new is not None:
            await self._update_new(rollout, rollout.new)
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
        current = conditions.find(rollout.status.conditions, conditions.PROGRESSING)
        if current is not None and current.reason == conditions.DEADLINE_EXCEEDED:
            return
        paused = current is not None and current.reason == conditions.PAUSED
        if rollout.deployment.spec.paused and not paused:
            self._progressing(rollout, conditions.PAUSED, "Deployment is paused", status="Unknown")
        elif not rollout.deployment.spec.paused and paused:
            self._progressing(rollout, conditions.RESUMED, "Deployment is resumed", status="Unknown")

    async def _roll(self, rollout: Rollout) -> None:
        if rollout.new is None:
            await self._create_new(rollout)
        new = rollout.new
        if new is None:
            return
        wanted = scaling.new_size(rollout.deployment, new, rollout.old)
        if wanted != scaling.size(new):
            await rollout.scale(new, wanted)
            return
        old = [self._counted(each) for each in rollout.old]
        shrunk = scaling.scale_down_old(rollout.deployment, self._counted(new), old)
        for replica_set, count in shrunk:
            await rollout.scale(replica_set, count)
        if not shrunk:
            await self._finish(rollout)

    def _counted(self, replica_set: ReplicaSet) -> ReplicaSet:
        """Return a replica set with the available pods that it has now: its status may not have caught up with them.

        Else one whose pods have just come to serve would be shrunk as if they did not.
        """
        if scaling.size(replica_set) == 0:
            return replica_set
        now, least = self._clock.now(), replica_set.spec.min_ready_seconds
        pods = controlled(self._pods, replica_set.metadata.uid)
        available = sum(is_active(pod) and available_in(pod, least, now) == 0 for pod in pods)
        status = msgspec.structs.replace(replica_set.status, available_replicas=available)
        return msgspec.structs.replace(replica_set, status=status)

    async def _recreate(self, rollout: Rollout) -> None:
        """Let all old pods end before the first new one is made."""
        active = [each for each in rollout.old if scaling.size(each) > 0]
        for replica_set in active:
            await rollout.scale(replica_set, 0)
        if active or any(self._may_have_pods(each) for each in rollout.old):
            return
        if rollout.new is None:
            await self._create_new(rollout)
        if rollout.new is not None:
            await rollout.scale(rollout.new, scaling.desired(rollout.deployment))
            await self._finish(rollout)

    def _may_have_pods(self, replica_set: ReplicaSet) -> bool:
        if replica_set.status.replicas > 0 or not scaling.is_observed(replica_set):
            return True
        return any(not is_finished(pod) for pod in controlled(self._pods, replica_set.metadata.uid))

    async def _finish(self, rollout: Rollout) -> None:
        status = conditions.counts(rollout.deployment, rollout.new, rollout.all_sets)
        if conditions.is_complete(rollout.deployment, status):
            await self._clean_up(rollout)

    async def _follow_scale(self, rollout: Rollout) -> None:
        """Bring the replica sets to another total, in proportion when several are active."""
        deployment, active, new = rollout.deployment, rollout.active, rollout.new
        if len(active) <= 1:
            latest = new if new is not None else next(reversed(rollout.old), None)
            single = active[0] if active else latest
            if single is not None:
                await rollout.scale(single, scaling.desired(deployment))
        elif new is not None and scaling.is_saturated(deployment, new):
            for replica_set in active:
                if replica_set.metadata.uid != new.metadata.uid:
                    await rollout.scale(replica_set, 0)
        elif deployment.spec.strategy.type == "RollingUpdate":
            for replica_set, count in scaling.proportionally(deployment, active):
                await rollout.scale(replica_set, count)
        else:
            for replica_set in active:  # Recreate: what they were sized for is noted, the next step removes the old
                await rollout.scale(replica_set, scaling.size(replica_set))

    async def _update_new(self, rollout: Rollout, new: ReplicaSet) -> None:
        """Give the template's replica set its revision and what the deployment has changed beside the template."""
        deployment = rollout.deployment
        annotations = revisions.annotations_for(deployment, new, revisions.next_revision(rollout.old))
        patch: dict[str, dict[str, object]] = {}
        if annotations != new.metadata.annotations:
            patch["metadata"] = {"annotations": annotations}
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
        if patch:
            await rollout.patch(new, patch)
        rollout.revision = annotations.get(revisions.REVISION, "")
        if conditions.find(rollout.status.conditions, conditions.PROGRESSING) is None:
            self._progressing(rollout, "FoundNewReplicaSet", f'Found new replica set "{new.metadata.name}"')

    async def _create_new(self, rollout: Rollout) -> None:
        deployment = rollout.deployment
        annotations = revisions.annotations_for(deployment, None, revisions.next_revision(rollout.old))
        count = scaling.new_size(deployment, None, rollout.old)
        hash_ = revisions.template_hash(deployment.spec.template, deployment.status.collision_count or 0)
        sized = {**annotations, **scaling.scale_annotations(deployment)}
        body = revisions.replica_set_for(deployment, hash_, count, sized)
        name = body["metadata"]["name"]
        try:
            await rollout.create(body)
        except AlreadyExistsError:
            await self._settle_collision(rollout, name)
            return
        except ApiError as error:
            self._explain_failure(rollout, name, error)
            raise
        rollout.revision = annotations[revisions.REVISION]
        self._progressing(rollout, "NewReplicaSetCreated", f'Created new replica set "{name}"')
        if count:
            rollout.tell("Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {count}")

    def _explain_failure(self, rollout: Rollout, name: str, error: ApiError) -> None:
        """Tell people, unless the namespace is going away: then nothing can be created, and nothing need be."""
        if is_namespace_terminating(error):
            return
        message = f'Failed to create new replica set "{name}": {error}'
        self._progressing(rollout, "ReplicaSetCreateError", message, status="False")
        rollout.tell("Warning", "ReplicaSetCreateError", message)

    async def _settle_collision(self, rollout: Rollout, name: str) -> None:
        """Take the set that has the name if it is ours and of this template, else count the collision and hash anew."""
        deployment = rollout.deployment
        found = await rollout.find(name)
        owner = found.metadata.controller
        ours = owner is not None and owner.uid == deployment.metadata.uid
        if ours and revisions.same_template(found.spec.template, deployment.spec.template):
            rollout.new = found
            await self._update_new(rollout, found)
        else:
            rollout.note(collision_count=(deployment.status.collision_count or 0) + 1)

    async def _clean_up(self, rollout: Rollout) -> None:
        """Delete old revisions beyond the history limit."""
        for replica_set in revisions.superfluous(rollout.deployment, rollout.old):
            await rollout.delete(replica_set)

    def _progressing(self, rollout: Rollout, reason: str, message: str, *, status: str = "True") -> None:
        if conditions.deadline(rollout.deployment) is None:
            return
        word = conditions.condition(conditions.PROGRESSING, status, reason, message, self._clock.now())
        rollout.note(conditions=conditions.put(rollout.status.conditions, word))

    def _conclude(self, rollout: Rollout, *, progress: bool) -> None:
        """Work out the status that is to be written."""
        deployment, now = rollout.deployment, self._clock.now()
        counted = conditions.counts(deployment, rollout.new, rollout.all_sets)
        rollout.status = conditions.with_numbers(rollout.status, counted)
        if progress:
            rollout.note(conditions=conditions.progress(deployment, rollout.status, rollout.new, now))
        availability = conditions.availability(deployment, rollout.status, now)
        kept = conditions.put(rollout.status.conditions, availability)
        failing = conditions.failure(rollout.new, rollout.all_sets)
        without = conditions.drop(kept, conditions.REPLICA_FAILURE)
        rollout.note(conditions=without if failing is None else conditions.put(kept, failing))


def _selector(deployment: Deployment) -> Selector:
    return from_label_selector(deployment.spec.selector)
