"""Views of HorizontalPodAutoscaler (k8s.io/api/autoscaling/v2) and of the scale of anything (autoscaling/v1)."""

from __future__ import annotations

from orch.objects.meta import Condition, LabelSelector, Object, View


class TargetReference(View, frozen=True):
    """Names an object in the autoscaler's namespace."""

    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricIdentifier(View, frozen=True):
    """A metric's name, and which of its series."""

    name: str = ""
    selector: LabelSelector | None = None


class MetricTarget(View, frozen=True):
    """What a metric is to be: one of the three, quantities as text."""

    type: str = ""
    value: str | None = None
    average_value: str | None = None
    average_utilization: int | None = None


class MetricSource(View, frozen=True):
    """What is measured, in the fields that its type has."""

    name: str = ""
    container: str = ""
    described_object: TargetReference = TargetReference()
    metric: MetricIdentifier = MetricIdentifier()
    target: MetricTarget = MetricTarget()


class Metric(View, frozen=True):
    """A metric that decides; the field that its type names is set."""

    type: str = ""
    object: MetricSource | None = None
    pods: MetricSource | None = None
    resource: MetricSource | None = None
    container_resource: MetricSource | None = None
    external: MetricSource | None = None

    @property
    def source(self) -> MetricSource:
        """The field that is set."""
        found = self.object or self.pods or self.resource or self.container_resource or self.external
        return found or MetricSource()


class ScalingPolicy(View, frozen=True):
    """How many pods, or per cent of them, may change within a period."""

    type: str = ""
    value: int = 0
    period_seconds: int = 0


class ScalingRules(View, frozen=True):
    """How fast one direction may go."""

    stabilization_window_seconds: int | None = None
    select_policy: str = "Max"
    policies: tuple[ScalingPolicy, ...] = ()
    tolerance: str | None = None


class Behavior(View, frozen=True):
    """The rules of both directions."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class AutoscalerSpec(View, frozen=True):
    """What an autoscaler shall do."""

    scale_target_ref: TargetReference = TargetReference()
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: tuple[Metric, ...] = ()
    behavior: Behavior | None = None


class MetricCurrent(View, frozen=True):
    """What was measured, as quantities and per cent."""

    value: str | None = None
    average_value: str | None = None
    average_utilization: int | None = None


class MeasuredSource(View, frozen=True):
    """A source as the status tells it."""

    current: MetricCurrent = MetricCurrent()


class MetricStatus(View, frozen=True):
    """What was measured of a metric."""

    type: str = ""
    object: MeasuredSource | None = None
    pods: MeasuredSource | None = None
    resource: MeasuredSource | None = None
    container_resource: MeasuredSource | None = None
    external: MeasuredSource | None = None

    @property
    def current(self) -> MetricCurrent:
        """What the field that is set says."""
        found = self.object or self.pods or self.resource or self.container_resource or self.external
        return found.current if found is not None else MetricCurrent()


class AutoscalerStatus(View, frozen=True):
    """What an autoscaler has seen and done."""

    observed_generation: int | None = None
    last_scale_time: str = ""
    current_replicas: int = 0
    desired_replicas: int = 0
    current_metrics: tuple[MetricStatus, ...] | None = None
    conditions: tuple[Condition, ...] = ()


class HorizontalPodAutoscaler(Object, frozen=True):
    """An autoscaler."""

    spec: AutoscalerSpec = AutoscalerSpec()
    status: AutoscalerStatus = AutoscalerStatus()


class ScaleSpec(View, frozen=True):
    """How many replicas there shall be."""

    replicas: int = 0


class ScaleStatus(View, frozen=True):
    """How many there are, and the selector of their pods as text."""

    replicas: int = 0
    selector: str = ""


class Scale(Object, frozen=True):
    """The scale of an object of whatever kind."""

    spec: ScaleSpec = ScaleSpec()
    status: ScaleStatus = ScaleStatus()
