"""Audit: what was asked, by whom, and what came of it, as events of audit.k8s.io/v1.

While a request is served its entry only keeps references to bytes. Events are put together and written elsewhere
(audit_log), off the requests' path; when that cannot keep up, events are dropped and counted, as in Kubernetes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, get_args

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, rfc3339_micro
from orch.errors import ApiError, UnauthorizedError, UnavailableError
from orch_api.auth.attributes import Attributes as Wanted
from orch_api.auth.audit_notes import NOTES, AuditNotes
from orch_api.auth.identity import Caller
from orch_api.http.audit_policy import Attributes, Level, Recording, Rules, Stage, attributes_for
from orch_api.http.exchange import Scope, audit_id

LEVELS: Final = Counter("apiserver_audit_level", "Requests by the level at which they are recorded", ("level",))

_MAX_AGENT: Final = 1024
_CONFIDENTIAL: Final = frozenset(
    {("", "secrets", ""), ("", "serviceaccounts", "token"), ("authentication.k8s.io", "tokenreviews", "")}
)
"""Group, resource and subresource of what nobody should find in a log; the policy may leave it out, but not open it."""
_BUS: Final = "orch-bus"
"""The user agent of those who ask on the bus."""
_REFUSALS: Final = frozenset({401, 403})
_FAILURE: Final = 400
_EARLY: Final[Mapping[str, Any]] = {
    "metadata": {},
    "status": "Success",
    "message": "Connection closed early",
    "code": 200,
}


class ObjectReference(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """What a request is about."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_group: str = ""
    api_version: str = ""
    resource_version: str = ""
    subresource: str = ""


class Content(msgspec.Struct, frozen=True):
    """A request's or an answer's body as it was sent."""

    body: bytes = b""
    media_type: str = ""


_NOTHING: Final = Content()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be: its metadata, and the bodies as they were sent. `status` is None before there is an answer."""

    audit_id: str
    level: Level
    stage: Stage
    attributes: Attributes
    uri: str
    source_ips: Sequence[str]
    user_agent: str
    received: str
    at: str
    annotations: Mapping[str, str]
    omit_managed_fields: bool
    status: Mapping[str, Any] | None = None
    request: Content = Content()
    response: Content = Content()

    @property
    def size(self) -> int:
        """About the bytes that it holds."""
        return 2048 + len(self.request.body) + len(self.response.body)


class Recorder(Protocol):
    """Takes what is to be written. It must return at once."""

    def put(self, record: Record) -> None:
        """Take a record; drop and count it when there is no room."""
        ...


class Entry:
    """What is recorded of one request, from its beginning to its end.

    One that the policy leaves out costs little, and is recorded only when it is refused.
    """

    __slots__ = (
        "_asked",
        "_audit_id",
        "_auditor",
        "_done",
        "_headers",
        "_notes",
        "_received",
        "_recording",
        "_request",
        "_response",
        "_scope",
        "_status",
    )

    def __init__(
        self,
        auditor: Auditor,
        recording: Recording,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        audit_id: str,
        asked: Attributes,
        received: datetime,
        notes: AuditNotes,
    ) -> None:
        self._auditor = auditor
        self._recording = recording
        self._scope = scope
        self._headers = headers
        self._asked = asked
        self._audit_id = audit_id
        self._received = received
        self._request = _NOTHING
        self._response = _NOTHING
        self._status: Mapping[str, Any] | None = None
        self._done = False
        self._notes = notes

    @property
    def recorded(self) -> bool:
        """Whether the policy wants it recorded, whatever comes of it."""
        return self._recording.level != "None"

    def assumed(self, caller: Caller) -> None:
        """Note as whom it is served, where that is found out after it began."""
        self._asked = msgspec.structs.replace(self._asked, caller=caller)

    def asked(self, body: bytes, media_type: str) -> None:
        """Note the request's body."""
        self._request = Content(body, media_type)

    def answered(self, status: int, body: bytes, media_type: str) -> None:
        """Note the answer."""
        self._status = {"metadata": {}, "code": status}
        self._response = Content(body, media_type)

    def begun(self, status: int) -> None:
        """Note that an answer of unknown length has begun."""
        self._status = {"metadata": {}, "code": status}
        if self.recorded:
            self.write("ResponseStarted")

    def finish(self, failure: BaseException | None = None) -> None:
        """Note the request's end; `failure` is what it ended with."""
        if self._done:
            return
        self._done = True
        if self._status is None and isinstance(failure, ApiError):
            self.answered(failure.code, failure.encode(), "application/json")
        if not self.recorded:
            if self._auditor.denials and self._refused():
                self._put("ResponseComplete", "Metadata")
            return
        expected = failure is None or isinstance(failure, ApiError | UnavailableError)
        self.write("ResponseComplete" if expected else "Panic")

    def unknown(self, attempted: str) -> None:
        """Record that nobody knows the sender: at the one stage that Kubernetes records of it, and what was tried."""
        self._done = True
        refusal = UnauthorizedError(attempted)
        told: dict[str, Any] = {"status": "Failure", "message": attempted, "reason": refusal.reason}
        self._status = {"metadata": {}, **told, "code": refusal.code}
        if self.recorded or self._auditor.denials:
            omitted = "ResponseStarted" in self._recording.omitted
            level = self._recording.level if self.recorded else "Metadata"
            self._put("ResponseComplete" if omitted else "ResponseStarted", level)

    def write(self, stage: Stage) -> None:
        """Record a stage, unless the policy leaves it out."""
        if stage not in self._recording.omitted:
            self._put(stage, self._recording.level)

    def _refused(self) -> bool:
        """Return whether authentication, authorization or admission refused the request."""
        code: int = 0 if self._status is None else self._status["code"]
        return code in _REFUSALS or (self._notes.denied and code >= _FAILURE)

    def _put(self, stage: Stage, level: Level) -> None:
        scope = self._scope
        query = scope.get("query_string", b"").decode("latin-1")
        raw_path = scope.get("raw_path", b"").decode("latin-1")
        agent = self._headers.get(b"user-agent", b"").decode("latin-1")
        begun = stage != "RequestReceived"
        self._auditor.put(
            Record(
                audit_id=self._audit_id,
                level=level,
                stage=stage,
                attributes=self._asked,
                uri=f"{raw_path}?{query}" if query else raw_path,
                source_ips=source_ips(scope, self._headers),
                user_agent=agent if len(agent) <= _MAX_AGENT else f"{agent[:_MAX_AGENT]}...TRUNCATED",
                received=rfc3339_micro(self._received),
                at=rfc3339_micro(self._auditor.clock.now() if begun else self._received),
                annotations=dict(self._notes.annotations) if begun else {},
                omit_managed_fields=self._recording.omit_managed_fields,
                status=(self._status or _EARLY) if begun else None,
                request=self._request,
                response=self._response,
            )
        )


class Auditor:
    """Begins the entries of requests. `denials`: what is refused is recorded even where the policy leaves it out."""

    def __init__(self, rules: Rules, recorders: Sequence[Recorder], clock: Clock, *, denials: bool = True) -> None:
        self._rules = rules
        self._recorders = recorders
        self.clock: Final = clock
        self.denials: Final = denials
        self.quiet: Final = rules.empty
        """Whether denials alone are recorded: then requests begin no entries, but have it noted what is decided."""
        self._levels = {level: LEVELS.labels(level) for level in get_args(Level)}

    def begin(
        self, scope: Scope, headers: Mapping[bytes, bytes], audit_id: str, asked: Attributes, *, known: bool = True
    ) -> Entry:
        """Return a request's entry; of one whose sender is not `known` nothing is recorded but the refusal."""
        recording = self._rules.of(asked)
        if is_confidential(asked) and recording.level != "None":
            recording = recording._replace(level="Metadata")
        self._levels[recording.level].inc()
        notes = AuditNotes()
        NOTES.set(notes)  # a request is served in a context of its own
        entry = Entry(self, recording, scope, headers, audit_id, asked, self.clock.now(), notes)
        if known and entry.recorded:
            entry.write("RequestReceived")
        return entry

    def failed(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        audit_id: str,
        asked: Attributes,
        failure: BaseException,
        seconds: float,
    ) -> None:
        """Record a request that began no entry so many seconds ago, if it was denied."""
        received = self.clock.now() - timedelta(seconds=seconds)
        recording = self._rules.of(asked)
        Entry(self, recording, scope, headers, audit_id, asked, received, NOTES.get() or AuditNotes()).finish(failure)

    def denied(self, caller: Caller, asked: Wanted, notes: AuditNotes, failure: ApiError) -> None:
        """Record what was refused to somebody who asks on the bus, of whose requests nothing else is recorded."""
        if not self.denials:
            return
        path = _path_of(asked)
        self.put(
            Record(
                audit_id=audit_id({}).decode(),
                level="Metadata",
                stage="ResponseComplete",
                attributes=attributes_for(caller, asked, path),
                uri=path,
                source_ips=(),
                user_agent=_BUS,
                received=(now := rfc3339_micro(self.clock.now())),
                at=now,
                annotations=dict(notes.annotations),
                omit_managed_fields=False,
                status={"metadata": {}, "code": failure.code},
                response=Content(failure.encode(), "application/json"),
            )
        )

    def put(self, record: Record) -> None:
        """Hand a record on."""
        for recorder in self._recorders:
            recorder.put(record)


def is_confidential(asked: Attributes) -> bool:
    """Return whether nobody should find in a log what a request sends, or is answered."""
    return (asked.group, asked.resource, asked.subresource) in _CONFIDENTIAL


def _path_of(asked: Wanted) -> str:
    """Return at what path a request on the bus would have been for the same."""
    group = f"/apis/{asked.group}" if asked.group else "/api"
    space = f"/namespaces/{asked.namespace}" if asked.namespace and asked.resource != "namespaces" else ""
    return f"{group}/{asked.version}{space}/{'/'.join(filter(None, (asked.resource, asked.name, asked.subresource)))}"


def source_ips(scope: Scope, headers: Mapping[bytes, bytes]) -> list[str]:
    """Return where a request came from: what proxies say of it, then the address that it was received from."""
    said = [part.strip() for part in headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")]
    if not any(said):
        said = [headers.get(b"x-real-ip", b"").decode("latin-1").strip()]
    found = [address for address in said if _is_address(address)]
    client = scope.get("client")
    if client and client[0] not in found:
        found.append(client[0])
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
