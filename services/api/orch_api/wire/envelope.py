"""What goes over HTTP as application/vnd.kubernetes.protobuf: objects in their envelope, lists, events of watches.

An object is four magic bytes and a runtime.Unknown, which names the kind and holds the kind's message. A watch is a
sequence of frames: a length in four bytes, the highest first, and a WatchEvent whose object is such an envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from orch.errors import BadRequestError
from orch_api.wire.codec import message
from orch_api.wire.descriptors import small_class
from orch_api.wire.numbers import name_of

PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
STREAM: Final = f"{PROTOBUF};stream=watch"

_MAGIC: Final = b"k8s\x00"
_REMEMBERED: Final = 512
_REMEMBERED_BYTES: Final = 16 * 1024

# Messages in messages are declared as bytes, for their bytes are at hand.
_TypeMeta: Any = small_class("TypeMeta", (1, "apiVersion", "string", ""), (2, "kind", "string", ""))
_Unknown: Any = small_class(
    "Unknown",
    (1, "typeMeta", "bytes", ""),
    (2, "raw", "bytes", ""),
    (3, "contentEncoding", "string", ""),
    (4, "contentType", "string", ""),
)
_List: Any = small_class("List", (1, "metadata", "bytes", ""), (2, "items", "bytes", "[]"))
_RawExtension: Any = small_class("RawExtension", (1, "raw", "bytes", ""))
_WatchEvent: Any = small_class("WatchEvent", (1, "type", "string", ""), (2, "object", "bytes", ""))

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def is_known(api_version: str, kind: str) -> bool:
    """Return whether protobuf has a message for a kind."""
    return name_of(api_version, kind) is not None


def message_of(document: bytes) -> bytes:
    """Return a JSON document, which names a known kind, in its envelope."""
    api_version, kind, data = _encoded(document)
    return _enveloped(api_version, kind, data)


def list_of(kind: str, api_version: str, metadata: dict[str, Any], items: Sequence[bytes]) -> bytes:
    """Return a list of JSON documents in its envelope; `kind` is the list's."""
    encoded = _List(
        metadata=message("meta.k8s.io/v1.ListMeta").encode(metadata), items=[_encoded(item)[2] for item in items]
    )
    return _enveloped(api_version, kind, encoded.SerializeToString())


def watch_event(kind: str, document: bytes) -> bytes:
    """Return the frame of a watch's event; `kind` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
    envelope = _shared(document) if len(document) <= _REMEMBERED_BYTES else message_of(document)
    event = _WatchEvent(type=kind, object=_RawExtension(raw=envelope).SerializeToString()).SerializeToString()
    return len(event).to_bytes(4, "big") + event


@lru_cache(_REMEMBERED)
def _shared(document: bytes) -> bytes:
    """Return message_of, remembered: all watches of an object are sent the same document."""
    return message_of(document)


def json_of(body: bytes) -> bytes:
    """Return the JSON of a document in its envelope. Raises BadRequestError."""
    if not body.startswith(_MAGIC):
        expected = " ".join(str(byte) for byte in _MAGIC)
        raise BadRequestError(f"provided data does not appear to be a protobuf message, expected prefix [{expected}]")
    try:
        unknown = _Unknown.FromString(body[len(_MAGIC) :])
        names = _TypeMeta.FromString(unknown.typeMeta)
        name = _named(names.apiVersion, names.kind)
        document = {"kind": names.kind, "apiVersion": names.apiVersion, **message(name).decode(unknown.raw)}
        return msgspec.json.encode(document)
    except (DecodeError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BadRequestError(f"the object provided is no protobuf message of its kind: {error}") from error


def _named(api_version: str, kind: str) -> str:
    """Return the name of the message of what a client sent. Raises BadRequestError."""
    if not (kind and api_version):
        lacking = "apiVersion" if kind else "Kind"
        raise BadRequestError(
            f"Object '{lacking}' is missing in 'runtime.TypeMeta{{APIVersion:\"{api_version}\", Kind:\"{kind}\"}}'"
        )
    name = name_of(api_version, kind)
    if name is None:
        raise BadRequestError(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
    return name


def _encoded(document: bytes) -> tuple[str, str, bytes]:
    """Return a JSON document's apiVersion, its kind and the kind's message."""
    content = _decode(document)
    api_version, kind = content.pop("apiVersion", ""), content.pop("kind", "")
    name = name_of(api_version, kind)
    if name is None:
        raise LookupError(f'protobuf has no message for kind "{kind}" of "{api_version}"')
    return api_version, kind, message(name).encode(content)


def _enveloped(api_version: str, kind: str, data: bytes) -> bytes:
    names = _TypeMeta(apiVersion=api_version, kind=kind).SerializeToString()
    return _MAGIC + _Unknown(typeMeta=names, raw=data, contentEncoding="", contentType="").SerializeToString()
