"""Audit: what was asked, by whom, and what came of it, as events of audit.k8s.io/v1.

While a request is served its entry only keeps references to bytes. Events are put together and written elsewhere
(audit_log), off the requests' path; when that cannot keep up, events are dropped and counted, as in Kubernetes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, rfc3339_micro
from orch.errors import ApiError, UnavailableError
from orch_api.admission.chain import AUDIT_ANNOTATIONS
from orch_api.admission.images.policy import PREFIX
from orch_api.http.audit_policy import Attributes, Level, Recording, Rules, Stage
from orch_api.http.exchange import Scope

LEVELS: Final = Counter("apiserver_audit_level", "Requests by the level at which they are recorded", ("level",))

_MAX_AGENT: Final = 1024
_CONFIDENTIAL: Final = frozenset(
    {("", "secrets", ""), ("", "serviceaccounts", "token"), ("authentication.k8s.io", "tokenreviews", "")}
)
"""Group, resource and subresource of what nobody should find in a log; the policy may leave it out, but not open it."""
_WRITES: Final = frozenset({"create", "update", "patch"})
_DECISION: Final = "authorization.k8s.io/decision"
_REASON: Final = "authorization.k8s.io/reason"
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
    """What is recorded of one request, from its beginning to its end."""

    __slots__ = (
        "_annotations",
        "_auditor",
        "_common",
        "_done",
        "_level",
        "_omitted",
        "_request",
        "_response",
        "_status",
    )

    def __init__(self, auditor: Auditor, recording: Recording, common: Mapping[str, Any]) -> None:
        self._auditor = auditor
        self._common = common
        self._omitted = recording.omitted
        self._level: Level = recording.level
        self._request = Content()
        self._response = Content()
        self._status = 0
        self._done = False
        self._annotations: dict[str, str] = {}
        AUDIT_ANNOTATIONS.set(self._annotations)  # a request is served in a context of its own

    def asked(self, body: bytes, media_type: str) -> None:
        """Note the request's body."""
        self._request = Content(body, media_type)

    def answered(self, status: int, body: bytes, media_type: str) -> None:
        """Note the answer."""
        self._status = status
        self._response = Content(body, media_type)

    def begun(self, status: int) -> None:
        """Note that an answer of unknown length has begun."""
        self._status = status
        self.write("ResponseStarted")

    def finish(self, failure: BaseException | None = None) -> None:
        """Note the request's end; `failure` is what it ended with."""
        if not self._done:
            self._done = True
            expected = failure is None or isinstance(failure, ApiError | UnavailableError)
            self.write("ResponseComplete" if expected else "Panic")

    def write(self, stage: Stage) -> None:
        """Record a stage, unless the policy leaves it out."""
        level = self._level
        if level == "None":
            if stage != "ResponseComplete" or not any(key.startswith(PREFIX) for key in self._annotations):
                return
            level = "Metadata"  # what the image policy refuses is recorded whatever the audit policy says
        elif stage in self._omitted:
            return
        started = stage != "RequestReceived"
        status: Mapping[str, Any] | None = None
        annotations: dict[str, str] = {}
        if started:
            status = {"metadata": {}, "code": self._status} if self._status else _EARLY
            annotations = self._decision() | self._annotations
        self._auditor.put(
            Record(
                **self._common,
                level=level,
                stage=stage,
                at=self._auditor.now(),
                annotations=annotations,
                status=status,
                request=self._request,
                response=self._response,
            )
        )

    def _decision(self) -> dict[str, str]:
        """Return what authorization came to. Only its own refusals say what a user cannot do."""
        if self._status == 401:
            return {}
        refused = self._status == 403 and b" cannot " in self._response.body
        return {_DECISION: "forbid" if refused else "allow", _REASON: ""}


class Auditor:
    """Begins the entries of requests that the policy wants recorded."""

    def __init__(self, rules: Rules, recorders: Sequence[Recorder], clock: Clock) -> None:
        self._rules = rules
        self._recorders = recorders
        self._clock = clock

    def begin(self, scope: Scope, headers: Mapping[bytes, bytes], audit_id: str, asked: Attributes) -> Entry | None:
        """Return a request's entry, None when nothing of it is recorded."""
        recording = self._rules.of(asked)
        if (asked.group, asked.resource, asked.subresource) in _CONFIDENTIAL and recording.level != "None":
            recording = recording._replace(level="Metadata")
        LEVELS.labels(recording.level).inc()
        if recording.level == "None" and not _concerns_images(asked):
            return None
        query = scope.get("query_string", b"").decode("latin-1")
        raw_path = scope.get("raw_path", b"").decode("latin-1")
        agent = headers.get(b"user-agent", b"").decode("latin-1")
        common: dict[str, Any] = {
            "audit_id": audit_id,
            "attributes": asked,
            "uri": f"{raw_path}?{query}" if query else raw_path,
            "source_ips": source_ips(scope, headers),
            "user_agent": agent if len(agent) <= _MAX_AGENT else f"{agent[:_MAX_AGENT]}...TRUNCATED",
            "received": self.now(),
            "omit_managed_fields": recording.omit_managed_fields,
        }
        entry = Entry(self, recording, common)
        entry.write("RequestReceived")
        return entry

    def put(self, record: Record) -> None:
        """Hand a record on."""
        for recorder in self._recorders:
            recorder.put(record)

    def now(self) -> str:
        """Return the time as events carry it."""
        return rfc3339_micro(self._clock.now())


def _concerns_images(asked: Attributes) -> bool:
    """Return whether a request may be one that the image policy refuses."""
    return asked.resource == "pods" and not asked.group and asked.verb in _WRITES


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
