from orch_pb.v1 import object_pb2 as _object_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Refusal(_message.Message):
    __slots__ = ("rule", "reason", "nodes", "names")
    RULE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    rule: str
    reason: str
    nodes: int
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule: _Optional[str] = ..., reason: _Optional[str] = ..., nodes: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class ScorePart(_message.Message):
    __slots__ = ("rule", "share")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    share: float
    def __init__(self, rule: _Optional[str] = ..., share: _Optional[float] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("node", "total", "parts")
    NODE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    node: str
    total: float
    parts: _containers.RepeatedCompositeFieldContainer[ScorePart]
    def __init__(self, node: _Optional[str] = ..., total: _Optional[float] = ..., parts: _Optional[_Iterable[_Union[ScorePart, _Mapping]]] = ...) -> None: ...

class Victim(_message.Message):
    __slots__ = ("namespace", "name", "uid", "priority", "budgets", "violates")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    VIOLATES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    priority: int
    budgets: _containers.RepeatedScalarFieldContainer[str]
    violates: bool
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., priority: _Optional[int] = ..., budgets: _Optional[_Iterable[str]] = ..., violates: _Optional[bool] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("node", "violations", "highest", "sum", "victims", "latest")
    NODE_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    VICTIMS_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    node: str
    violations: int
    highest: int
    sum: int
    victims: int
    latest: int
    def __init__(self, node: _Optional[str] = ..., violations: _Optional[int] = ..., highest: _Optional[int] = ..., sum: _Optional[int] = ..., victims: _Optional[int] = ..., latest: _Optional[int] = ...) -> None: ...

class Preemption(_message.Message):
    __slots__ = ("namespace", "name", "uid", "revision", "candidates", "best", "node", "violations", "victims", "refusal", "priority")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    VICTIMS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    revision: int
    candidates: int
    best: _containers.RepeatedCompositeFieldContainer[Candidate]
    node: str
    violations: int
    victims: _containers.RepeatedCompositeFieldContainer[Victim]
    refusal: str
    priority: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., revision: _Optional[int] = ..., candidates: _Optional[int] = ..., best: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., node: _Optional[str] = ..., violations: _Optional[int] = ..., victims: _Optional[_Iterable[_Union[Victim, _Mapping]]] = ..., refusal: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class SchedulingDecision(_message.Message):
    __slots__ = ("namespace", "name", "uid", "node", "refusals", "best", "feasible", "nodes", "trace", "revision", "profile", "profile_hash", "seed", "term", "batch", "place", "score", "message", "time", "took", "attempts", "preemption")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    FEASIBLE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TOOK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PREEMPTION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    node: str
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    best: _containers.RepeatedCompositeFieldContainer[Score]
    feasible: int
    nodes: int
    trace: _object_pb2.TraceContext
    revision: int
    profile: str
    profile_hash: str
    seed: int
    term: int
    batch: int
    place: int
    score: float
    message: str
    time: int
    took: int
    attempts: int
    preemption: Preemption
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., node: _Optional[str] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., best: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., feasible: _Optional[int] = ..., nodes: _Optional[int] = ..., trace: _Optional[_Union[_object_pb2.TraceContext, _Mapping]] = ..., revision: _Optional[int] = ..., profile: _Optional[str] = ..., profile_hash: _Optional[str] = ..., seed: _Optional[int] = ..., term: _Optional[int] = ..., batch: _Optional[int] = ..., place: _Optional[int] = ..., score: _Optional[float] = ..., message: _Optional[str] = ..., time: _Optional[int] = ..., took: _Optional[int] = ..., attempts: _Optional[int] = ..., preemption: _Optional[_Union[Preemption, _Mapping]] = ...) -> None: ...
