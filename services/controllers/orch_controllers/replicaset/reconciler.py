"""The replica set's reconciliation: claim pods, create or delete the difference, write the status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from orch.errors import AlreadyExistsError, NotFoundError, OrchError
from orch.objects.apps import ReplicaSet
from orch.objects.pods import Pod
from orch.objects.scheme import PODS, REPLICA_SETS
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import from_label_selector
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import UNANSWERED, Expectations
from orch_controllers.ownership import Claims, concerns_adopters
from orch_controllers.pod_state import available_in, controller_of, is_active, is_terminating, orphans_in
from orch_controllers.replicaset.pods import pod_name, pod_of
from orch_controllers.replicaset.ranking import first_to_go
from orch_controllers.replicaset.status import Outcome, as_patch, status_of

log = logging.getLogger(__name__)

BURST: Final = 500
"""Pods that one reconciliation creates or deletes at most."""
BY_CONTROLLER: Final = "replicaset/controller"

_AWAIT_INFORMER: Final = 0.5
_NAMES: Final = 4


class ReplicaSetReconciler:
    """Reconciles replica sets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("replicaset-controller")
        self._clock = context.clock
        self._sets = context.informers.of(REPLICA_SETS)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, BY_CONTROLLER, controller_of)
        self._expectations = Expectations(self._pods, context.client, context.clock)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the replica sets that a pod's change concerns: its controllers, or who could adopt it."""
        keys: set[Key] = set()
        for item in (change.old, change.new):
            owner = item.object.metadata.controller if item is not None else None
            if item is not None and owner is not None and owner.kind == REPLICA_SETS.name:
                keys.add(Key(item.namespace, owner.name))
        if concerns_adopters(change):
            labels = change.item.labels
            for candidate in self._sets.items(change.item.namespace):
                if from_label_selector(candidate.object.spec.selector).matches(labels):
                    keys.add(Key(candidate.namespace, candidate.name))
        return keys

    async def reconcile(self, key: Key) -> Result:
        """Bring one replica set to its number of pods."""
        item = self._sets.get(key.namespace, key.name)
        if item is None:
            self._expectations.forget(key)
            return DONE
        await self._expectations.settle(key)
        if not self._expectations.satisfied(key):
            return Result(_AWAIT_INFORMER)
        owner = item.object
        selector = from_label_selector(owner.spec.selector)
        owned = [each.object for each in self._pods.indexed(BY_CONTROLLER, item.uid)]
        orphans = [each.object for each in self._pods.indexed(BY_CONTROLLER, orphans_in(item.namespace))]
        claims = Claims(self._client, PODS, REPLICA_SETS, owner, selector)
        active = await claims.claim(pod for pod in (*owned, *orphans) if is_active(pod))
        terminating = sum(is_terminating(pod) and selector.matches(pod.metadata.labels) for pod in owned)
        outcome = Outcome()
        if not owner.metadata.deletion_timestamp:
            outcome = await self._scale(key, item, active)
        await self._write_status(owner, active, terminating, outcome)
        if outcome.failure is not None:
            raise outcome.failure
        return Result(self._next_availability(owner, active))

    async def _scale(self, key: Key, item: Item[ReplicaSet], active: Sequence[Pod]) -> Outcome:
        wanted = 1 if item.object.spec.replicas is None else item.object.spec.replicas
        missing = wanted - len(active)
        if missing > 0:
            return await self._create(key, item, min(missing, BURST))
        if missing < 0:
            related = self._related(item.object)
            return await self._delete(key, item, first_to_go(active, related, min(-missing, BURST), self._clock.now()))
        return Outcome()

    def _related(self, owner: ReplicaSet) -> list[Pod]:
        """Return the pods of all replica sets under the same controller, whose crowding decides who goes first."""
        controller = owner.metadata.controller
        related: list[Pod] = []
        for each in self._sets.items(owner.metadata.namespace):
            parent = each.object.metadata.controller
            same = parent is not None and controller is not None and parent.uid == controller.uid
            if same or each.uid == owner.metadata.uid:
                related += [pod.object for pod in self._pods.indexed(BY_CONTROLLER, each.uid)]
        return [pod for pod in related if is_active(pod)]

    async def _create(self, key: Key, item: Item[ReplicaSet], count: int) -> Outcome:
        """Create pods in batches that double, so that a template which is refused costs one request, not hundreds."""
        done, size = 0, 1
        while done < count:
            size = min(size, count - done)
            results = await asyncio.gather(
                *(self._create_one(key, item.object) for _ in range(size)), return_exceptions=True
            )
            failures = _failures(results)
            done += size - len(failures)
            if failures:
                return self._explain_failure(item, Outcome(done, failures[0], "FailedCreate"), "creating")
            size *= 2
        return Outcome(done)

    async def _create_one(self, key: Key, owner: ReplicaSet) -> None:
        for attempt in range(_NAMES):
            name = pod_name(owner)
            try:
                pod = await self._client.create(PODS, key.namespace, pod_of(owner, name))
            except AlreadyExistsError:
                if attempt == _NAMES - 1:
                    raise
            except (*UNANSWERED, asyncio.CancelledError):
                self._expectations.doubt(key, name)
                raise
            else:
                self._expectations.created(key, pod)
                self._tell(owner, "Normal", "SuccessfulCreate", f"Created pod: {name}")
                return

    async def _delete(self, key: Key, item: Item[ReplicaSet], pods: Sequence[Pod]) -> Outcome:
        results = await asyncio.gather(
            *(self._delete_one(key, item.object, pod) for pod in pods), return_exceptions=True
        )
        failures = _failures(results)
        if failures:
            return self._explain_failure(item, Outcome(0, failures[0], "FailedDelete"), "deleting")
        return Outcome()

    async def _delete_one(self, key: Key, owner: ReplicaSet, pod: Pod) -> None:
        meta = pod.metadata
        self._expectations.leaves(key, pod)
        try:
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid)
        except NotFoundError:
            log.debug("pod %s/%s was gone already", meta.namespace, meta.name)
            return
        except (*UNANSWERED, asyncio.CancelledError):
            self._expectations.doubt(key, meta.name)
            raise
        except OrchError:
            self._expectations.stays(key, pod)
            raise
        self._tell(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name}")

    def _explain_failure(self, item: Item[ReplicaSet], outcome: Outcome, doing: str) -> Outcome:
        """Tell people, unless the namespace is going away: then nothing can be created, and nothing need be."""
        failure = outcome.failure
        if failure is None or is_namespace_terminating(failure):
            return Outcome(outcome.created)
        self._tell(item.object, "Warning", outcome.reason, f"Error {doing}: {failure}")
        return outcome

    def _tell(self, owner: ReplicaSet, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(REPLICA_SETS, owner), kind, reason, message)

    def _next_availability(self, owner: ReplicaSet, active: Sequence[Pod]) -> float | None:
        """Return in how many seconds the next ready pod has been ready for long enough."""
        now = self._clock.now()
        waits = [available_in(pod, owner.spec.min_ready_seconds, now) for pod in active]
        return min((wait for wait in waits if wait), default=None)

    async def _write_status(self, owner: ReplicaSet, active: Sequence[Pod], terminating: int, outcome: Outcome) -> None:
        status = status_of(owner, active, terminating, outcome, self._clock.now())
        if status == owner.status:
            return
        meta = owner.metadata
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": as_patch(status),
        }
        try:
            await self._client.patch(REPLICA_SETS, meta.namespace, meta.name, patch, subresource="status")
        except NotFoundError:
            log.debug("replica set %s/%s was deleted meanwhile", meta.namespace, meta.name)


def _failures(results: Iterable[BaseException | None]) -> list[Exception]:
    """Return what failed; anything but an error that the client raises is a mistake of ours, and raised."""
    found: list[Exception] = []
    for result in results:
        if isinstance(result, OrchError):
            found.append(result)
        elif result is not None:
            raise result
    return found
