"""The daemon set's reconciliation: its revisions, the pods that nodes should have, a step of an update, the status."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from orch.errors import AlreadyExistsError, NotFoundError, OrchError
from orch.objects.apps import ControllerRevision, DaemonSet
from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch.objects.scheme import DAEMON_SETS, NODES, PODS
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import Selector, from_label_selector
from orch_controllers.context import Context
from orch_controllers.daemonset import plan as plans
from orch_controllers.daemonset.backoff import FailedPods
from orch_controllers.daemonset.placement import Placement, fit
from orch_controllers.daemonset.plan import Plan, Situation
from orch_controllers.daemonset.pods import HASH, PodFactory
from orch_controllers.daemonset.status import as_patch, status_of
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import Expectations, Written
from orch_controllers.ownership import (
    Claims,
    claimable,
    concerns_adopters,
    index_by_controller,
    owner_keys,
)
from orch_controllers.pod_state import available_in
from orch_controllers.pod_writes import PodWrites
from orch_controllers.revision_history.history import RevisionHistory
from orch_controllers.revision_history.revisions import superfluous
from orch_controllers.slow_start import at_once, slow_start

log = logging.getLogger(__name__)

BURST: Final = 250
"""Pods that one reconciliation creates or deletes at most."""

_AWAIT_INFORMER: Final = 0.5


class _Step(msgspec.Struct, frozen=True):
    """What one reconciliation works on."""

    key: Key
    owner: DaemonSet
    pods: Sequence[Pod]
    situation: Situation
    collisions: int


class DaemonSetReconciler:
    """Reconciles daemon sets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("daemonset-controller")
        self._clock = context.clock
        self._sets = context.informers.of(DAEMON_SETS)
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)
        self._history = RevisionHistory(context, DAEMON_SETS, HASH)
        self._expectations = Expectations(self._pods, context.client, context.clock)
        self._writes = PodWrites(context.client, self._expectations)
        self._written = Written(self._sets)
        self._placement = Placement()
        self._failed = FailedPods(context.clock)
        self._uids: dict[Key, str] = {}
        self.keys_of_revision = self._history.keys_of_revision

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the daemon sets that a pod's change concerns: its controllers, or who could adopt it."""
        keys = owner_keys(change, DAEMON_SETS)
        if concerns_adopters(change):
            for candidate in self._sets.items(change.item.namespace):
                if _selector(candidate.object).matches(change.item.labels):
                    keys.add(Key(candidate.namespace, candidate.name))
        return keys

    def keys_of_node(self, change: Change[Node]) -> Iterable[Key]:
        """Return the daemon sets for which a node has become another: most changes of nodes matter to none."""
        old, new = change.old, change.new
        if old is new:
            return ()  # all are looked at again anyway
        if old is not None and new is not None and _suitability(old.object) == _suitability(new.object):
            return ()
        return [Key(item.namespace, item.name) for item in self._sets.items() if self._matters(item.object, change)]

    def _matters(self, owner: DaemonSet, change: Change[Node]) -> bool:
        spec = self._placement.spec_of(owner)
        before = fit(spec, change.old.object) if change.old is not None else None
        after = fit(spec, change.new.object) if change.new is not None else None
        if before is None or after is None:
            found = before or after
            return found is not None and found.may_stay
        return before != after

    async def reconcile(self, key: Key) -> Result:
        """Take one daemon set's next step."""
        item = self._sets.get(key.namespace, key.name)
        if item is None:
            self._forget(key)
            return DONE
        await self._expectations.settle(key)
        if not (self._expectations.satisfied(key) and self._history.shown(key) and self._written.shown(key)):
            return Result(_AWAIT_INFORMER)
        owner = item.object
        if owner.metadata.deletion_timestamp:
            return DONE
        if self._uids.get(key, item.uid) != item.uid:
            self._forget(key)  # another one of its name
        self._uids[key] = item.uid
        selector = _selector(owner)
        if selector.everything:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._tell(owner, "Warning", "SelectingAll", message)
            return DONE
        claims = Claims(self._client, PODS, DAEMON_SETS, owner, selector)
        pods = await claims.claim(claimable(self._pods, key.namespace, item.uid))
        revisions = await self._history.of(owner, selector)
        step = await self._begin(key, owner, pods, revisions)
        done, failure = await self._advance(step)
        await self._write_status(step)
        if failure is not None and not is_namespace_terminating(failure):
            raise failure
        await self._clear_history(step, revisions)
        return Result(min((*done.waits, *self._waits(owner, pods)), default=None))

    def _forget(self, key: Key) -> None:
        for each in (self._expectations, self._history, self._written):
            each.forget(key)
        if (uid := self._uids.pop(key, None)) is not None:
            self._placement.forget(uid)
            self._failed.forget(uid)

    async def _begin(
        self, key: Key, owner: DaemonSet, pods: Sequence[Pod], revisions: list[ControllerRevision]
    ) -> _Step:
        """Find the template's revision, and see what there is."""
        before = owner.status.collision_count or 0
        current, collisions = await self._history.current(key, owner, owner.spec.template, revisions, before)
        fits = self._placement.fits(owner, self._nodes.items())
        uid = owner.metadata.uid
        self._failed.keep(uid, set(fits))
        situation = Situation(
            owner=owner,
            hash=current.metadata.labels.get(HASH, current.metadata.name),
            fits=fits,
            pods=plans.by_node(pods),
            wait=partial(self._failed.wait, uid),
            now=self._clock.now(),
        )
        return _Step(key, owner, pods, situation, collisions)

    async def _advance(self, step: _Step) -> tuple[Plan, OrchError | None]:
        """Give nodes the pods that they should have; once that is so, take a step of a rolling update."""
        plan = plans.manage(step.situation)
        going = {pod.metadata.uid for pod in plan.delete[:BURST]}
        for ended in plan.ended:
            if ended.pod.metadata.uid in going:
                self._tell_of_end(step.owner, ended)
        if plan.is_empty and step.owner.spec.update_strategy.type == "RollingUpdate":
            plan = msgspec.structs.replace(plans.roll(step.situation), waits=plan.waits)
        return plan, await self._carry_out(step, plan)

    async def _carry_out(self, step: _Step, plan: Plan) -> OrchError | None:
        key, owner = step.key, step.owner
        failure = None
        if plan.create:
            factory = PodFactory(owner, self._placement.spec_of(owner), step.situation.hash)
            nodes = plan.create[:BURST]
            _, failure = await slow_start(nodes, lambda node: self._create(key, owner, factory, node))
            if failure is not None and not is_namespace_terminating(failure):
                self._tell(owner, "Warning", "FailedCreate", f"Error creating: {failure}")
        undone = await at_once(plan.delete[:BURST], lambda pod: self._delete(key, owner, pod))
        if undone is not None:
            self._tell(owner, "Warning", "FailedDelete", f"Error deleting: {undone}")
        return failure or undone

    async def _create(self, key: Key, owner: DaemonSet, factory: PodFactory, node: str) -> None:
        body = factory.body(node)
        try:
            await self._writes.create(key, body)
        except AlreadyExistsError:
            body = factory.body(node)  # another name
            await self._writes.create(key, body)
        self._tell(owner, "Normal", "SuccessfulCreate", f"Created pod: {body['metadata']['name']}")

    async def _delete(self, key: Key, owner: DaemonSet, pod: Pod) -> None:
        if await self._writes.delete(key, pod):
            self._tell(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    def _tell_of_end(self, owner: DaemonSet, ended: plans.Ended) -> None:
        meta = ended.pod.metadata
        pod = f"{meta.namespace}/{meta.name} on node {ended.node}"
        if ended.pod.status.phase == "Failed":
            self._failed.count(owner.metadata.uid, ended.node)
            self._tell(owner, "Warning", "FailedDaemonPod", f"Found failed daemon pod {pod}, will try to kill it")
        else:
            message = f"Found succeeded daemon pod {pod}, will try to delete it"
            self._tell(owner, "Normal", "SucceededDaemonPod", message)

    def _tell(self, owner: DaemonSet, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(DAEMON_SETS, owner), kind, reason, message)

    async def _write_status(self, step: _Step) -> None:
        owner = step.owner
        status = status_of(step.situation, step.collisions)
        if status == owner.status:
            return
        meta = owner.metadata
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": as_patch(status)}
        try:
            made = await self._client.patch(DAEMON_SETS, meta.namespace, meta.name, patch, subresource="status")
        except NotFoundError:
            log.debug("daemon set %s/%s was deleted meanwhile", meta.namespace, meta.name)
        else:
            self._written.note(step.key, made)

    async def _clear_history(self, step: _Step, revisions: Sequence[ControllerRevision]) -> None:
        """Delete the oldest revisions past the limit of which there are no pods; the present one does not count."""
        hashes = {pod.metadata.labels.get(HASH, "") for pod in step.pods}
        old = [each for each in revisions if each.metadata.labels.get(HASH) != step.situation.hash]
        limit = step.owner.spec.revision_history_limit
        live = {each.metadata.name for each in old if each.metadata.labels.get(HASH) in hashes}
        await self._history.clear(superfluous(old, live, limit, count_live=True))

    def _waits(self, owner: DaemonSet, pods: Iterable[Pod]) -> list[float]:
        """Return in how many seconds ready pods have been ready for long enough."""
        if not owner.spec.min_ready_seconds:
            return []
        now = self._clock.now()
        return [wait for pod in pods if (wait := available_in(pod, owner.spec.min_ready_seconds, now))]


def _suitability(node: Node) -> object:
    return node.metadata.labels, [(taint.key, taint.value, taint.effect) for taint in node.spec.taints]


def _selector(owner: DaemonSet) -> Selector:
    return from_label_selector(owner.spec.selector)
