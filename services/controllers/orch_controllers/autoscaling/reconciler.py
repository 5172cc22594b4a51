"""One look at one autoscaler: read the target and its metrics, decide, scale, and say what was seen and done.

It is looked at when use has moved, when it or its target changed, when a window ends, and every 15 seconds; never more
than twice a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from prometheus_client import Counter, Histogram

from orch.autoscaling.recommend import ABLE, needs_metrics, recommend, scaled_to_zero
from orch.errors import ApiError, ConflictError, NotFoundError, ServiceUnavailableError
from orch.objects.autoscaling import HorizontalPodAutoscaler
from orch.objects.scheme import HORIZONTAL_POD_AUTOSCALERS, Kind
from orch.runtime.events import reference
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch.telemetry import current_trace
from orch_controllers.autoscaling.foreign import ForeignMetrics
from orch_controllers.autoscaling.inputs import Inputs
from orch_controllers.autoscaling.selections import Selections
from orch_controllers.autoscaling.smoothing import NANO
from orch_controllers.autoscaling.status import status_document, zero_condition
from orch_controllers.autoscaling.targets import Target, TargetError, Targets
from orch_controllers.context import Context
from orch_pb.v1.autoscaling_pb2 import (
    AutoscalingCondition,
    AutoscalingDecision,
    AutoscalingInputs,
    AutoscalingOutcome,
    ScaleChange,
)

log = logging.getLogger(__name__)

_RESCALES: Final = Counter("orch_autoscaler_rescales", "Changes of a target's replicas.", ["direction"])
_SECONDS: Final = Histogram(
    "orch_autoscaler_computation_seconds",
    "Time to decide, from the inputs to the outcome.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1),
)

COMPONENT: Final = "horizontal-pod-autoscaler"
PERIOD: Final = 15.0
"""Seconds between two looks at least, as kube-controller-manager's sync period."""
_FOREIGN_PERIOD: Final = 5.0
"""The same where metrics have to be asked for: no sample tells that they moved."""
_SHORTEST: Final = 0.5
_REPEAT_WARNING: Final = 300.0
_FOREIGN: Final = frozenset({"Pods", "Object", "External"})


class _Warned(msgspec.Struct, frozen=True):
    texts: tuple[tuple[str, str], ...]
    at: float


class AutoscalerReconciler:
    """Reconciles HorizontalPodAutoscalers."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorders.of(COMPONENT)
        self._autoscalers = context.informers.of(HORIZONTAL_POD_AUTOSCALERS)
        self._targets = Targets(context)
        self._selections = Selections(context.informers, context.usage)
        self._inputs = Inputs(
            self._selections, context.usage, ForeignMetrics(context.bus), context.config, context.clock
        )
        self._decisions = context.decisions
        self._written: dict[Key, HorizontalPodAutoscaler] = {}
        self._looked: dict[Key, float] = {}
        self._warned: dict[Key, _Warned] = {}
        self._by_target: dict[tuple[str, str, str], set[Key]] = {}
        self._autoscalers.on_change(self._index)

    def wake_by(self, enqueue: Callable[[Key], None]) -> None:
        """Ask for another look at an autoscaler by `enqueue` when what its pods use has moved."""
        self._selections.on_move = enqueue

    def keys_of_target(self, kind: Kind[Any]) -> Callable[[Change[Any]], Iterable[Key]]:
        """Return what yields the autoscalers of an object whose spec changed, or that came or went."""
        name = kind.name

        def keys(change: Change[Any]) -> Iterable[Key]:
            old, new = change.old, change.new
            if old is not None and new is not None and old is not new and _generation(old) == _generation(new):
                return ()
            return tuple(self._by_target.get((name, change.item.namespace, change.item.name), ()))

        return keys

    async def reconcile(self, key: Key) -> Result:
        """Look at one autoscaler."""
        item = self._autoscalers.get(key.namespace, key.name)
        if item is None:
            self._forget(key)
            return DONE
        now = self._clock.monotonic()
        rest = self._looked.get(key, -_SHORTEST) + _SHORTEST - now
        if rest > 0:
            return Result(rest)
        self._looked[key] = now
        autoscaler = self._newest(key, item)
        if autoscaler.metadata.deletion_timestamp:
            return DONE
        return await self._look(key, autoscaler)

    async def _look(self, key: Key, autoscaler: HorizontalPodAutoscaler) -> Result:
        uid = autoscaler.metadata.uid
        past = self._decisions.past(key, uid)
        target: Target | None = None
        try:
            target = await self._targets.read(key.namespace, autoscaler.spec.scale_target_ref)
        except TargetError as error:
            self._selections.drop(key)
            inputs = self._inputs.unreachable(autoscaler, past, str(error))
        else:
            inputs = await self._inputs.collect(key, autoscaler, target.scale, past)
        with _SECONDS.time():
            outcome = recommend(inputs)
        said = list(outcome.conditions)
        change, failure = None, None
        if outcome.rescale and target is not None:
            change, failure = await self._rescale(autoscaler, target, inputs, outcome, said)
        self._decisions.remember(key, uid, outcome, change)
        self._warn(key, autoscaler, outcome)
        await self._tell(key, autoscaler, inputs, outcome, failure)
        await self._write_status(key, autoscaler, inputs, outcome, said, rescaled=change is not None)
        if failure is not None:
            raise failure
        return Result(_due(autoscaler, inputs, outcome))

    async def _rescale(
        self,
        autoscaler: HorizontalPodAutoscaler,
        target: Target,
        inputs: AutoscalingInputs,
        outcome: AutoscalingOutcome,
        said: list[AutoscalingCondition],
    ) -> tuple[ScaleChange | None, ApiError | None]:
        """Scale the target; return the change, or why it was refused, and say either in `said` and in an event."""
        about = reference(HORIZONTAL_POD_AUTOSCALERS, autoscaler)
        wanted, current = outcome.replicas, inputs.spec_replicas
        size = f"New size: {wanted}; reason: {outcome.reason}"
        try:
            await self._targets.write(target, wanted)
        except ConflictError:
            self._looked.pop(Key(about.namespace, about.name), None)  # it changed meanwhile: all is read anew, at once
            raise
        except ServiceUnavailableError:
            raise  # nothing is wrong with the target
        except ApiError as error:
            message = f"the HPA controller was unable to update the target scale: {error}"
            _say(said, AutoscalingCondition(type=ABLE, status="False", reason="FailedUpdateScale", message=message))
            self._recorder.event(about, "Warning", "FailedRescale", f"{size}; error: {error}")
            return None, error
        message = f"the HPA controller was able to update the target scale to {wanted}"
        _say(said, AutoscalingCondition(type=ABLE, status="True", reason="SucceededRescale", message=message))
        _say(said, zero_condition(scaled_to_zero=scaled_to_zero(inputs, outcome)))
        self._recorder.event(about, "Normal", "SuccessfulRescale", size)
        _RESCALES.labels("up" if wanted > current else "down").inc()
        log.info("%s/%s: %d -> %d: %s", about.namespace, about.name, current, wanted, outcome.reason)
        return ScaleChange(at=inputs.at, before=current, after=wanted, reason=outcome.reason), None

    async def _tell(
        self,
        key: Key,
        autoscaler: HorizontalPodAutoscaler,
        inputs: AutoscalingInputs,
        outcome: AutoscalingOutcome,
        failure: ApiError | None,
    ) -> None:
        aim = autoscaler.spec.scale_target_ref
        decision = AutoscalingDecision(
            namespace=key.namespace,
            name=key.name,
            uid=autoscaler.metadata.uid,
            target=f"{aim.kind}/{aim.name}",
            inputs=inputs,
            outcome=outcome,
            error=str(failure) if failure is not None else "",
            trace=current_trace(),
        )
        await self._decisions.publish(key, decision)

    async def _write_status(
        self,
        key: Key,
        autoscaler: HorizontalPodAutoscaler,
        inputs: AutoscalingInputs,
        outcome: AutoscalingOutcome,
        said: Sequence[AutoscalingCondition],
        *,
        rescaled: bool,
    ) -> None:
        status = status_document(autoscaler, inputs, outcome, said, rescaled=rescaled, now=self._clock.now())
        if status is None:
            return
        meta = autoscaler.metadata
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": status}
        try:
            self._written[key] = await self._client.patch(
                HORIZONTAL_POD_AUTOSCALERS, key.namespace, key.name, patch, subresource="status"
            )
        except NotFoundError:
            log.debug("autoscaler %s was deleted meanwhile", key)

    def _warn(self, key: Key, autoscaler: HorizontalPodAutoscaler, outcome: AutoscalingOutcome) -> None:
        """Record the warnings as events, the same ones only now and then."""
        texts = tuple((warning.reason, warning.message) for warning in outcome.warnings)
        now, before = self._clock.monotonic(), self._warned.get(key)
        if before is not None and before.texts == texts and now - before.at < _REPEAT_WARNING:
            return
        self._warned[key] = _Warned(texts, now)
        about = reference(HORIZONTAL_POD_AUTOSCALERS, autoscaler)
        for reason, message in texts:
            self._recorder.event(about, "Warning", reason, message)

    def _newest(self, key: Key, item: Item[HorizontalPodAutoscaler]) -> HorizontalPodAutoscaler:
        """Return the autoscaler as the informer has it, or as this process wrote it last if that is newer."""
        written = self._written.get(key)
        if written is None:
            return item.object
        meta = written.metadata
        if meta.uid == item.uid and int(meta.resource_version) > item.revision:
            return written
        del self._written[key]
        return item.object

    def _index(self, change: Change[HorizontalPodAutoscaler]) -> None:
        key = Key(change.item.namespace, change.item.name)
        if change.old is not None:
            place = _place(change.old)
            keys = self._by_target.get(place, set())
            keys.discard(key)
            if not keys:
                self._by_target.pop(place, None)
        if change.new is not None:
            self._by_target.setdefault(_place(change.new), set()).add(key)
        elif change.old is not None:
            self._targets.forget(key.namespace, change.old.object.spec.scale_target_ref)

    def _forget(self, key: Key) -> None:
        self._selections.drop(key)
        self._decisions.forget(key)
        for known in (self._written, self._looked, self._warned):
            known.pop(key, None)


def _due(autoscaler: HorizontalPodAutoscaler, inputs: AutoscalingInputs, outcome: AutoscalingOutcome) -> float:
    """Return in how many seconds to look again if nothing moves."""
    period = PERIOD
    if needs_metrics(inputs) and any(metric.type in _FOREIGN for metric in autoscaler.spec.metrics):
        period = _FOREIGN_PERIOD
    if outcome.again_after:
        period = min(period, outcome.again_after / NANO + 0.001)
    return max(period, _SHORTEST)


def _say(said: list[AutoscalingCondition], condition: AutoscalingCondition) -> None:
    """Say a condition, in the place of what was said of it before."""
    for place, one in enumerate(said):
        if one.type == condition.type:
            said[place] = condition
            return
    said.append(condition)


def _place(item: Item[HorizontalPodAutoscaler]) -> tuple[str, str, str]:
    aim = item.object.spec.scale_target_ref
    return (aim.kind, item.namespace, aim.name)


def _generation(item: Item[Any]) -> int:
    return item.object.metadata.generation
