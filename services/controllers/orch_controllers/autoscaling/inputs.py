"""Collects what a decision is made on: the scale, the pods, the readings of every metric, the rules, the past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orch import quantity
from orch.autoscaling.limits import recent
from orch.autoscaling.recommend import TO_ZERO, needs_metrics
from orch.clock import Clock, parse_rfc3339
from orch.objects.autoscaling import HorizontalPodAutoscaler, Metric, MetricSource, Scale
from orch.objects.autoscaling import ScalingRules as RulesView
from orch.objects.meta import LabelSelector
from orch.objects.pods import Pod
from orch.runtime.informer import Item
from orch.runtime.reconcile import Key
from orch.selectors import parse_label_selector
from orch_controllers.autoscaling.decisions import Past
from orch_controllers.autoscaling.foreign import ForeignMetrics, Values
from orch_controllers.autoscaling.requests import MissingRequestError, pod_request
from orch_controllers.autoscaling.selections import Selections
from orch_controllers.autoscaling.smoothing import NANO
from orch_controllers.autoscaling.usage import PodUse, UsageTable
from orch_controllers.config import ControllersConfig
from orch_pb.v1.autoscaling_pb2 import (
    AutoscaledPod,
    AutoscalingInputs,
    MetricInput,
    MetricTarget,
    Obstacle,
    PodReading,
    ScalingPolicy,
    ScalingRules,
)

_CPU: Final = "cpu"
_MEMORY: Final = "memory"
_NANO_OF_MILLI: Final = 1_000_000
_ONE_POLICY: Final = ScalingPolicy(type="Percent", value=100, period_seconds=15)
"""Without a behavior a policy says only for how long a change is remembered."""


class Inputs:
    """Collects the inputs of decisions."""

    def __init__(
        self,
        selections: Selections,
        usage: UsageTable,
        foreign: ForeignMetrics,
        config: ControllersConfig,
        clock: Clock,
    ) -> None:
        self._selections = selections
        self._usage = usage
        self._foreign = foreign
        self._config = config
        self._clock = clock

    def unreachable(self, autoscaler: HorizontalPodAutoscaler, past: Past, problem: str) -> AutoscalingInputs:
        """Return the inputs when the target's scale cannot be had."""
        inputs = self._begin(autoscaler, past)
        inputs.obstacle.scale = True
        inputs.obstacle.reason = inputs.obstacle.event = "FailedGetScale"
        inputs.obstacle.problem = problem
        inputs.obstacle.message = f"the HPA controller was unable to get the target's current scale: {problem}"
        return inputs

    async def collect(
        self, key: Key, autoscaler: HorizontalPodAutoscaler, scale: Scale, past: Past
    ) -> AutoscalingInputs:
        """Return the inputs. What cannot be had is said in them; only a metric that decides is read."""
        inputs = self._begin(autoscaler, past)
        inputs.spec_replicas, inputs.status_replicas = scale.spec.replicas, scale.status.replicas
        metrics = autoscaler.spec.metrics
        inputs.metrics.extend(_described(metric) for metric in metrics)
        obstacle = self._select(key, scale.status.selector)
        if obstacle is not None:
            inputs.obstacle.CopyFrom(obstacle)
        elif needs_metrics(inputs):
            pods = self._selections.pods(key)
            inputs.pods.extend(_pod(item.object) for item in pods)
            uses = self._uses(pods, inputs.pods)
            for metric, told in zip(metrics, inputs.metrics, strict=True):
                await self._read(key.namespace, scale.status.selector, metric, told, pods, uses)
        return inputs

    def _begin(self, autoscaler: HorizontalPodAutoscaler, past: Past) -> AutoscalingInputs:
        spec, config = autoscaler.spec, self._config
        behavior = spec.behavior
        inputs = AutoscalingInputs(
            at=_nanos(self._clock.now()),
            min_replicas=1 if spec.min_replicas is None else spec.min_replicas,
            max_replicas=spec.max_replicas,
            behavior=behavior is not None,
            up=self._rules(behavior.scale_up if behavior is not None else None, 0),
            down=self._rules(
                behavior.scale_down if behavior is not None else None, int(config.autoscaler_downscale_stabilization)
            ),
            cpu_initialization=int(config.autoscaler_cpu_initialization * NANO),
            initial_readiness_delay=int(config.autoscaler_initial_readiness_delay * NANO),
            history=past.history,
        )
        inputs.scaled_to_zero = any(
            one.type == TO_ZERO and one.status == "True" for one in autoscaler.status.conditions
        )
        inputs.changes.extend(recent(past.changes, inputs))
        return inputs

    def _rules(self, rules: RulesView | None, window: int) -> ScalingRules:
        tolerance = self._config.autoscaler_tolerance
        if rules is None:
            return ScalingRules(
                stabilization_seconds=window, select_policy="Max", policies=[_ONE_POLICY], tolerance=tolerance
            )
        given = rules.stabilization_window_seconds
        return ScalingRules(
            stabilization_seconds=window if given is None else given,
            select_policy=rules.select_policy,
            policies=[
                ScalingPolicy(type=one.type, value=one.value, period_seconds=one.period_seconds)
                for one in rules.policies
            ],
            tolerance=tolerance if rules.tolerance is None else quantity.parse(rules.tolerance).nanos / NANO,
        )

    def _select(self, key: Key, text: str) -> Obstacle | None:
        """Note the selector of the target's pods; return what is wrong with it."""
        if not text:
            self._selections.drop(key)
            message = "the HPA target's scale is missing a selector"
            return Obstacle(
                reason="InvalidSelector", message=message, event="SelectorRequired", problem="selector is required"
            )
        try:
            selector = parse_label_selector(text)
        except ValueError as error:
            self._selections.drop(key)
            problem = f"couldn't convert selector into a corresponding internal selector object: {error}"
            return Obstacle(reason="InvalidSelector", message=problem, event="InvalidSelector", problem=problem)
        self._selections.put(key, selector)
        sharing = self._selections.sharing(key)
        if len(sharing) <= 1:
            return None
        listed = " ".join(f"{{{other.name} {other.namespace}}}" for other in sharing)
        problem = f"pods by selector {text} are controlled by multiple HPAs: [{listed}]"
        return Obstacle(reason="AmbiguousSelector", message=problem, event="AmbiguousSelector", problem=problem)

    def _uses(self, pods: Sequence[Item[Pod]], told: Sequence[AutoscaledPod]) -> list[PodUse | None]:
        """Return what each pod uses, if possible since it became ready: before that it was starting."""
        return [
            self._usage.use(item.uid, pod.ready_since if pod.ready == "True" else 0)
            for item, pod in zip(pods, told, strict=True)
        ]

    async def _read(
        self,
        namespace: str,
        selector: str,
        metric: Metric,
        told: MetricInput,
        pods: Sequence[Item[Pod]],
        uses: Sequence[PodUse | None],
    ) -> None:
        source = metric.source
        match metric.type:
            case "Resource" | "ContainerResource":
                _read_resource(source, told, pods, uses)
            case "Pods":
                _take_pods(told, pods, await self._foreign.of_pods(namespace, selector, source))
            case "Object":
                _take_sum(told, await self._foreign.of_object(namespace, source.described_object, source))
            case "External":
                _take_sum(told, await self._foreign.external(namespace, source))
            case _:
                pass  # recommend says that it does not know the type


def _described(metric: Metric) -> MetricInput:
    """Return the metric as its spec describes it."""
    source = metric.source
    target = MetricTarget()
    given = source.target
    if given.value is not None:
        target.value = quantity.milli(given.value)
    if given.average_value is not None:
        target.average_value = quantity.milli(given.average_value)
    if given.average_utilization is not None:
        target.average_utilization = given.average_utilization
    plain = metric.type in {"Resource", "ContainerResource"}
    return MetricInput(
        type=metric.type,
        name=source.name if plain else source.metric.name,
        container=source.container,
        described_kind=source.described_object.kind,
        described_name=source.described_object.name,
        selector="" if plain else _shown(source.metric.selector),
        target=target,
    )


def _shown(selector: LabelSelector | None) -> str:
    """Return a selector as Go prints it, which is how Kubernetes' messages name external metrics."""
    if selector is None:
        return "nil"
    labels = "".join(f"{name}: {value}," for name, value in sorted(selector.match_labels.items()))
    requirements = "".join(
        f"LabelSelectorRequirement{{Key:{one.key},Operator:{one.operator},Values:[{' '.join(one.values)}],}},"
        for one in selector.match_expressions
    )
    expressions = f"[]LabelSelectorRequirement{{{requirements}}}"
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:{expressions},}}"


def _pod(pod: Pod) -> AutoscaledPod:
    status, ready = pod.status, pod.status.condition("Ready")
    return AutoscaledPod(
        name=pod.metadata.name,
        phase=status.phase,
        deleted=bool(pod.metadata.deletion_timestamp),
        ready=ready.status if ready is not None else "",
        ready_since=_moment(ready.last_transition_time) if ready is not None else 0,
        started=_moment(status.start_time),
    )


def _read_resource(
    source: MetricSource, told: MetricInput, pods: Sequence[Item[Pod]], uses: Sequence[PodUse | None]
) -> None:
    """Fill in the readings and requests of a resource."""
    if all(use is None for use in uses):
        told.error = "no metrics returned from resource metrics API"
        return
    for place, use in enumerate(uses):
        if use is None:
            continue
        if source.container and source.container not in use.containers:
            meta = pods[place].object.metadata
            told.error = f"container {source.container} not present in metrics for pod {meta.namespace}/{meta.name}"
            return
        value = _amount(use, source)
        if value is not None:
            told.readings.append(PodReading(pod=place, value=value, at=use.at, window=use.window))
    try:
        told.requests.extend(pod_request(item.object, source.container, source.name) for item in pods)
    except MissingRequestError as error:
        told.missing_request = str(error)


def _amount(use: PodUse, source: MetricSource) -> int | None:
    """Return what the containers, or one of them, use of a resource in thousandths; None when that is not measured."""
    containers = [use.containers[source.container]] if source.container else list(use.containers.values())
    if source.name == _CPU:
        return sum(round(one.cpu / _NANO_OF_MILLI) for one in containers)
    if source.name == _MEMORY:
        return sum(one.memory for one in containers) * 1000
    return None


def _take_pods(told: MetricInput, pods: Sequence[Item[Pod]], found: Values) -> None:
    told.error = found.error
    places = {item.name: place for place, item in enumerate(pods)}
    for one in found.values:
        if one.name in places:
            told.readings.append(PodReading(pod=places[one.name], value=one.value, at=one.at, window=one.window))


def _take_sum(told: MetricInput, found: Values) -> None:
    told.error = found.error
    told.value = sum(one.value for one in found.values)


def _moment(text: str) -> int:
    return _nanos(parse_rfc3339(text)) if text else 0


def _nanos(moment: datetime) -> int:
    return int(moment.timestamp()) * NANO + moment.microsecond * 1000
