from orch_pb.v1 import object_pb2 as _object_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PodReport(_message.Message):
    __slots__ = ("namespace", "name", "uid", "status", "terminated", "sequence", "boot_id", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TERMINATED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    status: bytes
    terminated: bool
    sequence: int
    boot_id: str
    trace: _object_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., status: _Optional[bytes] = ..., terminated: _Optional[bool] = ..., sequence: _Optional[int] = ..., boot_id: _Optional[str] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class NodeReport(_message.Message):
    __slots__ = ("node", "object")
    NODE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    node: str
    object: bytes
    def __init__(self, node: _Optional[str] = ..., object: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("node", "sequence", "boot_id", "unix_nanos", "lease_seconds")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    node: str
    sequence: int
    boot_id: str
    unix_nanos: int
    lease_seconds: float
    def __init__(self, node: _Optional[str] = ..., sequence: _Optional[int] = ..., boot_id: _Optional[str] = ..., unix_nanos: _Optional[int] = ..., lease_seconds: _Optional[float] = ...) -> None: ...

class ContainerUsage(_message.Message):
    __slots__ = ("container", "cpu_nanos", "memory_bytes", "rss_bytes", "swap_bytes", "page_faults", "major_page_faults", "throttled_nanos", "processes", "layer", "logs")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CPU_NANOS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FAULTS_FIELD_NUMBER: _ClassVar[int]
    MAJOR_PAGE_FAULTS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_NANOS_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    container: str
    cpu_nanos: int
    memory_bytes: int
    rss_bytes: int
    swap_bytes: int
    page_faults: int
    major_page_faults: int
    throttled_nanos: int
    processes: int
    layer: DiskUsage
    logs: DiskUsage
    def __init__(self, container: _Optional[str] = ..., cpu_nanos: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., swap_bytes: _Optional[int] = ..., page_faults: _Optional[int] = ..., major_page_faults: _Optional[int] = ..., throttled_nanos: _Optional[int] = ..., processes: _Optional[int] = ..., layer: _Optional[_Union[DiskUsage, _Mapping]] = ..., logs: _Optional[_Union[DiskUsage, _Mapping]] = ...) -> None: ...

class DiskUsage(_message.Message):
    __slots__ = ("bytes", "inodes")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    INODES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    inodes: int
    def __init__(self, bytes: _Optional[int] = ..., inodes: _Optional[int] = ...) -> None: ...

class VolumeUsage(_message.Message):
    __slots__ = ("name", "used", "in_memory")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    IN_MEMORY_FIELD_NUMBER: _ClassVar[int]
    name: str
    used: DiskUsage
    in_memory: bool
    def __init__(self, name: _Optional[str] = ..., used: _Optional[_Union[DiskUsage, _Mapping]] = ..., in_memory: _Optional[bool] = ...) -> None: ...

class NetworkUsage(_message.Message):
    __slots__ = ("interface", "rx_bytes", "rx_errors", "tx_bytes", "tx_errors")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    RX_BYTES_FIELD_NUMBER: _ClassVar[int]
    RX_ERRORS_FIELD_NUMBER: _ClassVar[int]
    TX_BYTES_FIELD_NUMBER: _ClassVar[int]
    TX_ERRORS_FIELD_NUMBER: _ClassVar[int]
    interface: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int
    def __init__(self, interface: _Optional[str] = ..., rx_bytes: _Optional[int] = ..., rx_errors: _Optional[int] = ..., tx_bytes: _Optional[int] = ..., tx_errors: _Optional[int] = ...) -> None: ...

class FileSystemUsage(_message.Message):
    __slots__ = ("capacity", "available", "inodes", "inodes_free")
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    INODES_FIELD_NUMBER: _ClassVar[int]
    INODES_FREE_FIELD_NUMBER: _ClassVar[int]
    capacity: int
    available: int
    inodes: int
    inodes_free: int
    def __init__(self, capacity: _Optional[int] = ..., available: _Optional[int] = ..., inodes: _Optional[int] = ..., inodes_free: _Optional[int] = ...) -> None: ...

class PodUsage(_message.Message):
    __slots__ = ("namespace", "name", "uid", "containers", "memory_bytes", "processes", "volumes", "networks")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    containers: _containers.RepeatedCompositeFieldContainer[ContainerUsage]
    memory_bytes: int
    processes: int
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeUsage]
    networks: _containers.RepeatedCompositeFieldContainer[NetworkUsage]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., containers: _Optional[_Iterable[_Union[ContainerUsage, _Mapping]]] = ..., memory_bytes: _Optional[int] = ..., processes: _Optional[int] = ..., volumes: _Optional[_Iterable[_Union[VolumeUsage, _Mapping]]] = ..., networks: _Optional[_Iterable[_Union[NetworkUsage, _Mapping]]] = ...) -> None: ...

class UsageSample(_message.Message):
    __slots__ = ("node", "unix_nanos", "cpu_nanos", "memory_bytes", "pods", "memory_available", "node_fs", "image_fs", "processes", "most_processes", "networks")
    NODE_FIELD_NUMBER: _ClassVar[int]
    UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    CPU_NANOS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    NODE_FS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FS_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    MOST_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    node: str
    unix_nanos: int
    cpu_nanos: int
    memory_bytes: int
    pods: _containers.RepeatedCompositeFieldContainer[PodUsage]
    memory_available: int
    node_fs: FileSystemUsage
    image_fs: FileSystemUsage
    processes: int
    most_processes: int
    networks: _containers.RepeatedCompositeFieldContainer[NetworkUsage]
    def __init__(self, node: _Optional[str] = ..., unix_nanos: _Optional[int] = ..., cpu_nanos: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., pods: _Optional[_Iterable[_Union[PodUsage, _Mapping]]] = ..., memory_available: _Optional[int] = ..., node_fs: _Optional[_Union[FileSystemUsage, _Mapping]] = ..., image_fs: _Optional[_Union[FileSystemUsage, _Mapping]] = ..., processes: _Optional[int] = ..., most_processes: _Optional[int] = ..., networks: _Optional[_Iterable[_Union[NetworkUsage, _Mapping]]] = ...) -> None: ...

class ObjectChanged(_message.Message):
    __slots__ = ("resource", "namespace", "name", "revision")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    resource: str
    namespace: str
    name: str
    revision: int
    def __init__(self, resource: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ObjectsChanged(_message.Message):
    __slots__ = ("objects",)
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[ObjectChanged]
    def __init__(self, objects: _Optional[_Iterable[_Union[ObjectChanged, _Mapping]]] = ...) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("namespace", "pod", "uid", "container", "follow", "previous", "timestamps", "tail_lines", "since_seconds", "since_time", "limit_bytes")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    TAIL_LINES_FIELD_NUMBER: _ClassVar[int]
    SINCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    uid: str
    container: str
    follow: bool
    previous: bool
    timestamps: bool
    tail_lines: int
    since_seconds: int
    since_time: str
    limit_bytes: int
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., uid: _Optional[str] = ..., container: _Optional[str] = ..., follow: _Optional[bool] = ..., previous: _Optional[bool] = ..., timestamps: _Optional[bool] = ..., tail_lines: _Optional[int] = ..., since_seconds: _Optional[int] = ..., since_time: _Optional[str] = ..., limit_bytes: _Optional[int] = ...) -> None: ...

class ExecRequest(_message.Message):
    __slots__ = ("namespace", "pod", "uid", "container", "command", "stdin", "stdout", "stderr", "tty")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    uid: str
    container: str
    command: _containers.RepeatedScalarFieldContainer[str]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., uid: _Optional[str] = ..., container: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., stdin: _Optional[bool] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., tty: _Optional[bool] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("namespace", "pod", "uid", "container", "stdin", "stdout", "stderr", "tty")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    uid: str
    container: str
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., uid: _Optional[str] = ..., container: _Optional[str] = ..., stdin: _Optional[bool] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., tty: _Optional[bool] = ...) -> None: ...

class PortForwardRequest(_message.Message):
    __slots__ = ("namespace", "pod", "uid", "port", "own_address")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    OWN_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    uid: str
    port: int
    own_address: bool
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., uid: _Optional[str] = ..., port: _Optional[int] = ..., own_address: _Optional[bool] = ...) -> None: ...

class NodeQuery(_message.Message):
    __slots__ = ("node", "method", "path", "query")
    NODE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    node: str
    method: str
    path: str
    query: str
    def __init__(self, node: _Optional[str] = ..., method: _Optional[str] = ..., path: _Optional[str] = ..., query: _Optional[str] = ...) -> None: ...

class NodeAnswer(_message.Message):
    __slots__ = ("status", "content_type")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    status: int
    content_type: str
    def __init__(self, status: _Optional[int] = ..., content_type: _Optional[str] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("sequence", "channel", "data", "end", "credit", "status")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    channel: int
    data: bytes
    end: bool
    credit: int
    status: bytes
    def __init__(self, sequence: _Optional[int] = ..., channel: _Optional[int] = ..., data: _Optional[bytes] = ..., end: _Optional[bool] = ..., credit: _Optional[int] = ..., status: _Optional[bytes] = ...) -> None: ...

class StreamOpen(_message.Message):
    __slots__ = ("inbox", "credit", "request", "trace", "status")
    INBOX_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    inbox: str
    credit: int
    request: bytes
    trace: _object_pb2.TraceContext
    status: bytes
    def __init__(self, inbox: _Optional[str] = ..., credit: _Optional[int] = ..., request: _Optional[bytes] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ..., status: _Optional[bytes] = ...) -> None: ...
