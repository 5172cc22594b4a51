"""JetStream's API: JSON requests and answers, typed."""

from __future__ import annotations

import base64
import re
from typing import Any, Final, TypeVar

import msgspec

from orch.bus import jetstream
from orch.bus.nats.connection import Connection
from orch.bus.protocol import Message, StreamSpec
from orch.errors import BusError, UnavailableError

_TIMEOUT: Final = 5.0
_NANOS: Final = 1_000_000_000
_MESSAGE_ID_HEADER: Final = re.compile(rb"(?i)^nats-msg-id:[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)

STREAM_NOT_FOUND: Final = 10059
NO_MESSAGE_FOUND: Final = 10037
CONSUMER_NOT_FOUND: Final = 10014
_NOT_READY: Final = frozenset({10008, 10009, 10023, 10039, 10047, 10076})
"""JetStream itself is not available or short of resources now; the same request may succeed later."""

T = TypeVar("T")


class JetStreamError(BusError):
    """JetStream refused. `code` is its own error code."""

    def __init__(self, what: str, code: int, description: str) -> None:
        super().__init__(f"{what}: {description} ({code})")
        self.code = code


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The `error` of an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _Failure(msgspec.Struct, frozen=True):
    error: ErrorAnswer | None = None


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's configuration as JetStream writes it. -1: unlimited; times in nanoseconds."""

    name: str
    subjects: tuple[str, ...] = ()
    retention: str = "limits"
    max_consumers: int = -1
    max_msgs: int = -1
    max_bytes: int = -1
    max_age: int = 0
    max_msgs_per_subject: int = -1
    max_msg_size: int = -1
    discard: str = "old"
    storage: str = "file"
    num_replicas: int = 1
    duplicate_window: int = 0
    allow_direct: bool = True
    allow_msg_ttl: bool = False


class StreamState(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream."""

    config: StreamConfig
    state: StreamState = StreamState()


class StreamNames(msgspec.Struct, frozen=True):
    """Which streams there are; None for none."""

    streams: tuple[str, ...] | None = ()


class ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A consumer's configuration. Times in nanoseconds."""

    name: str
    deliver_policy: str
    ack_policy: str
    durable_name: str = ""
    deliver_subject: str = ""
    filter_subject: str = ""
    filter_subjects: tuple[str, ...] = ()
    ack_wait: int = 0
    max_ack_pending: int = 0
    flow_control: bool = False
    idle_heartbeat: int = 0
    inactive_threshold: int = 0
    mem_storage: bool = False


class ConsumerInfo(msgspec.Struct, frozen=True):
    """A consumer, and how many messages it will deliver of those that are there."""

    name: str
    num_pending: int = 0


class _CreateConsumer(msgspec.Struct, frozen=True):
    stream_name: str
    config: ConsumerConfig


class _StoredMessage(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    hdrs: str = ""
    data: str = ""


class _MessageAnswer(msgspec.Struct, frozen=True):
    message: _StoredMessage


def nanoseconds(seconds: float) -> int:
    """Return `seconds` as JetStream writes durations."""
    return round(seconds * _NANOS)


class JetStream:
    """The requests that orch makes. Each raises UnavailableError without JetStream, JetStreamError when it refuses."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Create the stream or bring it to `spec`, and check that the server took every setting."""
        wanted = _config_of(spec)
        create, update = (jetstream.stream_request(verb, spec.name) for verb in ("CREATE", "UPDATE"))
        try:
            info = await self._call(jetstream.stream_request("INFO", spec.name), None, StreamInfo)
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            info = await self._call(create, wanted, StreamInfo)
        changes = ", ".join(f"{setting}={given!r}" for setting, given, _ in _differences(wanted, info.config))
        if changes:
            try:
                info = await self._call(update, wanted, StreamInfo)
            except JetStreamError as error:
                raise BusError(f"stream {spec.name}: the server did not take {changes}: {error}") from error
        for setting, given, taken in _differences(wanted, info.config):
            raise BusError(f"stream {spec.name}: the server did not take {setting}={given!r}; it says {taken!r}")

    async def stream_info(self, stream: str) -> StreamInfo:
        """Return a stream's configuration and state."""
        return await self._call(jetstream.stream_request("INFO", stream), None, StreamInfo)

    async def stream_of(self, subject: str) -> str | None:
        """Return the name of the stream that takes messages on `subject`."""
        names = await self._call(jetstream.STREAM_NAMES, {"subject": subject}, StreamNames)
        return names.streams[0] if names.streams else None

    async def last_message(self, stream: StreamInfo) -> Message | None:
        """Return a stream's newest message.

        The one before it when the newest was removed: therefore asked by the stream's own subjects, for the server
        takes a plain ">" for its last sequence.
        """
        if not stream.state.messages:
            return None
        name = stream.config.name
        found = [await self._message(name, {"last_by_subj": subject}) for subject in stream.config.subjects]
        return max((m for m in found if m is not None), key=lambda message: message.sequence, default=None)

    async def purge(self, stream: str, subject: str) -> None:
        """Remove a stream's messages, all or those that match `subject`."""
        body = {"filter": subject} if subject else None
        await self._call(jetstream.stream_request("PURGE", stream), body, _Failure)

    async def create_consumer(self, stream: str, config: ConsumerConfig) -> ConsumerInfo:
        """Create a consumer or bring it to `config`."""
        subject = jetstream.create_consumer(stream, config.name, config.filter_subject)
        return await self._call(subject, _CreateConsumer(stream, config), ConsumerInfo)

    async def _message(self, stream: str, which: dict[str, Any]) -> Message | None:
        try:
            answer = await self._call(jetstream.stream_request("MSG.GET", stream), which, _MessageAnswer)
        except JetStreamError as error:
            if error.code == NO_MESSAGE_FOUND:
                return None
            raise
        found = answer.message
        identity = _MESSAGE_ID_HEADER.search(base64.b64decode(found.hdrs))
        return Message(
            subject=found.subject,
            data=base64.b64decode(found.data),
            sequence=found.seq,
            message_id=identity.group(1).decode() if identity is not None else "",
        )

    async def _call(self, subject: str, body: object, kind: type[T]) -> T:
        data = msgspec.json.encode(body) if body is not None else b""
        answer = await self._connection.ask(subject, data, timeout=_TIMEOUT)
        check_answer(answer.data, f"JetStream refused {subject}")
        try:
            return msgspec.json.decode(answer.data, type=kind)
        except msgspec.DecodeError as error:
            raise BusError(f"JetStream's answer on {subject} is not understood: {error}") from error


def check_answer(data: bytes, what: str) -> None:
    """Raise the error that an answer carries, if it carries one."""
    try:
        error = msgspec.json.decode(data, type=_Failure).error
    except msgspec.DecodeError as problem:
        raise BusError(f"{what}: the answer is not understood: {problem}") from problem
    if error is None:
        return
    if error.err_code in _NOT_READY:
        raise UnavailableError(f"{what}: {error.description} ({error.err_code})")
    raise JetStreamError(what, error.err_code, error.description)


def _config_of(spec: StreamSpec) -> StreamConfig:
    return StreamConfig(
        name=spec.name,
        subjects=spec.subjects,
        retention=spec.retention,
        max_msgs=spec.max_messages or -1,
        max_bytes=spec.max_bytes or -1,
        max_age=nanoseconds(spec.max_age),
        max_msgs_per_subject=spec.max_per_subject or -1,
        # A full work queue refuses: what waits there is work that someone was promised.
        discard="new" if spec.retention == "workqueue" else "old",
        storage=spec.storage,
        duplicate_window=nanoseconds(spec.duplicate_window),
        allow_msg_ttl=spec.message_ttl,
    )


_SETTING_NAMES: Final = {
    "max_msgs": "max_messages",
    "max_msgs_per_subject": "max_per_subject",
    "allow_msg_ttl": "message_ttl",
}
"""StreamSpec's names for JetStream's settings, where they differ."""


def _differences(wanted: StreamConfig, taken: StreamConfig) -> list[tuple[str, object, object]]:
    found: list[tuple[str, object, object]] = []
    for field in StreamConfig.__struct_fields__:
        given, got = getattr(wanted, field), getattr(taken, field)
        if given != got:
            found.append((_SETTING_NAMES.get(field, field), given, got))
    return found
