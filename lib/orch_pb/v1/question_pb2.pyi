from orch_pb.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Remedy(_message.Message):
    __slots__ = ("rule", "text", "nodes", "names")
    RULE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    rule: str
    text: str
    nodes: int
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule: _Optional[str] = ..., text: _Optional[str] = ..., nodes: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainReply(_message.Message):
    __slots__ = ("status", "uid", "node", "place", "attempts", "waited", "now", "remedies", "retry", "wakes")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    REMEDIES_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    WAKES_FIELD_NUMBER: _ClassVar[int]
    status: bytes
    uid: str
    node: str
    place: str
    attempts: int
    waited: float
    now: _decision_pb2.SchedulingDecision
    remedies: _containers.RepeatedCompositeFieldContainer[Remedy]
    retry: float
    wakes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[bytes] = ..., uid: _Optional[str] = ..., node: _Optional[str] = ..., place: _Optional[str] = ..., attempts: _Optional[int] = ..., waited: _Optional[float] = ..., now: _Optional[_Union[_decision_pb2.SchedulingDecision, _Mapping]] = ..., remedies: _Optional[_Iterable[_Union[Remedy, _Mapping]]] = ..., retry: _Optional[float] = ..., wakes: _Optional[_Iterable[str]] = ...) -> None: ...

class WhyNotRequest(_message.Message):
    __slots__ = ("namespace", "name", "node")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    node: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class WhyNotReply(_message.Message):
    __slots__ = ("status", "node", "refusals", "remedies", "score", "best", "rank", "feasible", "preemptible")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    REMEDIES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    FEASIBLE_FIELD_NUMBER: _ClassVar[int]
    PREEMPTIBLE_FIELD_NUMBER: _ClassVar[int]
    status: bytes
    node: str
    refusals: _containers.RepeatedCompositeFieldContainer[_decision_pb2.Refusal]
    remedies: _containers.RepeatedCompositeFieldContainer[Remedy]
    score: _decision_pb2.Score
    best: _decision_pb2.Score
    rank: int
    feasible: int
    preemptible: _containers.RepeatedCompositeFieldContainer[_decision_pb2.Victim]
    def __init__(self, status: _Optional[bytes] = ..., node: _Optional[str] = ..., refusals: _Optional[_Iterable[_Union[_decision_pb2.Refusal, _Mapping]]] = ..., remedies: _Optional[_Iterable[_Union[Remedy, _Mapping]]] = ..., score: _Optional[_Union[_decision_pb2.Score, _Mapping]] = ..., best: _Optional[_Union[_decision_pb2.Score, _Mapping]] = ..., rank: _Optional[int] = ..., feasible: _Optional[int] = ..., preemptible: _Optional[_Iterable[_Union[_decision_pb2.Victim, _Mapping]]] = ...) -> None: ...

class WhatIfRequest(_message.Message):
    __slots__ = ("pod", "replicas")
    POD_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    pod: bytes
    replicas: int
    def __init__(self, pod: _Optional[bytes] = ..., replicas: _Optional[int] = ...) -> None: ...

class NodeCount(_message.Message):
    __slots__ = ("node", "pods")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    node: str
    pods: int
    def __init__(self, node: _Optional[str] = ..., pods: _Optional[int] = ...) -> None: ...

class WhatIfReply(_message.Message):
    __slots__ = ("status", "placed", "nodes", "fit", "more", "next", "remedies", "nodes_total", "revision")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PLACED_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    FIT_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    REMEDIES_FIELD_NUMBER: _ClassVar[int]
    NODES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    status: bytes
    placed: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeCount]
    fit: int
    more: bool
    next: _decision_pb2.SchedulingDecision
    remedies: _containers.RepeatedCompositeFieldContainer[Remedy]
    nodes_total: int
    revision: int
    def __init__(self, status: _Optional[bytes] = ..., placed: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeCount, _Mapping]]] = ..., fit: _Optional[int] = ..., more: _Optional[bool] = ..., next: _Optional[_Union[_decision_pb2.SchedulingDecision, _Mapping]] = ..., remedies: _Optional[_Iterable[_Union[Remedy, _Mapping]]] = ..., nodes_total: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...
