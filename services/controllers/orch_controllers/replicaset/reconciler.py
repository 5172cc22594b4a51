"""The replica set's reconciliation: claim pods, create or delete the difference, write the status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from orch.runtime.events import reference

from orch.clock import rfc3339
from orch.errors import ApiError, ForbiddenError, InvalidError, NotFoundError, OrchError
from orch.objects.apps import ReplicaSet
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.objects.scheme import PODS, REPLICA_SETS
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import from_label_selector
from orch_controllers.context import Context
from orch_controllers.expectations import Expectations
from orch_controllers.ownership import Claims, controller_reference
from orch_controllers.pod_state import available_in, is_active, is_ready
from orch_controllers.replicaset.ranking import first_to_go

BURST: Final = 500
"""Pods that one reconciliation creates or deletes at most."""

_BY_OWNER: Final = "replicaset/owner"
_BY_NAMESPACE: Final = "replicaset/orphans"
_AWAIT_INFORMER: Final = 1.0


class ReplicaSetReconciler:
    """Reconciles replica sets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._clock = context.clock
        self._sets = context.informers.of(REPLICA_SETS)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, _BY_OWNER, _owner_uid)
        context.informers.index(PODS, _BY_NAMESPACE, _orphan_namespace)
        self._expectations = Expectations(self._pods, context.clock)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the replica sets that a pod's change concerns: its controllers, or who could adopt it."""
        keys: set[Key] = set()
        for item in (change.old, change.new):
            if item is None:
                continue
            owner = item.object.metadata.controller
            if owner is not None:
                if owner.kind == REPLICA_SETS.name:
                    keys.add(Key(item.namespace, owner.name))
                continue
            for candidate in self._sets.items(item.namespace):
                if from_label_selector(candidate.object.spec.selector).matches(item.labels):
                    keys.add(Key(candidate.namespace, candidate.name))
        return keys

    async def reconcile(self, key: Key) -> Result:
        """Bring one replica set to its number of pods."""
        item = self._sets.get(key.namespace, key.name)
        if item is None:
            self._expectations.forget(key)
            return DONE
        if not self._expectations.satisfied(key):
            return Result(_AWAIT_INFORMER)
        owner = item.object
        claims = Claims(self._client, PODS, REPLICA_SETS, owner, from_label_selector(owner.spec.selector))
        pods = await claims.claim(self._candidates(item))
        active = [pod for pod in pods if is_active(pod)]
        failure: OrchError | None = None
        if not owner.metadata.deletion_timestamp:
            try:
                await self._scale(key, item, active)
            except OrchError as error:
                failure = error
        await self._write_status(owner, pods, active, failure)
        if failure is not None:
            raise failure
        return Result(self._next_availability(owner, active))

    def _candidates(self, item: Item[ReplicaSet]) -> list[Pod]:
        owned = self._pods.indexed(_BY_OWNER, item.uid)
        orphans = self._pods.indexed(_BY_NAMESPACE, item.namespace)
        return [each.object for each in (*owned, *orphans)]

    async def _scale(self, key: Key, item: Item[ReplicaSet], active: Sequence[Pod]) -> None:
        wanted = 1 if item.object.spec.replicas is None else item.object.spec.replicas
        missing = wanted - len(active)
        if missing > 0:
            await self._create(key, item, min(missing, BURST))
        elif missing < 0:
            related = self._related(item.object)
            leaving = first_to_go(active, related, min(-missing, BURST), self._clock.now())
            await self._delete(key, item, leaving)

    def _related(self, owner: ReplicaSet) -> list[Pod]:
        """Return the pods of all replica sets under the same controller, whose crowding decides who goes first."""
        controller = owner.metadata.controller
        related: list[Pod] = []
        for each in self._sets.items(owner.metadata.namespace):
            parent = each.object.metadata.controller
            same = parent is not None and controller is not None and parent.uid == controller.uid
            if same or each.uid == owner.metadata.uid:
                related += [pod.object for pod in self._pods.indexed(_BY_OWNER, each.uid)]
        return [pod for pod in related if is_active(pod)]

    async def _create(self, key: Key, item: Item[ReplicaSet], count: int) -> None:
        """Create pods in batches that double, so that a template which is refused costs one request, not hundreds."""
        body = _pod_of(item.object)
        done, size = 0, 1
        while done < count:
            size = min(size, count - done)
            results = await asyncio.gather(
                *(self._client.create(PODS, key.namespace, body) for _ in range(size)), return_exceptions=True
            )
            failure: BaseException | None = None
            for result in results:
                if isinstance(result, BaseException):
                    failure = result
                    continue
                self._expectations.created(key, result)
                message = f"Created pod: {result.metadata.name}"
                self._recorder.event(reference(REPLICA_SETS, item.object), "Normal", "SuccessfulCreate", message)
            if failure is not None:
                self._tell_failure(item.object, "FailedCreate", "creating", failure)
                raise failure
            done += size
            size *= 2

    async def _delete(self, key: Key, item: Item[ReplicaSet], pods: Sequence[Pod]) -> None:
        for pod in pods:
            self._expectations.deleted(key, pod)
        results = await asyncio.gather(*(self._delete_one(pod) for pod in pods), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for pod, result in zip(pods, results, strict=True):
            if not isinstance(result, BaseException):
                message = f"Deleted pod: {pod.metadata.name}"
                self._recorder.event(reference(REPLICA_SETS, item.object), "Normal", "SuccessfulDelete", message)
        if failures:
            self._expectations.forget(key)
            self._tell_failure(item.object, "FailedDelete", "deleting", failures[0])
            raise failures[0]

    async def _delete_one(self, pod: Pod) -> None:
        meta = pod.metadata
        try:
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid)
        except NotFoundError:
            return

    def _tell_failure(self, owner: ReplicaSet, reason: str, doing: str, failure: BaseException) -> None:
        if isinstance(failure, ApiError):
            self._recorder.event(reference(REPLICA_SETS, owner), "Warning", reason, f"Error {doing}: {failure}")

    def _next_availability(self, owner: ReplicaSet, active: Sequence[Pod]) -> float | None:
        """Return in how many seconds the next ready pod has been ready for long enough."""
        now = self._clock.now()
        waits = [available_in(pod, owner.spec.min_ready_seconds, now) for pod in active]
        return min((wait for wait in waits if wait), default=None)

    async def _write_status(
        self, owner: ReplicaSet, pods: Sequence[Pod], active: Sequence[Pod], failure: OrchError | None
    ) -> None:
        status = self._status(owner, pods, active, failure)
        if status == _told(owner):
            return
        patch = {"metadata": {"uid": owner.metadata.uid}, "status": status}
        try:
            await self._client.patch(
                REPLICA_SETS, owner.metadata.namespace, owner.metadata.name, patch, subresource="status"
            )
        except NotFoundError:
            return

    def _status(
        self, owner: ReplicaSet, pods: Sequence[Pod], active: Sequence[Pod], failure: OrchError | None
    ) -> dict[str, Any]:
        now = self._clock.now()
        labels = owner.spec.template.metadata.labels.items()
        return {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(labels <= pod.metadata.labels.items() for pod in active),
            "readyReplicas": sum(is_ready(pod) for pod in active),
            "availableReplicas": sum(available_in(pod, owner.spec.min_ready_seconds, now) == 0 for pod in active),
            "terminatingReplicas": sum(bool(pod.metadata.deletion_timestamp) for pod in pods),
            "observedGeneration": owner.metadata.generation,
            "conditions": self._conditions(owner, failure),
        }

    def _conditions(self, owner: ReplicaSet, failure: OrchError | None) -> list[dict[str, Any]]:
        """Return the conditions with ReplicaFailure as it is now; it is there only while pods cannot be created."""
        others = [condition for condition in owner.status.conditions if condition.type != "ReplicaFailure"]
        if isinstance(failure, ForbiddenError | InvalidError):
            old = next((each for each in owner.status.conditions if each.type == "ReplicaFailure"), None)
            since = old.last_transition_time if old else rfc3339(self._clock.now())
            others.append(
                Condition(
                    type="ReplicaFailure",
                    status="True",
                    reason="FailedCreate",
                    message=str(failure),
                    last_transition_time=since,
                )
            )
        return [msgspec.to_builtins(condition) for condition in others]


def _told(owner: ReplicaSet) -> dict[str, Any]:
    """Return the status that the api holds, in the form of `_status`."""
    status = owner.status
    return {
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": [msgspec.to_builtins(condition) for condition in status.conditions],
    }


def _pod_of(owner: ReplicaSet) -> dict[str, Any]:
    """Return a pod of the template, to be named by the api."""
    template = owner.spec.template
    metadata: dict[str, Any] = {
        "generateName": f"{owner.metadata.name}-",
        "labels": template.metadata.labels,
        "ownerReferences": [controller_reference(REPLICA_SETS, owner.metadata)],
    }
    if template.metadata.annotations:
        metadata["annotations"] = template.metadata.annotations
    if template.metadata.finalizers:
        metadata["finalizers"] = list(template.metadata.finalizers)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}


def _owner_uid(item: Item[Pod]) -> Iterable[str]:
    owner = item.object.metadata.controller
    return (owner.uid,) if owner is not None else ()


def _orphan_namespace(item: Item[Pod]) -> Iterable[str]:
    return (item.namespace,) if item.object.metadata.controller is None else ()
