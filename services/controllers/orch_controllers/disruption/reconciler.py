"""The disruption budget's reconciliation: count the pods that it selects, say how many may go.

Evictions take from `disruptionsAllowed` in the api, by compare-and-swap; so does every status written here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from orch.errors import NotFoundError, TerminalError
from orch.objects.meta import LabelSelector
from orch.objects.pods import Pod
from orch.objects.policy import DisruptionBudget, DisruptionBudgetStatus
from orch.objects.scheme import DISRUPTION_BUDGETS, PODS
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import from_label_selector
from orch_controllers.context import Context
from orch_controllers.disruption.budget import as_patch, disrupted, failed_status, healthy, status_of
from orch_controllers.disruption.scale import Scales
from orch_controllers.expectations import Written
from orch_controllers.ownership import index_by_controller
from orch_controllers.pod_state import is_ready
from orch_controllers.shares import resolve

log = logging.getLogger(__name__)

_AWAIT_INFORMER: Final = 0.5


class DisruptionReconciler:
    """Reconciles disruption budgets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorders.of("controllermanager")
        self._budgets = context.informers.of(DISRUPTION_BUDGETS)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)
        self._scales = Scales(context)
        self._written = Written(self._budgets)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the budgets that select a pod, or selected it, when something changed that they count."""
        old, new = change.old, change.new
        if old is not None and new is not None and old is not new and _meaning(old.object) == _meaning(new.object):
            return ()
        labels = [item.labels for item in (old, new) if item is not None]
        keys: list[Key] = []
        for budget in self._budgets.items(change.item.namespace):
            selector = from_label_selector(budget.object.spec.selector)
            if any(map(selector.matches, labels)):
                keys.append(Key(budget.namespace, budget.name))
        return keys

    def keys_of_owner(self, change: Change[Any]) -> Iterable[Key]:
        """Return the budgets of a namespace in which something came, went or was scaled that they may count on.

        What has come counts: its pods may have been seen before it, and could not be counted then.
        """
        old, new = change.old, change.new
        if old is not None and new is not None and _scale(old.object) == _scale(new.object):
            return ()
        return [Key(each.namespace, each.name) for each in self._budgets.items(change.item.namespace)]

    async def reconcile(self, key: Key) -> Result:
        """Bring one budget's status to what its pods are."""
        item = self._budgets.get(key.namespace, key.name)
        if item is None:
            self._written.forget(key)
            return DONE
        if not self._written.shown(key):
            return Result(_AWAIT_INFORMER)
        budget, now = item.object, self._clock.now()
        pods = self._selected(key.namespace, budget.spec.selector)
        try:
            expected, desired = await self._asked(budget, pods)
        except TerminalError as error:
            if await self._write(key, budget, failed_status(budget, str(error), now)):
                message = f"Failed to calculate the number of expected pods: {error}"
                self._tell(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            return DONE
        leaving = disrupted(budget, pods, now)
        for pod in leaving.overdue:
            message = f"Pod was expected by PDB {key.namespace}/{key.name} to be deleted but it wasn't"
            self._recorder.event(reference(PODS, pod), "Warning", "NotDeleted", message)
        current = healthy(pods, leaving.pods)
        status = status_of(budget, current, desired, expected, leaving.pods, now)
        if await self._write(key, budget, status) and not pods:
            self._tell(budget, "Normal", "NoPods", "No matching pods found")
        return Result(None if leaving.look_at is None else (leaving.look_at - now).total_seconds() + 0.001)

    def _selected(self, namespace: str, selector: LabelSelector | None) -> list[Pod]:
        """Return the pods that a selector selects; none does so to none."""
        if selector is None:
            return []
        wanted = from_label_selector(selector)
        return [item.object for item in self._pods.items(namespace) if wanted.matches(item.labels)]

    async def _asked(self, budget: DisruptionBudget, pods: Sequence[Pod]) -> tuple[int, int]:
        """Return how many pods there shall be, and how many of them shall serve. Raises TerminalError."""
        spec = budget.spec
        if isinstance(spec.min_available, int):
            return len(pods), spec.min_available
        if spec.max_unavailable is None and spec.min_available is None:
            return 0, 0
        scale = await self._scales.of(pods)
        if scale.unmanaged and scale.pods != budget.status.expected_pods:
            self._tell_unmanaged(budget)
        if spec.max_unavailable is not None:
            away = resolve(spec.max_unavailable, scale.pods, 0, up=True)
            return scale.pods, max(0, scale.pods - away)
        return scale.pods, resolve(spec.min_available, scale.pods, 0, up=True)

    def _tell_unmanaged(self, budget: DisruptionBudget) -> None:
        selector = from_label_selector(budget.spec.selector)
        message = (
            f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result,"
            " the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account"
            ' for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
        )
        self._tell(budget, "Warning", "UnmanagedPods", message)

    async def _write(self, key: Key, budget: DisruptionBudget, status: DisruptionBudgetStatus) -> bool:
        """Write the status; return whether it is another than before."""
        if status == budget.status:
            return False
        patch = as_patch(budget, status)
        try:
            written = await self._client.patch(DISRUPTION_BUDGETS, key.namespace, key.name, patch, subresource="status")
        except NotFoundError:
            log.debug("disruption budget %s was deleted meanwhile", key)
            return False
        self._written.note(key, written)
        return True

    def _tell(self, budget: DisruptionBudget, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(DISRUPTION_BUDGETS, budget), kind, reason, message)


def _scale(owner: Any) -> tuple[object, ...]:
    """Return what of an owner of pods says how many there shall be, or who says it instead."""
    return owner.spec.replicas, owner.metadata.controller


def _meaning(pod: Pod) -> tuple[object, ...]:
    """Return what of a pod budgets count."""
    meta = pod.metadata
    return meta.labels, meta.owner_references, bool(meta.deletion_timestamp), is_ready(pod)
