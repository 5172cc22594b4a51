from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class LogPiece(_message.Message):
    __slots__ = ("file", "offset", "size", "lines", "dropped")
    FILE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    file: int
    offset: int
    size: int
    lines: bytes
    dropped: int
    def __init__(self, file: _Optional[int] = ..., offset: _Optional[int] = ..., size: _Optional[int] = ..., lines: _Optional[bytes] = ..., dropped: _Optional[int] = ...) -> None: ...
