from orch_pb.v1 import object_pb2 as _object_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WriteVerb(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITE_VERB_UNSPECIFIED: _ClassVar[WriteVerb]
    CREATE: _ClassVar[WriteVerb]
    UPDATE: _ClassVar[WriteVerb]
    MERGE_PATCH: _ClassVar[WriteVerb]
    STRATEGIC_MERGE_PATCH: _ClassVar[WriteVerb]
    DELETE: _ClassVar[WriteVerb]
WRITE_VERB_UNSPECIFIED: WriteVerb
CREATE: WriteVerb
UPDATE: WriteVerb
MERGE_PATCH: WriteVerb
STRATEGIC_MERGE_PATCH: WriteVerb
DELETE: WriteVerb

class ObjectRef(_message.Message):
    __slots__ = ("group", "version", "resource", "namespace", "name", "subresource")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCE_FIELD_NUMBER: _ClassVar[int]
    group: str
    version: str
    resource: str
    namespace: str
    name: str
    subresource: str
    def __init__(self, group: _Optional[str] = ..., version: _Optional[str] = ..., resource: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., subresource: _Optional[str] = ...) -> None: ...

class Fence(_message.Message):
    __slots__ = ("key", "create_revision")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    key: str
    create_revision: int
    def __init__(self, key: _Optional[str] = ..., create_revision: _Optional[int] = ...) -> None: ...

class Recipient(_message.Message):
    __slots__ = ("key", "certificate", "signature")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    certificate: bytes
    signature: bytes
    def __init__(self, key: _Optional[bytes] = ..., certificate: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("key", "content")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    content: bytes
    def __init__(self, key: _Optional[bytes] = ..., content: _Optional[bytes] = ...) -> None: ...

class SealedBody(_message.Message):
    __slots__ = ("content", "keys")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    keys: _containers.RepeatedCompositeFieldContainer[SealedKey]
    def __init__(self, content: _Optional[bytes] = ..., keys: _Optional[_Iterable[_Union[SealedKey, _Mapping]]] = ...) -> None: ...

class SealedKey(_message.Message):
    __slots__ = ("recipient", "key", "content")
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    recipient: bytes
    key: bytes
    content: bytes
    def __init__(self, recipient: _Optional[bytes] = ..., key: _Optional[bytes] = ..., content: _Optional[bytes] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("ref", "trace", "recipient")
    REF_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    ref: ObjectRef
    trace: _object_pb2.TraceContext
    recipient: Recipient
    def __init__(self, ref: _Optional[_Union[ObjectRef, _Mapping]] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("ref", "label_selector", "field_selector", "limit", "continue_token", "trace", "recipient")
    REF_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    FIELD_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONTINUE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    ref: ObjectRef
    label_selector: str
    field_selector: str
    limit: int
    continue_token: str
    trace: _object_pb2.TraceContext
    recipient: Recipient
    def __init__(self, ref: _Optional[_Union[ObjectRef, _Mapping]] = ..., label_selector: _Optional[str] = ..., field_selector: _Optional[str] = ..., limit: _Optional[int] = ..., continue_token: _Optional[str] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("verb", "ref", "body", "fence", "trace", "recipient", "sealed_body")
    VERB_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    SEALED_BODY_FIELD_NUMBER: _ClassVar[int]
    verb: WriteVerb
    ref: ObjectRef
    body: bytes
    fence: Fence
    trace: _object_pb2.TraceContext
    recipient: Recipient
    sealed_body: SealedBody
    def __init__(self, verb: _Optional[_Union[WriteVerb, str]] = ..., ref: _Optional[_Union[ObjectRef, _Mapping]] = ..., body: _Optional[bytes] = ..., fence: _Optional[_Union[Fence, _Mapping]] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ..., sealed_body: _Optional[_Union[SealedBody, _Mapping]] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("namespace", "name", "uid", "node", "revision", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    node: str
    revision: int
    trace: _object_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., node: _Optional[str] = ..., revision: _Optional[int] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class BindRequest(_message.Message):
    __slots__ = ("bindings", "fence")
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    bindings: _containers.RepeatedCompositeFieldContainer[Binding]
    fence: Fence
    def __init__(self, bindings: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., fence: _Optional[_Union[Fence, _Mapping]] = ...) -> None: ...

class WriteReply(_message.Message):
    __slots__ = ("revision", "json", "status", "sealed", "api_key")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    revision: int
    json: bytes
    status: bytes
    sealed: Sealed
    api_key: Recipient
    def __init__(self, revision: _Optional[int] = ..., json: _Optional[bytes] = ..., status: _Optional[bytes] = ..., sealed: _Optional[_Union[Sealed, _Mapping]] = ..., api_key: _Optional[_Union[Recipient, _Mapping]] = ...) -> None: ...

class ListReply(_message.Message):
    __slots__ = ("revision", "items", "continue_token", "status", "sealed")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CONTINUE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    revision: int
    items: _containers.RepeatedScalarFieldContainer[bytes]
    continue_token: str
    status: bytes
    sealed: Sealed
    def __init__(self, revision: _Optional[int] = ..., items: _Optional[_Iterable[bytes]] = ..., continue_token: _Optional[str] = ..., status: _Optional[bytes] = ..., sealed: _Optional[_Union[Sealed, _Mapping]] = ...) -> None: ...

class VersionsRequest(_message.Message):
    __slots__ = ("refs",)
    REFS_FIELD_NUMBER: _ClassVar[int]
    refs: _containers.RepeatedCompositeFieldContainer[ObjectRef]
    def __init__(self, refs: _Optional[_Iterable[_Union[ObjectRef, _Mapping]]] = ...) -> None: ...

class VersionsReply(_message.Message):
    __slots__ = ("revisions", "status")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedScalarFieldContainer[int]
    status: bytes
    def __init__(self, revisions: _Optional[_Iterable[int]] = ..., status: _Optional[bytes] = ...) -> None: ...

class KindsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServedKind(_message.Message):
    __slots__ = ("group", "version", "resource", "kind", "namespaced", "verbs")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACED_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    verbs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, group: _Optional[str] = ..., version: _Optional[str] = ..., resource: _Optional[str] = ..., kind: _Optional[str] = ..., namespaced: _Optional[bool] = ..., verbs: _Optional[_Iterable[str]] = ...) -> None: ...

class KindsReply(_message.Message):
    __slots__ = ("kinds", "status")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedCompositeFieldContainer[ServedKind]
    status: bytes
    def __init__(self, kinds: _Optional[_Iterable[_Union[ServedKind, _Mapping]]] = ..., status: _Optional[bytes] = ...) -> None: ...

class BindReply(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[WriteReply]
    def __init__(self, results: _Optional[_Iterable[_Union[WriteReply, _Mapping]]] = ...) -> None: ...
