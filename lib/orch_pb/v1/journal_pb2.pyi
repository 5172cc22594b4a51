from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JournalChunk(_message.Message):
    __slots__ = ("term", "number", "time", "checkpoint", "entries", "decisions")
    TERM_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    term: int
    number: int
    time: int
    checkpoint: bool
    entries: bytes
    decisions: int
    def __init__(self, term: _Optional[int] = ..., number: _Optional[int] = ..., time: _Optional[int] = ..., checkpoint: _Optional[bool] = ..., entries: _Optional[bytes] = ..., decisions: _Optional[int] = ...) -> None: ...

class JournalEntries(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[JournalEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[JournalEntry, _Mapping]]] = ...) -> None: ...

class JournalEntry(_message.Message):
    __slots__ = ("began", "told", "template", "placed", "removed", "batch", "round", "contest", "preempting")
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    PLACED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CONTEST_FIELD_NUMBER: _ClassVar[int]
    PREEMPTING_FIELD_NUMBER: _ClassVar[int]
    began: Began
    told: Told
    template: Template
    placed: Placements
    removed: str
    batch: Batch
    round: Round
    contest: Contest
    preempting: Preempting
    def __init__(self, began: _Optional[_Union[Began, _Mapping]] = ..., told: _Optional[_Union[Told, _Mapping]] = ..., template: _Optional[_Union[Template, _Mapping]] = ..., placed: _Optional[_Union[Placements, _Mapping]] = ..., removed: _Optional[str] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., round: _Optional[_Union[Round, _Mapping]] = ..., contest: _Optional[_Union[Contest, _Mapping]] = ..., preempting: _Optional[_Union[Preempting, _Mapping]] = ...) -> None: ...

class Began(_message.Message):
    __slots__ = ("resources", "rows", "free", "profiles")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedScalarFieldContainer[str]
    rows: _containers.RepeatedScalarFieldContainer[str]
    free: _containers.RepeatedScalarFieldContainer[int]
    profiles: _containers.RepeatedCompositeFieldContainer[Profile]
    def __init__(self, resources: _Optional[_Iterable[str]] = ..., rows: _Optional[_Iterable[str]] = ..., free: _Optional[_Iterable[int]] = ..., profiles: _Optional[_Iterable[_Union[Profile, _Mapping]]] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("name", "hash", "config")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    name: str
    hash: str
    config: bytes
    def __init__(self, name: _Optional[str] = ..., hash: _Optional[str] = ..., config: _Optional[bytes] = ...) -> None: ...

class Told(_message.Message):
    __slots__ = ("what", "name", "json")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    what: str
    name: str
    json: bytes
    def __init__(self, what: _Optional[str] = ..., name: _Optional[str] = ..., json: _Optional[bytes] = ...) -> None: ...

class Template(_message.Message):
    __slots__ = ("id", "pod", "pinned")
    ID_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    id: int
    pod: bytes
    pinned: bool
    def __init__(self, id: _Optional[int] = ..., pod: _Optional[bytes] = ..., pinned: _Optional[bool] = ...) -> None: ...

class Placements(_message.Message):
    __slots__ = ("uids", "nodes", "templates", "started")
    UIDS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    uids: _containers.RepeatedScalarFieldContainer[str]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    templates: _containers.RepeatedScalarFieldContainer[int]
    started: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, uids: _Optional[_Iterable[str]] = ..., nodes: _Optional[_Iterable[str]] = ..., templates: _Optional[_Iterable[int]] = ..., started: _Optional[_Iterable[str]] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("head", "templates", "judgements", "judged", "pods", "time", "revision", "profile", "seed", "number", "nodes", "preferred")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_FIELD_NUMBER: _ClassVar[int]
    head: bytes
    templates: _containers.RepeatedScalarFieldContainer[int]
    judgements: _containers.RepeatedScalarFieldContainer[bytes]
    judged: _containers.RepeatedScalarFieldContainer[int]
    pods: _containers.RepeatedScalarFieldContainer[bytes]
    time: int
    revision: int
    profile: str
    seed: int
    number: int
    nodes: int
    preferred: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, head: _Optional[bytes] = ..., templates: _Optional[_Iterable[int]] = ..., judgements: _Optional[_Iterable[bytes]] = ..., judged: _Optional[_Iterable[int]] = ..., pods: _Optional[_Iterable[bytes]] = ..., time: _Optional[int] = ..., revision: _Optional[int] = ..., profile: _Optional[str] = ..., seed: _Optional[int] = ..., number: _Optional[int] = ..., nodes: _Optional[int] = ..., preferred: _Optional[_Iterable[str]] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Contest(_message.Message):
    __slots__ = ("template", "profile", "seed", "enough", "offset", "hopeful", "now")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ENOUGH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    HOPEFUL_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    template: int
    profile: str
    seed: int
    enough: int
    offset: int
    hopeful: bool
    now: float
    def __init__(self, template: _Optional[int] = ..., profile: _Optional[str] = ..., seed: _Optional[int] = ..., enough: _Optional[int] = ..., offset: _Optional[int] = ..., hopeful: _Optional[bool] = ..., now: _Optional[float] = ...) -> None: ...

class Preempting(_message.Message):
    __slots__ = ("template", "profile", "now", "revision", "record")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    template: int
    profile: str
    now: float
    revision: int
    record: bytes
    def __init__(self, template: _Optional[int] = ..., profile: _Optional[str] = ..., now: _Optional[float] = ..., revision: _Optional[int] = ..., record: _Optional[bytes] = ...) -> None: ...

class Recording(_message.Message):
    __slots__ = ("chunks", "decisions")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[JournalChunk]
    decisions: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chunks: _Optional[_Iterable[_Union[JournalChunk, _Mapping]]] = ..., decisions: _Optional[_Iterable[bytes]] = ...) -> None: ...
