from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_TYPE_UNSPECIFIED: _ClassVar[ChangeType]
    ADDED: _ClassVar[ChangeType]
    MODIFIED: _ClassVar[ChangeType]
    DELETED: _ClassVar[ChangeType]
    PROGRESS: _ClassVar[ChangeType]
CHANGE_TYPE_UNSPECIFIED: ChangeType
ADDED: ChangeType
MODIFIED: ChangeType
DELETED: ChangeType
PROGRESS: ChangeType

class TraceContext(_message.Message):
    __slots__ = ("traceparent", "tracestate")
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    traceparent: str
    tracestate: str
    def __init__(self, traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class StoredObject(_message.Message):
    __slots__ = ("index", "trace", "key_id", "version_offset", "json")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_OFFSET_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    index: int
    trace: TraceContext
    key_id: str
    version_offset: int
    json: bytes
    def __init__(self, index: _Optional[int] = ..., trace: _Optional[_Union[TraceContext, _Mapping]] = ..., key_id: _Optional[str] = ..., version_offset: _Optional[int] = ..., json: _Optional[bytes] = ...) -> None: ...

class SealedContent(_message.Message):
    __slots__ = ("data_key", "content", "annotations")
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    data_key: bytes
    content: bytes
    annotations: _containers.ScalarMap[str, bytes]
    def __init__(self, data_key: _Optional[bytes] = ..., content: _Optional[bytes] = ..., annotations: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class ObjectEvent(_message.Message):
    __slots__ = ("type", "group", "version", "resource", "namespace", "name", "uid", "revision", "labels", "trace", "checksum", "json")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    type: ChangeType
    group: str
    version: str
    resource: str
    namespace: str
    name: str
    uid: str
    revision: int
    labels: _containers.ScalarMap[str, str]
    trace: TraceContext
    checksum: int
    json: bytes
    def __init__(self, type: _Optional[_Union[ChangeType, str]] = ..., group: _Optional[str] = ..., version: _Optional[str] = ..., resource: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., revision: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., trace: _Optional[_Union[TraceContext, _Mapping]] = ..., checksum: _Optional[int] = ..., json: _Optional[bytes] = ...) -> None: ...
