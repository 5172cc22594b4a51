"""Where audit events go: a file of JSON lines that is rotated, and the stream AUDIT on the bus.

Each has a bounded queue of its own, so that neither waits for the other, nor any request for them.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from orch.bus.protocol import Bus
from orch.bus.subjects import AUDIT, audit_subject
from orch.clock import Clock
from orch.errors import BusError, OrchError
from orch_api import wire
from orch_api.auth.identity import Caller
from orch_api.http import cbor
from orch_api.http.audit import Content, ObjectReference, Record, is_confidential
from orch_api.http.yaml_documents import yaml_to_json
from orch_pb.v1.audit_pb2 import AuditEvent

log = logging.getLogger(__name__)

_REPEATING: Final = frozenset({400, 422})
"""Refusals in Kubernetes' words, which repeat what was sent, or the whole object as it would have become."""
_UNTOLD: Final = "what was wrong is told to the client alone, as it may repeat what is confidential"

EVENTS: Final = Counter("apiserver_audit_event", "Audit events that were written")
ERRORS: Final = Counter("apiserver_audit_error", "Audit events that were dropped", ("plugin",))
RETRIES: Final = Counter("orch_api_audit_retries", "Times that writing audit events was tried again", ("plugin",))

MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 64 << 20
MAX_EVENT: Final = 4 << 20
_BATCH: Final = 400
_PAUSE: Final = 0.05
_FIRST_BACKOFF: Final = 0.2
_LAST_BACKOFF: Final = 10.0
_FLUSH_SECONDS: Final = 5.0
_TRUNCATED: Final = "audit.k8s.io/truncated"


class _User(msgspec.Struct, frozen=True, omit_defaults=True):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}


class _Authentication(msgspec.Struct, frozen=True, rename="camel"):
    impersonation_constraint: str


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    kind: str
    api_version: str
    level: str
    audit_id: str = msgspec.field(name="auditID")
    stage: str
    request_uri: str = msgspec.field(name="requestURI")
    verb: str
    user: _User
    impersonated_user: _User | None = None
    authentication_metadata: _Authentication | None = None
    source_ips: Sequence[str] = msgspec.field(default=(), name="sourceIPs")
    user_agent: str = ""
    object_ref: ObjectReference | None = None
    response_status: Any = None
    request_object: msgspec.Raw | None = None
    response_object: msgspec.Raw | None = None
    request_received_timestamp: str
    stage_timestamp: str
    annotations: dict[str, str] = {}


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


_read_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode


def event_of(record: Record) -> bytes:
    """Return the event of a record as JSON; one that is too large without its objects, and marked."""
    encoded = _encode(_event(record, objects=True))
    return encoded if len(encoded) <= MAX_EVENT else _encode(_event(record, objects=False))


def _event(record: Record, *, objects: bool) -> _Event:
    asked = record.attributes
    request = _json_of(record.request) if record.stage != "RequestReceived" else b""
    response = _json_of(record.response)
    wants_request = objects and record.level in {"Request", "RequestResponse"}
    wants_response = objects and record.level == "RequestResponse"
    annotations = dict(record.annotations)
    if not objects:
        annotations[_TRUNCATED] = "true"
    caller = asked.caller
    return _Event(
        kind="Event",
        api_version="audit.k8s.io/v1",
        level=record.level,
        audit_id=record.audit_id,
        stage=record.stage,
        request_uri=record.uri,
        verb=asked.verb,
        user=_user(caller.impersonator or caller),
        impersonated_user=_user(caller) if caller.impersonator is not None else None,
        authentication_metadata=_Authentication(caller.constraint) if caller.constraint else None,
        source_ips=record.source_ips,
        user_agent=record.user_agent,
        object_ref=_reference(record, request) if asked.resource else None,
        response_status=_status(record, response),
        request_object=_shown(request, record) if wants_request else None,
        response_object=_shown(response, record) if wants_response else None,
        request_received_timestamp=record.received,
        stage_timestamp=record.at,
        annotations=annotations,
    )


def _user(caller: Caller) -> _User:
    return _User(caller.user, caller.uid, caller.groups, dict(caller.extra))


def _json_of(content: Content) -> bytes:
    """Return a body as JSON, b"" when there is none or it is none."""
    media_type = content.media_type.partition(";")[0].strip().lower()
    try:
        if not content.body:
            return b""
        if "yaml" in media_type:
            return yaml_to_json(content.body)
        if media_type == wire.PROTOBUF:
            return wire.json_of(content.body)
        if media_type in {cbor.MEDIA_TYPE, cbor.APPLY}:
            return cbor.cbor_to_json(content.body)
        msgspec.json.decode(content.body, type=msgspec.Raw)
    except (OrchError, msgspec.MsgspecError, RecursionError):
        return b""  # it was refused for that; the status says so
    return content.body


def _reference(record: Record, request: bytes) -> ObjectReference:
    """Return what the request is about, as its path says, and where that is silent its object."""
    asked = record.attributes
    head = _Metadata()
    if request[:1] == b"{" and asked.verb in {"create", "update"}:
        try:
            head = _read_head(request).metadata
        except msgspec.MsgspecError:
            head = _Metadata()  # not the metadata of an object; the request was refused for that
    return ObjectReference(
        resource=asked.resource,
        namespace=asked.namespace or head.namespace,
        name=asked.name or head.name,
        uid=head.uid,
        api_group=asked.group,
        api_version=asked.version,
        resource_version=head.resource_version,
        subresource=asked.subresource,
    )


def _status(record: Record, response: bytes) -> Any:
    """Return the status of the answer; an answer that is a Status, such as every failure, is it itself."""
    if record.status is None or "message" in record.status:
        return record.status
    if b'"kind":"Status"' in response[:64]:
        told: dict[str, Any] = msgspec.json.decode(response)
        if record.status["code"] in _REPEATING and is_confidential(record.attributes):
            told = {"metadata": {}, "status": told.get("status"), "message": _UNTOLD, "reason": told.get("reason")}
        return {key: value for key, value in told.items() if key not in {"kind", "apiVersion"}} | {
            "code": record.status["code"]
        }
    return record.status


def _shown(content: bytes, record: Record) -> msgspec.Raw | None:
    if not content:
        return None
    if record.omit_managed_fields and content[:1] == b"{" and b'"managedFields"' in content:
        document: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        items: list[dict[str, Any]] = document.get("items") or []
        for each in (document, *items):
            each.get("metadata", {}).pop("managedFields", None)
        content = _encode(document)
    return msgspec.Raw(content)


class Queue:
    """A bounded queue of records that one writer empties in batches."""

    def __init__(self, plugin: str, write: Callable[[Sequence[Record]], Any], clock: Clock) -> None:
        self._plugin = plugin
        self._write = write
        self._clock = clock
        self._waiting: deque[Record] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, record: Record) -> None:
        """Take a record; drop and count it when there is no room."""
        if len(self._waiting) >= MAX_EVENTS or self._bytes + record.size > MAX_BYTES:
            ERRORS.labels(self._plugin).inc()
            return
        self._waiting.append(record)
        self._bytes += record.size
        self._filled.set()

    async def run(self) -> None:
        """Write until cancelled, then what still waits; what cannot be written is tried again, ever more rarely."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._waiting:
                    await self._persist(self._take())
                await self._clock.sleep(_PAUSE)
        finally:
            await self._flush()

    async def _persist(self, batch: Sequence[Record]) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                await self._write(batch)
            except (OSError, OrchError) as error:
                RETRIES.labels(self._plugin).inc()
                log.warning("audit events cannot be written, next try in %.1f s: %s", backoff, error)
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(batch))
                raise
            else:
                return
            try:
                await self._clock.sleep(backoff)
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(batch))
                raise
            backoff = min(backoff * 2, _LAST_BACKOFF)

    async def _flush(self) -> None:
        """Write what waits, once, in a few seconds."""
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                while self._waiting:
                    await self._write(self._take())
        except (OSError, OrchError, TimeoutError) as error:
            log.warning("the last audit events were not written: %s", error)
            ERRORS.labels(self._plugin).inc(len(self._waiting))

    def _take(self) -> list[Record]:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
        self._bytes -= sum(record.size for record in batch)
        return batch


class LogFile:
    """A file of JSON lines. Several processes may append to it; whoever finds it full moves it away, under a lock."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups

    async def write(self, batch: Sequence[Record]) -> None:
        """Append events. Raises OSError."""
        await asyncio.to_thread(self.append, batch)
        EVENTS.inc(len(batch))

    def append(self, batch: Sequence[Record]) -> None:
        """Append events."""
        lines = b"".join(event_of(record) + b"\n" for record in batch)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{self._path}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._path.exists() and self._path.stat().st_size + len(lines) > self._max_bytes:
                self._rotate()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(lines)

    def _rotate(self) -> None:
        """Move the file to .1, .1 to .2 and so on; the oldest goes."""
        for number in range(self._backups, 0, -1):
            source = Path(f"{self._path}.{number - 1}") if number > 1 else self._path
            if source.exists():
                source.replace(f"{self._path}.{number}")
        if not self._backups:
            self._path.unlink()


class LogStream:
    """The stream AUDIT."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._made = False

    async def write(self, batch: Sequence[Record]) -> None:
        """Append events; one that is sent again after an unknown outcome is stored once. Raises OrchError."""
        if not self._made:
            await self._bus.ensure_stream(AUDIT)
            self._made = True
        messages = await asyncio.to_thread(lambda: [(_subject(record), _message(record), record) for record in batch])
        sent: list[asyncio.Future[int]] = []
        try:
            for subject, message, record in messages:
                message_id = f"{record.audit_id}-{record.stage}"
                sent.append(await self._bus.send(subject, message, message_id=message_id))
        finally:
            outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise BusError(f"the stream {AUDIT.name} did not take an event: {outcome}") from outcome
        EVENTS.inc(len(batch))


def _subject(record: Record) -> str:
    asked = record.attributes
    return audit_subject(asked.verb, asked.group, asked.resource, asked.namespace)


def _message(record: Record) -> bytes:
    asked = record.attributes
    return AuditEvent(
        audit_id=record.audit_id,
        level=record.level,
        stage=record.stage,
        user=asked.caller.user,
        verb=asked.verb,
        group=asked.group,
        resource=asked.resource,
        namespace=asked.namespace,
        name=asked.name,
        code=record.status["code"] if record.status else 0,
        json=event_of(record),
    ).SerializeToString()
