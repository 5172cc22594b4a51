from orch_pb.v1 import object_pb2 as _object_pb2
from orch_pb.v1 import rpc_pb2 as _rpc_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Preempted(_message.Message):
    __slots__ = ("namespace", "name", "uid", "message", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    message: str
    trace: _object_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., message: _Optional[str] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class PreemptRequest(_message.Message):
    __slots__ = ("pods", "fence")
    PODS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[Preempted]
    fence: _rpc_pb2.Fence
    def __init__(self, pods: _Optional[_Iterable[_Union[Preempted, _Mapping]]] = ..., fence: _Optional[_Union[_rpc_pb2.Fence, _Mapping]] = ...) -> None: ...

class PreemptReply(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_rpc_pb2.WriteReply]
    def __init__(self, results: _Optional[_Iterable[_Union[_rpc_pb2.WriteReply, _Mapping]]] = ...) -> None: ...
