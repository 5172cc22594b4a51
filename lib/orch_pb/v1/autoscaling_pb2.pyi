from orch_pb.v1 import object_pb2 as _object_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AutoscaledPod(_message.Message):
    __slots__ = ("name", "phase", "deleted", "ready", "ready_since", "started")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    READY_SINCE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    phase: str
    deleted: bool
    ready: str
    ready_since: int
    started: int
    def __init__(self, name: _Optional[str] = ..., phase: _Optional[str] = ..., deleted: _Optional[bool] = ..., ready: _Optional[str] = ..., ready_since: _Optional[int] = ..., started: _Optional[int] = ...) -> None: ...

class PodReading(_message.Message):
    __slots__ = ("pod", "value", "at", "window")
    POD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    pod: int
    value: int
    at: int
    window: int
    def __init__(self, pod: _Optional[int] = ..., value: _Optional[int] = ..., at: _Optional[int] = ..., window: _Optional[int] = ...) -> None: ...

class MetricTarget(_message.Message):
    __slots__ = ("value", "average_value", "average_utilization")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_VALUE_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    value: int
    average_value: int
    average_utilization: int
    def __init__(self, value: _Optional[int] = ..., average_value: _Optional[int] = ..., average_utilization: _Optional[int] = ...) -> None: ...

class MetricInput(_message.Message):
    __slots__ = ("type", "name", "container", "described_kind", "described_name", "selector", "target", "error", "readings", "value", "requests", "missing_request")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    DESCRIBED_KIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIBED_NAME_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    container: str
    described_kind: str
    described_name: str
    selector: str
    target: MetricTarget
    error: str
    readings: _containers.RepeatedCompositeFieldContainer[PodReading]
    value: int
    requests: _containers.RepeatedScalarFieldContainer[int]
    missing_request: str
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ..., container: _Optional[str] = ..., described_kind: _Optional[str] = ..., described_name: _Optional[str] = ..., selector: _Optional[str] = ..., target: _Optional[_Union[MetricTarget, _Mapping]] = ..., error: _Optional[str] = ..., readings: _Optional[_Iterable[_Union[PodReading, _Mapping]]] = ..., value: _Optional[int] = ..., requests: _Optional[_Iterable[int]] = ..., missing_request: _Optional[str] = ...) -> None: ...

class ScalingPolicy(_message.Message):
    __slots__ = ("type", "value", "period_seconds")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PERIOD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    type: str
    value: int
    period_seconds: int
    def __init__(self, type: _Optional[str] = ..., value: _Optional[int] = ..., period_seconds: _Optional[int] = ...) -> None: ...

class ScalingRules(_message.Message):
    __slots__ = ("stabilization_seconds", "select_policy", "policies", "tolerance")
    STABILIZATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SELECT_POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    stabilization_seconds: int
    select_policy: str
    policies: _containers.RepeatedCompositeFieldContainer[ScalingPolicy]
    tolerance: float
    def __init__(self, stabilization_seconds: _Optional[int] = ..., select_policy: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[ScalingPolicy, _Mapping]]] = ..., tolerance: _Optional[float] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("at", "replicas")
    AT_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    at: int
    replicas: int
    def __init__(self, at: _Optional[int] = ..., replicas: _Optional[int] = ...) -> None: ...

class ScaleChange(_message.Message):
    __slots__ = ("at", "before", "after", "reason")
    AT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    at: int
    before: int
    after: int
    reason: str
    def __init__(self, at: _Optional[int] = ..., before: _Optional[int] = ..., after: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Obstacle(_message.Message):
    __slots__ = ("scale", "reason", "message", "event", "problem")
    SCALE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    scale: bool
    reason: str
    message: str
    event: str
    problem: str
    def __init__(self, scale: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., event: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class AutoscalingInputs(_message.Message):
    __slots__ = ("at", "min_replicas", "max_replicas", "spec_replicas", "status_replicas", "behavior", "up", "down", "scaled_to_zero", "cpu_initialization", "initial_readiness_delay", "obstacle", "pods", "metrics", "history", "changes")
    AT_FIELD_NUMBER: _ClassVar[int]
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    SPEC_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    STATUS_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    BEHAVIOR_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    DOWN_FIELD_NUMBER: _ClassVar[int]
    SCALED_TO_ZERO_FIELD_NUMBER: _ClassVar[int]
    CPU_INITIALIZATION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_READINESS_DELAY_FIELD_NUMBER: _ClassVar[int]
    OBSTACLE_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    at: int
    min_replicas: int
    max_replicas: int
    spec_replicas: int
    status_replicas: int
    behavior: bool
    up: ScalingRules
    down: ScalingRules
    scaled_to_zero: bool
    cpu_initialization: int
    initial_readiness_delay: int
    obstacle: Obstacle
    pods: _containers.RepeatedCompositeFieldContainer[AutoscaledPod]
    metrics: _containers.RepeatedCompositeFieldContainer[MetricInput]
    history: _containers.RepeatedCompositeFieldContainer[Recommendation]
    changes: _containers.RepeatedCompositeFieldContainer[ScaleChange]
    def __init__(self, at: _Optional[int] = ..., min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., spec_replicas: _Optional[int] = ..., status_replicas: _Optional[int] = ..., behavior: _Optional[bool] = ..., up: _Optional[_Union[ScalingRules, _Mapping]] = ..., down: _Optional[_Union[ScalingRules, _Mapping]] = ..., scaled_to_zero: _Optional[bool] = ..., cpu_initialization: _Optional[int] = ..., initial_readiness_delay: _Optional[int] = ..., obstacle: _Optional[_Union[Obstacle, _Mapping]] = ..., pods: _Optional[_Iterable[_Union[AutoscaledPod, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[MetricInput, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., changes: _Optional[_Iterable[_Union[ScaleChange, _Mapping]]] = ...) -> None: ...

class AutoscalingCondition(_message.Message):
    __slots__ = ("type", "status", "reason", "message")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    type: str
    status: str
    reason: str
    message: str
    def __init__(self, type: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AutoscalingEvent(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class MetricProposal(_message.Message):
    __slots__ = ("name", "replicas", "error", "ratio", "value", "average_value", "average_utilization", "ready", "unready", "missing", "ignored")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_VALUE_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    UNREADY_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    name: str
    replicas: int
    error: str
    ratio: float
    value: int
    average_value: int
    average_utilization: int
    ready: int
    unready: int
    missing: int
    ignored: int
    def __init__(self, name: _Optional[str] = ..., replicas: _Optional[int] = ..., error: _Optional[str] = ..., ratio: _Optional[float] = ..., value: _Optional[int] = ..., average_value: _Optional[int] = ..., average_utilization: _Optional[int] = ..., ready: _Optional[int] = ..., unready: _Optional[int] = ..., missing: _Optional[int] = ..., ignored: _Optional[int] = ...) -> None: ...

class AutoscalingOutcome(_message.Message):
    __slots__ = ("failed", "rescale", "replicas", "reason", "metrics_replicas", "stabilized_replicas", "proposals", "conditions", "warnings", "history", "again_after")
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RESCALE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METRICS_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    STABILIZED_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    AGAIN_AFTER_FIELD_NUMBER: _ClassVar[int]
    failed: bool
    rescale: bool
    replicas: int
    reason: str
    metrics_replicas: int
    stabilized_replicas: int
    proposals: _containers.RepeatedCompositeFieldContainer[MetricProposal]
    conditions: _containers.RepeatedCompositeFieldContainer[AutoscalingCondition]
    warnings: _containers.RepeatedCompositeFieldContainer[AutoscalingEvent]
    history: _containers.RepeatedCompositeFieldContainer[Recommendation]
    again_after: int
    def __init__(self, failed: _Optional[bool] = ..., rescale: _Optional[bool] = ..., replicas: _Optional[int] = ..., reason: _Optional[str] = ..., metrics_replicas: _Optional[int] = ..., stabilized_replicas: _Optional[int] = ..., proposals: _Optional[_Iterable[_Union[MetricProposal, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[AutoscalingCondition, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[AutoscalingEvent, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., again_after: _Optional[int] = ...) -> None: ...

class AutoscalingDecision(_message.Message):
    __slots__ = ("namespace", "name", "uid", "target", "inputs", "outcome", "changes", "error", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    target: str
    inputs: AutoscalingInputs
    outcome: AutoscalingOutcome
    changes: _containers.RepeatedCompositeFieldContainer[ScaleChange]
    error: str
    trace: _object_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., target: _Optional[str] = ..., inputs: _Optional[_Union[AutoscalingInputs, _Mapping]] = ..., outcome: _Optional[_Union[AutoscalingOutcome, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[ScaleChange, _Mapping]]] = ..., error: _Optional[str] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class UsageHistogram(_message.Message):
    __slots__ = ("buckets", "weights", "reference")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedScalarFieldContainer[int]
    weights: _containers.RepeatedScalarFieldContainer[float]
    reference: int
    def __init__(self, buckets: _Optional[_Iterable[int]] = ..., weights: _Optional[_Iterable[float]] = ..., reference: _Optional[int] = ...) -> None: ...

class ContainerRecommendation(_message.Message):
    __slots__ = ("container", "cpu", "memory", "samples", "first", "last", "target_cpu", "lower_cpu", "upper_cpu", "target_memory", "lower_memory", "upper_memory")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    TARGET_CPU_FIELD_NUMBER: _ClassVar[int]
    LOWER_CPU_FIELD_NUMBER: _ClassVar[int]
    UPPER_CPU_FIELD_NUMBER: _ClassVar[int]
    TARGET_MEMORY_FIELD_NUMBER: _ClassVar[int]
    LOWER_MEMORY_FIELD_NUMBER: _ClassVar[int]
    UPPER_MEMORY_FIELD_NUMBER: _ClassVar[int]
    container: str
    cpu: UsageHistogram
    memory: UsageHistogram
    samples: int
    first: int
    last: int
    target_cpu: int
    lower_cpu: int
    upper_cpu: int
    target_memory: int
    lower_memory: int
    upper_memory: int
    def __init__(self, container: _Optional[str] = ..., cpu: _Optional[_Union[UsageHistogram, _Mapping]] = ..., memory: _Optional[_Union[UsageHistogram, _Mapping]] = ..., samples: _Optional[int] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., target_cpu: _Optional[int] = ..., lower_cpu: _Optional[int] = ..., upper_cpu: _Optional[int] = ..., target_memory: _Optional[int] = ..., lower_memory: _Optional[int] = ..., upper_memory: _Optional[int] = ...) -> None: ...

class WorkloadRecommendation(_message.Message):
    __slots__ = ("namespace", "kind", "name", "at", "containers")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    kind: str
    name: str
    at: int
    containers: _containers.RepeatedCompositeFieldContainer[ContainerRecommendation]
    def __init__(self, namespace: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., at: _Optional[int] = ..., containers: _Optional[_Iterable[_Union[ContainerRecommendation, _Mapping]]] = ...) -> None: ...

class MetricsRequest(_message.Message):
    __slots__ = ("namespace", "group", "resource", "kind", "name", "selector", "metric", "metric_selector", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    METRIC_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    group: str
    resource: str
    kind: str
    name: str
    selector: str
    metric: str
    metric_selector: str
    trace: _object_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., group: _Optional[str] = ..., resource: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., selector: _Optional[str] = ..., metric: _Optional[str] = ..., metric_selector: _Optional[str] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class MetricValue(_message.Message):
    __slots__ = ("name", "value", "at", "window")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    at: int
    window: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ..., at: _Optional[int] = ..., window: _Optional[int] = ...) -> None: ...

class MetricsReply(_message.Message):
    __slots__ = ("values", "status")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[MetricValue]
    status: bytes
    def __init__(self, values: _Optional[_Iterable[_Union[MetricValue, _Mapping]]] = ..., status: _Optional[bytes] = ...) -> None: ...

class AutoscalingRecording(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[AutoscalingDecision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[AutoscalingDecision, _Mapping]]] = ...) -> None: ...
