"""SPDY/3's header blocks: names and values, compressed with a dictionary that both sides know.

The dictionary is part of the protocol (draft-mbelshe-httpbis-spdy-00, 2.6.10.1): one byte off, and nothing is
understood. Both directions keep their compressor's state for the life of the connection, so blocks must be decoded in
the order in which they were encoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from orch.errors import OrchError

MAX_BLOCK: Final = 64 << 10
"""Bytes of a decompressed header block; what Kubernetes sends has a few hundred."""

_LENGTH: Final = struct.Struct(">I")
_LEVEL: Final = 6
_WINDOW_BITS: Final = 12
_MEMORY_LEVEL: Final = 5

_WORDS: Final = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,allow,"
    "authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,"
    "content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,"
    "if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,"
    "proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,"
    "user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,"
    "keep-alive,origin"
)
_TAIL: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = b"".join(_LENGTH.pack(len(word)) + word.encode() for word in _WORDS.split(",")) + _TAIL.encode()


class ProtocolError(OrchError):
    """The peer broke SPDY's rules; the connection cannot go on."""


class HeaderEncoder:
    """Writes one direction's header blocks."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(
            _LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, DICTIONARY
        )

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """Return the block; several values of one name are separated by NUL. Names are written in lower case."""
        pieces = [_LENGTH.pack(len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                raw = text.encode("latin-1")
                pieces += (_LENGTH.pack(len(raw)), raw)
        return self._compressor.compress(b"".join(pieces)) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Reads one direction's header blocks."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """Return the headers by lower-case name. Raises ProtocolError."""
        try:
            plain = self._decompressor.decompress(block, MAX_BLOCK)
        except zlib.error as error:
            raise ProtocolError(f"a header block cannot be decompressed: {error}") from error
        if self._decompressor.unconsumed_tail:
            raise ProtocolError(f"a header block has more than {MAX_BLOCK} bytes")
        try:
            return _parse(plain)
        except struct.error as error:
            raise ProtocolError("a header block ends too early") from error


def _parse(plain: bytes) -> dict[str, str]:
    (count,) = _LENGTH.unpack_from(plain)
    place = _LENGTH.size
    headers: dict[str, str] = {}
    for _ in range(count):
        name, place = _text(plain, place)
        value, place = _text(plain, place)
        name = name.lower()
        if not name or name in headers:
            raise ProtocolError("a header block has a name twice, or an empty one")
        headers[name] = value
    if place != len(plain):
        raise ProtocolError("a header block is longer than its headers")
    return headers


def _text(plain: bytes, place: int) -> tuple[str, int]:
    (length,) = _LENGTH.unpack_from(plain, place)
    start = place + _LENGTH.size
    end = start + length
    if end > len(plain):
        raise ProtocolError("a header block ends too early")
    return plain[start:end].decode("latin-1"), end
