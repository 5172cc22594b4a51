"""Traces, logs and the metrics' address of a service: one set-up, and spans that cost little when nobody collects them.

A trace context travels in the protobuf messages (TraceContext). With an OTLP endpoint configured, `span` records
OpenTelemetry spans; without one it only carries its parent's context on, so that a trace passes through a service
that does not export. Metrics are module-level prometheus_client objects in the modules that count.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, start_http_server

from orch.config import TelemetryConfig
from orch.errors import ConfigError
from orch.quoting import plain
from orch_pb.v1.object_pb2 import TraceContext

__all__ = ["Span", "SpanKind", "TraceContext", "current_trace", "setup", "span"]

Attribute = str | bool | int | float

_LOG: Final = logging.getLogger(__name__)
_EXPORT_TIMEOUT: Final = 3.0
_FLUSH_TIME: Final = 2.0
_QUEUED_SPANS: Final = 8192
_SPANS_LOST: Final = Counter("orch_telemetry_spans_lost", "Spans that could not be handed to the collector.")


class Span(Protocol):
    """What may be said about the work that a span stands for. An exception that leaves the span is recorded by it."""

    def set_attribute(self, key: str, value: Attribute) -> None:
        """Note a property."""
        ...

    def add_event(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Note that something happened now."""
        ...

    def record_exception(self, exception: BaseException) -> None:
        """Note an error that does not leave the span."""
        ...


def span(
    name: str,
    *,
    parent: TraceContext | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, Attribute] | None = None,
) -> AbstractContextManager[Span]:
    """Return a context in which `name` is what happens; its parent is `parent`, else the current span."""
    if _state.tracer is None:
        return _Passage(parent)
    context = _context_of(parent) if parent is not None else None
    return _state.tracer.start_as_current_span(name, context=context, kind=kind, attributes=attributes)


def current_trace() -> TraceContext | None:
    """Return the current span's context, to be put into a message; None outside any trace."""
    if _state.tracer is None:
        return _passing.get()
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    state = context.trace_state.to_header() if context.trace_state else ""
    return TraceContext(traceparent=parent, tracestate=state)


@contextmanager
def setup(service: str, config: TelemetryConfig, *, instance: str = "") -> Generator[None]:
    """Log, export spans and serve metrics as `config` says, until the context ends. Raises ConfigError."""
    with ExitStack() as stack:
        stack.enter_context(_logging(service, config))
        if config.metrics_address:
            stack.enter_context(_metrics(config.metrics_address))
        if config.otlp_endpoint:
            stack.enter_context(_tracing(service, instance, config))
        yield


class _State:
    """What `setup` made: the tracer while spans are exported."""

    tracer: trace.Tracer | None = None


_state: Final = _State()
_passing: Final[ContextVar[TraceContext | None]] = ContextVar("orch-trace", default=None)
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class _Passage:
    """A span that nobody records: its parent's context becomes the current one."""

    __slots__ = ("_parent", "_token")
    _token: Token[TraceContext | None] | None

    def __init__(self, parent: TraceContext | None) -> None:
        self._parent = parent
        self._token = None

    def __enter__(self) -> Span:
        if self._parent is not None and _TRACEPARENT.fullmatch(self._parent.traceparent):
            self._token = _passing.set(self._parent)
        return _UNRECORDED

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _passing.reset(self._token)


class _UnrecordedSpan:
    """A Span that nobody reads."""

    __slots__ = ()

    def set_attribute(self, key: str, value: Attribute) -> None:
        """Do nothing."""

    def add_event(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Do nothing."""

    def record_exception(self, exception: BaseException) -> None:
        """Do nothing."""


_UNRECORDED: Final[Span] = _UnrecordedSpan()


def _context_of(parent: TraceContext) -> Context:
    """Return the OpenTelemetry context of a message's; one without a span when it is malformed."""
    match = _TRACEPARENT.fullmatch(parent.traceparent)
    if match is None:
        return Context()
    context = trace.SpanContext(
        trace_id=int(match[1], 16),
        span_id=int(match[2], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(match[3], 16)),
        trace_state=trace.TraceState.from_header([parent.tracestate]) if parent.tracestate else None,
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())


@contextmanager
def _tracing(service: str, instance: str, config: TelemetryConfig) -> Generator[None]:
    attributes: dict[str, Attribute] = {"service.name": service}
    if instance:
        attributes["service.instance.id"] = instance
    exporter = _BoundedExporter(config.otlp_endpoint)
    provider = TracerProvider(
        resource=Resource.create(attributes),
        sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=_QUEUED_SPANS, max_export_batch_size=512, schedule_delay_millis=500)
    )
    _state.tracer = provider.get_tracer("orch")
    try:
        yield
    finally:
        _state.tracer = None
        exporter.finish_within(_FLUSH_TIME)
        provider.shutdown()


class _BoundedExporter(SpanExporter):
    """Sends spans by OTLP over HTTP; when the service ends, it gives up on a dead collector after a short time."""

    def __init__(self, endpoint: str) -> None:
        address = endpoint.rstrip("/")
        if not re.match(r"https?://[^/]", address):
            raise ConfigError("telemetry.otlp_endpoint", f'expected a URL such as "http://host:4318", got {endpoint!r}')
        if not address.endswith("/v1/traces"):
            address += "/v1/traces"
        self._inner = OTLPSpanExporter(endpoint=address, timeout=_EXPORT_TIMEOUT)
        self._address = address
        self._last_moment: float | None = None
        self._failing = False
        # It writes several lines for each batch that a dead collector does not take; `export` says it once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

    def finish_within(self, seconds: float) -> None:
        """Begin no more exports after `seconds` from now."""
        self._last_moment = time.monotonic() + seconds

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; count those that cannot be sent."""
        late = self._last_moment is not None and time.monotonic() > self._last_moment
        result = SpanExportResult.FAILURE if late else self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            _SPANS_LOST.inc(len(spans))
        if failed and not self._failing:
            _LOG.warning("spans cannot be sent to %s; they are lost until it takes them", self._address)
        elif self._failing and not failed:
            _LOG.info("spans are sent to %s again", self._address)
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Close connections."""
        self._inner.shutdown()


@contextmanager
def _metrics(address: str) -> Generator[None]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise ConfigError("telemetry.metrics_address", f'expected "host:port", got {address!r}')
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]") or "127.0.0.1")
    except (OSError, OverflowError) as error:
        raise ConfigError("telemetry.metrics_address", f"cannot listen on {address}: {error}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@contextmanager
def _logging(service: str, config: TelemetryConfig) -> Generator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(service) if config.log_format == "json" else _TextFormatter(service))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(config.log_level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as `extra`, and the ids of the current trace."""
    extras = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    current = current_trace()
    if current is not None:
        _, extras["trace_id"], extras["span_id"], _ = current.traceparent.split("-")
    return extras


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _TextFormatter(logging.Formatter):
    """One line for people: time, level, service, logger, message, key=value. What users sent begins no line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; an exception follows on lines of its own, each of them indented."""
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        head = f"{_moment(record)} {record.levelname:<7} {self._service} {record.name}: {record.getMessage()}{extras}"
        if not record.exc_info:
            return plain(head)
        lines = plain(self.formatException(record.exc_info), keep="\n").splitlines()
        return "\n  ".join((plain(head), *lines))


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        fields: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in _extras(record).items():
            fields.setdefault(key, value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = json.dumps(fields, default=str, ensure_ascii=False)
        return line if line.isprintable() else json.dumps(fields, default=str)
