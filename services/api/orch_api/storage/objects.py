"""The form of an object in the store, and the parts of it that the cache reads without decoding the rest.

A document is stored as JSON in the order kind, apiVersion, metadata, whose first field is an empty resourceVersion.
The version is known only after the commit; readers splice its digits in at `version_offset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from google.protobuf.message import DecodeError

from orch.errors import StoreError, TooLargeError
from orch.store.keys import ObjectKey
from orch.store.protocol import KeyValue, split_version, version_of
from orch_pb.v1.object_pb2 import StoredObject, TraceContext

Document: TypeAlias = dict[str, Any]

MAX_OBJECT: Final = 1_572_864
"""Bytes of one stored object; etcd's own limit of a request."""

_VERSION: Final = b'"resourceVersion":"'
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A document ready to be committed: `value` is what the store takes, `json` has no version yet."""

    value: bytes
    json: bytes
    offset: int

    def complete(self, version: int) -> bytes:
        """Return the document with its version."""
        return splice(self.json, self.offset, version)


def encode(document: Mapping[str, Any], trace: TraceContext | None = None) -> Encoded:
    """Return the stored form of a document. Raises TooLargeError past MAX_OBJECT."""
    json = _encode(arranged(document))
    if len(json) > MAX_OBJECT:
        raise TooLargeError("etcdserver: request is too large")
    offset = json.index(_VERSION) + len(_VERSION)
    message = StoredObject(trace=trace, version_offset=offset, json=json)
    return Encoded(message.SerializeToString(), json, offset)


def arranged(document: Mapping[str, Any], version: str = "") -> Document:
    """Return the document with its fields in the order of the store and `version` as resourceVersion; shallow."""
    metadata: Document = {"resourceVersion": version, **document["metadata"]}
    metadata["resourceVersion"] = version
    placed: Document = {"kind": "", "apiVersion": "", "metadata": metadata}
    placed.update(document)
    placed["metadata"] = metadata
    return placed


def to_json(document: Mapping[str, Any]) -> bytes:
    """Return a document as it is, as JSON."""
    return _encode(document)


def to_document(json: bytes) -> Document:
    """Return the document of an object's JSON."""
    return _decode(json)


def splice(json: bytes, offset: int, version: int) -> bytes:
    """Return the document with the digits of `version` written in at `offset`."""
    return b"%b%d%b" % (json[:offset], version, json[offset:])


def with_version(json: bytes, version: int) -> bytes:
    """Return a complete document under another version: what a deletion reports."""
    start = json.index(_VERSION) + len(_VERSION)
    return b"%b%d%b" % (json[:start], version, json[json.index(b'"', start) :])


class Cached(msgspec.Struct, frozen=True, gc=False):
    """One state of an object. Equal labels share one mapping; `trace` is an encoded TraceContext.

    `node` is the node that a pod is bound to; `fields` is filled when a field selector first asks for it.
    """

    key: ObjectKey
    uid: str
    version: int
    json: bytes
    labels: Mapping[str, str]
    node: str = ""
    trace: bytes = b""
    deleted: bool = False
    fields: Mapping[str, str] | None = None

    @property
    def revision(self) -> int:
        """The key's mod_revision: what a compare-and-swap expects."""
        return split_version(self.version)[0]


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""
    labels: msgspec.Raw = msgspec.Raw(b"")


class _Head(msgspec.Struct, gc=False):
    metadata: _Metadata


class _PodSpec(msgspec.Struct, gc=False, rename="camel"):
    node_name: str | None = None


class _PodHead(msgspec.Struct, gc=False):
    metadata: _Metadata
    spec: _PodSpec | None = None


_head = msgspec.json.Decoder(_Head).decode
_pod_head = msgspec.json.Decoder(_PodHead).decode
_labels = msgspec.json.Decoder(dict[str, str] | None).decode

_NO_LABELS: Final[Mapping[str, str]] = {}
_MAX_SHARED: Final = 16_384


class StateReader:
    """Turns stored values into cached states, sharing what many objects have in common."""

    def __init__(self) -> None:
        self._shared: dict[bytes, Mapping[str, str]] = {}

    def read(self, key: ObjectKey, value: bytes, revision: int) -> Cached:
        """Return the state that `value`, written at the store's `revision`, holds. Raises StoreError if none."""
        try:
            stored = StoredObject.FromString(value)
            if stored.key_id:
                raise StoreError(f"the value of {key} is sealed with the key {stored.key_id!r}")
            version = version_of(revision, stored.index)
            json = splice(stored.json, stored.version_offset, version)
            trace = stored.trace.SerializeToString() if stored.HasField("trace") else b""
            return self.state(key, json, version, trace)
        except (DecodeError, msgspec.MsgspecError) as error:
            raise StoreError(f"the value of {key} is no stored object: {error}") from error

    def read_item(self, key: ObjectKey, item: KeyValue) -> Cached:
        """Return the state of a key that was read."""
        return self.read(key, item.value, item.mod_revision)

    def state(self, key: ObjectKey, json: bytes, version: int, trace: bytes = b"") -> Cached:
        """Return the state that a complete document describes."""
        node = ""
        if key.resource == "pods" and not key.group:
            pod = _pod_head(json)
            metadata = pod.metadata
            if pod.spec is not None:
                node = pod.spec.node_name or ""
        else:
            metadata = _head(json).metadata
        return Cached(key, metadata.uid, version, json, self._labels(metadata.labels), node, trace)

    def _labels(self, raw: msgspec.Raw) -> Mapping[str, str]:
        encoded = bytes(raw)
        if not encoded:
            return _NO_LABELS
        found = self._shared.get(encoded)
        if found is None:
            if len(self._shared) >= _MAX_SHARED:
                self._shared.clear()
            found = self._shared[encoded] = _labels(encoded) or _NO_LABELS
        return found


def deleted_state(last: Cached, version: int) -> Cached:
    """Return what a deletion at `version` leaves: the last state under the deletion's version."""
    return Cached(
        last.key,
        last.uid,
        version,
        with_version(last.json, version),
        last.labels,
        last.node,
        last.trace,
        deleted=True,
        fields=last.fields,
    )
