"""A JSON document that is the same for every client: built once, served as bytes, compressed when a client asks."""

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from typing import Any, Final

import msgspec

JSON: Final = "application/json"


class Document:
    """The bytes of a document with what HTTP caches need. `hash` is 128 upper-case hexadecimal digits."""

    def __init__(self, body: bytes, media_type: str = JSON, content_hash: str = "") -> None:
        self.body = body
        self.media_type = media_type
        self.hash = content_hash or digest(body)

    @classmethod
    def of(cls, content: Any, media_type: str = JSON, content_hash: str = "") -> Document:
        """Return the document with `content` as JSON."""
        return cls(msgspec.json.encode(content), media_type, content_hash)

    @property
    def etag(self) -> str:
        """The strong entity tag, with its quotes."""
        return f'"{self.hash}"'

    @cached_property
    def compressed(self) -> bytes:
        """The body in gzip."""
        return gzip.compress(self.body, 6, mtime=0)


def digest(content: bytes) -> str:
    """Return the hash of `content` as Kubernetes writes it in entity tags and OpenAPI's addresses."""
    return hashlib.sha512(content).hexdigest().upper()
