"""SPDY/3.1's frames: to bytes and back.

The reader takes bytes as they come. Control frames are small and handed out whole; the data of a data frame is handed
out as it arrives, so that a frame's length (up to 16 MiB) is nobody's memory.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from orch.spdy.headers import HeaderDecoder, HeaderEncoder, ProtocolError

VERSION: Final = 3
MAX_CONTROL: Final = 64 << 10
"""Bytes of a control frame."""
MAX_DATA: Final = (1 << 24) - 1

_FIN: Final = 0x01
_UNIDIRECTIONAL: Final = 0x02
_CLEAR_SETTINGS: Final = 0x01
_CONTROL_BIT: Final = 0x8000
_ID_MASK: Final = 0x7FFF_FFFF
_LENGTH_MASK: Final = 0xFF_FFFF


class _Kind(enum.IntEnum):
    """The kinds of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


_CONTROL: Final = struct.Struct(">HHI")
_DATA: Final = struct.Struct(">II")
_WORD: Final = struct.Struct(">I")
_PAIR: Final = struct.Struct(">II")
_OPENING: Final = struct.Struct(">IIBB")

PROTOCOL_ERROR: Final = 1
REFUSED_STREAM: Final = 3
CANCEL: Final = 5
INTERNAL_ERROR: Final = 6


class SynStream(msgspec.Struct, frozen=True):
    """Opens a stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


class SynReply(msgspec.Struct, frozen=True):
    """Accepts a stream."""

    stream: int
    headers: Mapping[str, str] = {}
    fin: bool = False


class RstStream(msgspec.Struct, frozen=True):
    """Ends a stream both ways at once."""

    stream: int
    status: int = CANCEL


class Settings(msgspec.Struct, frozen=True):
    """Settings as (id, flags, value)."""

    entries: tuple[tuple[int, int, int], ...] = ()
    clear: bool = False


class Ping(msgspec.Struct, frozen=True):
    """Asks for the same frame back; a client's ids are odd, a server's even."""

    id: int


class GoAway(msgspec.Struct, frozen=True):
    """No stream after `last` is accepted any more."""

    last: int = 0
    status: int = 0


class Headers(msgspec.Struct, frozen=True):
    """More headers of a stream that is open."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


class WindowUpdate(msgspec.Struct, frozen=True):
    """Room for more data. Kubernetes' clients neither send it nor heed it."""

    stream: int
    delta: int


class Data(msgspec.Struct, frozen=True):
    """Data of a stream; `fin` ends the sender's half of it."""

    stream: int
    data: bytes
    fin: bool = False


ControlFrame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate
Frame = ControlFrame | Data


class FrameWriter:
    """Encodes one direction's frames. What it returns must be sent in the same order."""

    def __init__(self) -> None:
        self._headers = HeaderEncoder()

    def encode(self, frame: Frame) -> bytes:
        """Return the frame's bytes. Raises ValueError for data that is too long for one frame."""
        if isinstance(frame, Data):
            if len(frame.data) > MAX_DATA:
                raise ValueError(f"{len(frame.data)} bytes do not fit into one frame")
            flags = _FIN if frame.fin else 0
            return _DATA.pack(frame.stream, flags << 24 | len(frame.data)) + frame.data
        kind, flags, body = self._control(frame)
        return _CONTROL.pack(_CONTROL_BIT | VERSION, kind, flags << 24 | len(body)) + body

    def _control(self, frame: ControlFrame) -> tuple[int, int, bytes]:
        """Return a control frame's kind, flags and body."""
        flags = 0
        match frame:
            case SynStream():
                flags = (_FIN if frame.fin else 0) | (_UNIDIRECTIONAL if frame.unidirectional else 0)
                opening = _OPENING.pack(frame.stream, frame.associated, frame.priority << 5, 0)
                kind, body = _Kind.SYN_STREAM, opening + self._headers.encode(frame.headers)
            case SynReply() | Headers():
                flags = _FIN if frame.fin else 0
                kind = _Kind.SYN_REPLY if isinstance(frame, SynReply) else _Kind.HEADERS
                body = _WORD.pack(frame.stream) + self._headers.encode(frame.headers)
            case Settings():
                flags = _CLEAR_SETTINGS if frame.clear else 0
                entries = (_PAIR.pack(marks << 24 | key, value) for key, marks, value in frame.entries)
                kind, body = _Kind.SETTINGS, _WORD.pack(len(frame.entries)) + b"".join(entries)
            case Ping():
                kind, body = _Kind.PING, _WORD.pack(frame.id)
            case RstStream():
                kind, body = _Kind.RST_STREAM, _PAIR.pack(frame.stream, frame.status)
            case GoAway():
                kind, body = _Kind.GOAWAY, _PAIR.pack(frame.last, frame.status)
            case WindowUpdate():
                kind, body = _Kind.WINDOW_UPDATE, _PAIR.pack(frame.stream, frame.delta)
        return kind, flags, body


class FrameReader:
    """Decodes one direction's frames."""

    def __init__(self) -> None:
        self._headers = HeaderDecoder()
        self._buffer = bytearray()
        self._stream = 0
        self._left = 0
        self._fin = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`. Raises ProtocolError; nothing can be read after that."""
        self._buffer += data
        while True:
            if self._left:
                if not self._buffer:
                    return
                yield self._piece()
            elif len(self._buffer) < _CONTROL.size:
                return
            elif self._buffer[0] & 0x80:
                body = self._control_body()
                if body is None:
                    return
                if (frame := self._parse(*body)) is not None:
                    yield frame
            elif (frame := self._data_begins()) is not None:
                yield frame

    def _piece(self) -> Data:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: len(piece)]
        self._left -= len(piece)
        return Data(self._stream, piece, self._fin and not self._left)

    def _data_begins(self) -> Data | None:
        """Read a data frame's head; return the frame if it is empty, else its data follows."""
        stream, word = _DATA.unpack_from(self._buffer)
        if stream == 0:
            raise ProtocolError("a data frame of stream 0")
        del self._buffer[: _DATA.size]
        self._stream, self._left, self._fin = stream, word & _LENGTH_MASK, bool(word >> 24 & _FIN)
        return None if self._left else Data(stream, b"", self._fin)

    def _control_body(self) -> tuple[int, int, bytes] | None:
        """Return (kind, flags, body) of the control frame that the buffer begins with, None if it is not complete."""
        version, kind, word = _CONTROL.unpack_from(self._buffer)
        if version & ~_CONTROL_BIT != VERSION:
            raise ProtocolError(f"a frame of SPDY version {version & ~_CONTROL_BIT}")
        length = word & _LENGTH_MASK
        if length > MAX_CONTROL:
            raise ProtocolError(f"a control frame of {length} bytes; at most {MAX_CONTROL} are taken")
        end = _CONTROL.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_CONTROL.size : end])
        del self._buffer[:end]
        return kind, word >> 24, body

    def _parse(self, kind: int, flags: int, body: bytes) -> Frame | None:
        """Return a control frame; None for one of a kind that is not known, as the protocol wants it."""
        try:
            return self._frame(kind, flags, body)
        except struct.error as error:
            raise ProtocolError(f"a control frame of kind {kind} is too short") from error

    def _frame(self, kind: int, flags: int, body: bytes) -> Frame | None:
        fin = bool(flags & _FIN)
        frame: Frame | None = None
        match kind:
            case _Kind.SYN_STREAM:
                stream, associated, priority, _ = _OPENING.unpack_from(body)
                headers = self._headers.decode(body[_OPENING.size :])
                unidirectional = bool(flags & _UNIDIRECTIONAL)
                frame = SynStream(_id(stream), headers, fin, unidirectional, associated & _ID_MASK, priority >> 5)
            case _Kind.SYN_REPLY | _Kind.HEADERS:
                (stream,) = _WORD.unpack_from(body)
                headers = self._headers.decode(body[_WORD.size :])
                frame = (SynReply if kind == _Kind.SYN_REPLY else Headers)(_id(stream), headers, fin)
            case _Kind.RST_STREAM:
                stream, status = _PAIR.unpack_from(body)
                frame = RstStream(_id(stream), status)
            case _Kind.SETTINGS:
                frame = _settings(flags, body)
            case _Kind.PING:
                frame = Ping(_WORD.unpack_from(body)[0])
            case _Kind.GOAWAY:
                last, status = _PAIR.unpack_from(body)
                frame = GoAway(last & _ID_MASK, status)
            case _Kind.WINDOW_UPDATE:
                stream, delta = _PAIR.unpack_from(body)
                frame = WindowUpdate(stream & _ID_MASK, delta & _ID_MASK)
            case _:
                frame = None
        return frame


def _settings(flags: int, body: bytes) -> Settings:
    (count,) = _WORD.unpack_from(body)
    if len(body) != _WORD.size + count * _PAIR.size:
        raise ProtocolError("a SETTINGS frame is not as long as it says")
    pairs = _PAIR.iter_unpack(body[_WORD.size :])
    entries = tuple((word & _LENGTH_MASK, word >> 24, value) for word, value in pairs)
    return Settings(entries, bool(flags & _CLEAR_SETTINGS))


def _id(stream: int) -> int:
    stream &= _ID_MASK
    if stream == 0:
        raise ProtocolError("a frame of stream 0")
    return stream
