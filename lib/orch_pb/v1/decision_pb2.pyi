from orch_pb.v1 import object_pb2 as _object_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Refusal(_message.Message):
    __slots__ = ("rule", "reason", "nodes")
    RULE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    rule: str
    reason: str
    nodes: int
    def __init__(self, rule: _Optional[str] = ..., reason: _Optional[str] = ..., nodes: _Optional[int] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("node", "parts", "total")
    class PartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    node: str
    parts: _containers.ScalarMap[str, float]
    total: float
    def __init__(self, node: _Optional[str] = ..., parts: _Optional[_Mapping[str, float]] = ..., total: _Optional[float] = ...) -> None: ...

class SchedulingDecision(_message.Message):
    __slots__ = ("namespace", "name", "uid", "node", "refusals", "best", "feasible", "nodes", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    FEASIBLE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    node: str
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    best: _containers.RepeatedCompositeFieldContainer[Score]
    feasible: int
    nodes: int
    trace: _object_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., node: _Optional[str] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., best: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., feasible: _Optional[int] = ..., nodes: _Optional[int] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ...) -> None: ...
