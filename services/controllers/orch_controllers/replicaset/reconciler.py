"""The reconciliation of replica sets and replication controllers: claim pods, make or delete the difference, say so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from orch.errors import AlreadyExistsError, NotFoundError
from orch.objects.apps import ReplicaSet
from orch.objects.meta import Object
from orch.objects.pods import Pod
from orch.objects.scheme import PODS, REPLICA_SETS, Kind
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import from_label_selector
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import Expectations
from orch_controllers.ownership import (
    BY_CONTROLLER,
    Claims,
    claimable,
    concerns_adopters,
    controlled,
    index_by_controller,
    owner_keys,
)
from orch_controllers.pacing import Pacing
from orch_controllers.pod_state import available_in, is_active, is_terminating
from orch_controllers.pod_templates import generated_name, pod_of
from orch_controllers.pod_writes import PodWrites
from orch_controllers.replicaset.ranking import first_to_go
from orch_controllers.replicaset.status import Outcome, as_patch, merely_keeps_up, status_of
from orch_controllers.slow_start import at_once, slow_start

log = logging.getLogger(__name__)

BURST: Final = 500
"""Pods that one reconciliation creates or deletes at most."""

_AWAIT_INFORMER: Final = 0.5
_KEEP_UP: Final = 0.3
"""Seconds between two writes of a status that merely counts how many of the pods serve by now."""
_NAMES: Final = 4


def _itself(owner: Any) -> ReplicaSet:
    return owner


class Flavour(msgspec.Struct, frozen=True):
    """What tells replica sets from replication controllers: how they are read, and what their status has."""

    kind: Kind[Any] = REPLICA_SETS
    component: str = "replicaset-controller"
    read: Callable[[Any], ReplicaSet] = _itself
    counts_terminating: bool = True


class ReplicaSetReconciler:
    """Reconciles replica sets, or what can be read as such."""

    def __init__(self, context: Context, flavour: Flavour = Flavour()) -> None:  # noqa: B008 - it is immutable
        self._flavour = flavour
        self._client = context.client
        self._recorder = context.recorders.of(flavour.component)
        self._clock = context.clock
        self._sets = context.informers.of(flavour.kind)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)
        index_by_controller(context.informers, flavour.kind)
        self._expectations = Expectations(self._pods, context.client, context.clock)
        self._writes = PodWrites(context.client, self._expectations)
        self._pacing = Pacing(self._sets, context.clock)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the replica sets that a pod's change concerns: its controllers, or who could adopt it."""
        keys = owner_keys(change, self._flavour.kind)
        if concerns_adopters(change):
            labels = change.item.labels
            for candidate in self._sets.items(change.item.namespace):
                if from_label_selector(self._flavour.read(candidate.object).spec.selector).matches(labels):
                    keys.add(Key(candidate.namespace, candidate.name))
        return keys

    async def reconcile(self, key: Key) -> Result:
        """Bring one replica set to its number of pods."""
        item = self._sets.get(key.namespace, key.name)
        if item is None:
            self._expectations.forget(key)
            self._pacing.forget(key)
            return DONE
        await self._expectations.settle(key)
        if not self._expectations.satisfied(key):
            return Result(_AWAIT_INFORMER)
        owner = self._flavour.read(item.object)
        selector = from_label_selector(owner.spec.selector)
        claims = Claims(self._client, PODS, self._flavour.kind, owner, selector)
        candidates = claimable(self._pods, item.namespace, item.uid)
        active = await claims.claim(pod for pod in candidates if is_active(pod))
        terminating = sum(is_terminating(pod) and selector.matches(pod.metadata.labels) for pod in self._own(item.uid))
        outcome = Outcome()
        if not owner.metadata.deletion_timestamp:
            outcome = await self._scale(key, owner, active)
        wait = await self._write_status(key, owner, active, terminating, outcome)
        if outcome.failure is not None:
            raise outcome.failure
        return Result(wait or self._next_availability(owner, active))

    def _own(self, uid: str) -> list[Pod]:
        return controlled(self._pods, uid)

    async def _scale(self, key: Key, owner: ReplicaSet, active: Sequence[Pod]) -> Outcome:
        wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
        missing = wanted - len(active)
        if missing > 0:
            return await self._create(key, owner, min(missing, BURST))
        if missing < 0:
            leaving = first_to_go(active, self._related(owner), min(-missing, BURST), self._clock.now())
            return await self._delete(key, owner, leaving)
        return Outcome()

    def _related(self, owner: ReplicaSet) -> list[Pod]:
        """Return the pods of all replica sets under the same controller, whose crowding decides who goes first."""
        uids = {owner.metadata.uid}
        if (controller := owner.metadata.controller) is not None:
            uids |= {each.uid for each in self._sets.indexed(BY_CONTROLLER, controller.uid)}
        return [pod for uid in sorted(uids) for pod in self._own(uid) if is_active(pod)]

    async def _create(self, key: Key, owner: ReplicaSet, count: int) -> Outcome:
        done, failure = await slow_start([owner] * count, lambda each: self._create_one(key, each))
        if failure is not None:
            return self._explain_failure(owner, Outcome(done, failure, "FailedCreate"), "creating")
        return Outcome(done)

    async def _create_one(self, key: Key, owner: ReplicaSet) -> None:
        for attempt in range(_NAMES):
            name = generated_name(owner.metadata.name)
            try:
                await self._writes.create(key, pod_of(self._flavour.kind, owner.metadata, owner.spec.template, name))
            except AlreadyExistsError:
                if attempt == _NAMES - 1:
                    raise
            else:
                self._tell(owner, "Normal", "SuccessfulCreate", f"Created pod: {name}")
                return

    async def _delete(self, key: Key, owner: ReplicaSet, pods: Sequence[Pod]) -> Outcome:
        failure = await at_once(pods, lambda pod: self._delete_one(key, owner, pod))
        if failure is not None:
            return self._explain_failure(owner, Outcome(0, failure, "FailedDelete"), "deleting")
        return Outcome()

    async def _delete_one(self, key: Key, owner: ReplicaSet, pod: Pod) -> None:
        if await self._writes.delete(key, pod):
            self._tell(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    def _explain_failure(self, owner: ReplicaSet, outcome: Outcome, doing: str) -> Outcome:
        """Tell people, unless the namespace is going away: then nothing can be created, and nothing need be."""
        failure = outcome.failure
        if failure is None or is_namespace_terminating(failure):
            return Outcome(outcome.created)
        self._tell(owner, "Warning", outcome.reason, f"Error {doing}: {failure}")
        return outcome

    def _tell(self, owner: Object, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(self._flavour.kind, owner), kind, reason, message)

    def _next_availability(self, owner: ReplicaSet, active: Sequence[Pod]) -> float | None:
        """Return in how many seconds the next ready pod has been ready for long enough."""
        if not owner.spec.min_ready_seconds:
            return None
        now = self._clock.now()
        waits = [available_in(pod, owner.spec.min_ready_seconds, now) for pod in active]
        return min((wait for wait in waits if wait), default=None)

    async def _write_status(
        self, key: Key, owner: ReplicaSet, active: Sequence[Pod], terminating: int, outcome: Outcome
    ) -> float:
        """Write the status if it has changed; return in how many seconds that is to be done, if it is too soon."""
        status = status_of(owner, active, terminating, outcome, self._clock.now())
        if not self._flavour.counts_terminating:
            status = msgspec.structs.replace(status, terminating_replicas=None)
        if status == owner.status:
            return 0.0
        if merely_keeps_up(owner, status) and (wait := self._pacing.wait(key)):
            return wait
        meta = owner.metadata
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": as_patch(status),
        }
        try:
            written = await self._client.patch(
                self._flavour.kind, meta.namespace, meta.name, patch, subresource="status"
            )
        except NotFoundError:
            log.debug("%s %s/%s was deleted meanwhile", self._flavour.kind.name, meta.namespace, meta.name)
        else:
            self._pacing.wrote(key, written.metadata.resource_version, _KEEP_UP)
        return 0.0
