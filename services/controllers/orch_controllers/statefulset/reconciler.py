"""The stateful set's reconciliation: its revisions, one step over its pods, the status."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from orch.errors import NotFoundError, OrchError
from orch.objects.apps import ControllerRevision, StatefulSet
from orch.objects.pods import Pod, PodTemplate
from orch.objects.scheme import PODS, STATEFUL_SETS
from orch.objects.storage import PersistentVolumeClaim
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import Selector, from_label_selector
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import Written
from orch_controllers.ownership import (
    Claims,
    claimable,
    concerns_adopters,
    index_by_controller,
    owner_keys,
)
from orch_controllers.pod_state import available_in
from orch_controllers.revision_history.history import RevisionHistory
from orch_controllers.revision_history.revisions import choose, superfluous, template_of
from orch_controllers.slow_start import slow_start
from orch_controllers.statefulset.identity import REVISION, is_member, parse
from orch_controllers.statefulset.plan import Action, Create, Fill, Identify, Own, Remove, Situation, plan
from orch_controllers.statefulset.pods import StatefulPods
from orch_controllers.statefulset.status import Progress, as_patch, status_of

log = logging.getLogger(__name__)

_HASH: Final = "controller.kubernetes.io/hash"
_AWAIT_INFORMER: Final = 0.5


class _Step(msgspec.Struct, frozen=True):
    """What one reconciliation works on."""

    key: Key
    owner: StatefulSet
    pods: Sequence[Pod]
    current: ControllerRevision
    update: ControllerRevision
    collisions: int
    templates: Mapping[str, PodTemplate]
    progress: Progress


class StatefulSetReconciler:
    """Reconciles stateful sets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._sets = context.informers.of(STATEFUL_SETS)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)
        self._history = RevisionHistory(context, STATEFUL_SETS, _HASH)
        self._stateful = StatefulPods(context)
        self._written = Written(self._sets)
        self.keys_of_revision = self._history.keys_of_revision

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the sets that a pod's change concerns: its controllers, or who could adopt it."""
        keys = owner_keys(change, STATEFUL_SETS)
        if concerns_adopters(change):
            item = change.item
            candidate = self._sets.get(item.namespace, parse(item.name)[0])
            if candidate is not None and _selector(candidate.object).matches(item.labels):
                keys.add(Key(candidate.namespace, candidate.name))
        return keys

    def keys_of_claim(self, change: Change[PersistentVolumeClaim]) -> Iterable[Key]:
        """Return the sets that wait for a claim to go, or have lost one."""
        if change.new is not None or change.old is None:
            return ()
        gone = change.old
        keys: set[Key] = set()
        for owner in gone.object.metadata.owner_references:
            if owner.kind == STATEFUL_SETS.name:
                keys.add(Key(gone.namespace, owner.name))
            elif owner.kind == PODS.name and (name := parse(owner.name)[0]):
                keys.add(Key(gone.namespace, name))
        return keys

    async def reconcile(self, key: Key) -> Result:
        """Take one stateful set's next step."""
        item = self._sets.get(key.namespace, key.name)
        if item is None:
            for each in (self._stateful, self._history, self._written):
                each.forget(key)
            return DONE
        if not (await self._stateful.shown(key) and self._history.shown(key) and self._written.shown(key)):
            return Result(_AWAIT_INFORMER)
        owner = item.object
        selector = _selector(owner)
        claims = Claims(self._client, PODS, STATEFUL_SETS, owner, selector, partial(is_member, key.name))
        pods = await claims.claim(claimable(self._pods, key.namespace, item.uid))
        revisions = await self._history.of(owner, selector)
        if owner.metadata.deletion_timestamp and not choose(revisions, owner.spec.template).is_settled:
            return DONE  # nothing is made for what is going away
        step = await self._begin(key, owner, pods, revisions)
        failure = None if owner.metadata.deletion_timestamp else await self._take(step)
        await self._write_status(step)
        await self._clear_history(step, revisions)
        if failure is not None and not is_namespace_terminating(failure):
            raise failure
        return Result(self._next_availability(owner, pods))

    async def _begin(
        self, key: Key, owner: StatefulSet, pods: Sequence[Pod], revisions: list[ControllerRevision]
    ) -> _Step:
        """Find the revision of the template, and the one before it while an update is under way."""
        before = owner.status.collision_count or 0
        template = owner.spec.template
        update, collisions = await self._history.current(key, owner, template, revisions, before)
        current = next((each for each in revisions if each.metadata.name == owner.status.current_revision), update)
        templates = {current.metadata.name: template_of(current), update.metadata.name: template}
        return _Step(key, owner, pods, current, update, collisions, templates, Progress())

    async def _take(self, step: _Step) -> OrchError | None:
        """Do what is to be done; return what failed. What comes after a failure is left for another time."""
        namespace = step.owner.metadata.namespace
        situation = Situation(
            owner=step.owner,
            pods=step.pods,
            current=step.current.metadata.name,
            update=step.update.metadata.name,
            claim=lambda name: self._stateful.claim(namespace, name),
            now=self._clock.now(),
        )
        for stage in plan(situation):
            failure = await self._do_all(step, stage, one_by_one=situation.ordered)
            if failure is not None:
                return failure
        return None

    async def _do_all(self, step: _Step, stage: Sequence[Action], *, one_by_one: bool) -> OrchError | None:
        _, failure = await slow_start(stage, lambda action: self._do(step, action), 1 if one_by_one else 256)
        return failure

    async def _do(self, step: _Step, action: Action) -> None:
        key, owner = step.key, step.owner
        match action:
            case Create(ordinal, revision):
                pod = await self._stateful.create(key, owner, step.templates[revision], revision, ordinal)
                step.progress.created.append(pod)
            case Remove(pod):
                await self._stateful.remove(key, owner, pod)
                step.progress.removed.add(pod.metadata.uid)
            case Fill(pod):
                await self._stateful.fill(key, owner, pod)
            case Identify(pod):
                await self._stateful.identify(key, owner, pod)
            case Own(pod):
                await self._stateful.own(key, owner, pod)

    async def _write_status(self, step: _Step) -> None:
        owner = step.owner
        status = status_of(
            owner,
            step.pods,
            step.progress,
            step.current.metadata.name,
            step.update.metadata.name,
            step.collisions,
            self._clock.now(),
        )
        if status == owner.status:
            return
        meta = owner.metadata
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": as_patch(status)}
        try:
            made = await self._client.patch(STATEFUL_SETS, meta.namespace, meta.name, patch, subresource="status")
        except NotFoundError:
            log.debug("stateful set %s/%s was deleted meanwhile", meta.namespace, meta.name)
        else:
            self._written.note(step.key, made)

    async def _clear_history(self, step: _Step, revisions: Sequence[ControllerRevision]) -> None:
        live = {pod.metadata.labels.get(REVISION, "") for pod in (*step.pods, *step.progress.created)}
        live |= {step.current.metadata.name, step.update.metadata.name}
        await self._history.clear(superfluous(revisions, live, step.owner.spec.revision_history_limit))

    def _next_availability(self, owner: StatefulSet, pods: Iterable[Pod]) -> float | None:
        """Return in how many seconds the next ready pod has been ready for long enough."""
        if not owner.spec.min_ready_seconds:
            return None
        now = self._clock.now()
        waits = [available_in(pod, owner.spec.min_ready_seconds, now) for pod in pods]
        return min((wait for wait in waits if wait), default=None)


def _selector(owner: StatefulSet) -> Selector:
    return from_label_selector(owner.spec.selector)
