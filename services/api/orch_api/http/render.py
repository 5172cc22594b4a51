"""Answers in the form that the client asked for: objects, lists, Tables, metadata only; JSON, YAML or protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch_api import wire
from orch_api.http import cbor
from orch_api.http.exchange import Joined
from orch_api.http.media import CBOR, JSON, PROTOBUF, YAML, Accepted
from orch_api.http.table import IncludeObject, table
from orch_api.http.yaml_documents import json_to_yaml
from orch_api.registry import Resource

_PARTIAL: Final = "meta.k8s.io/v1"
_STREAMS: Final[Mapping[str, str]] = {PROTOBUF: wire.STREAM, CBOR: cbor.SEQUENCE}
_PARTIAL_FORMS: Final = frozenset({"PartialObjectMetadata", "PartialObjectMetadataList"})


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata_decoder = msgspec.json.Decoder(_Metadata)


def partial(document: bytes, api_version: str = _PARTIAL) -> bytes:
    """Return a document's PartialObjectMetadata."""
    metadata = bytes(_metadata_decoder.decode(document).metadata)
    return b'{"kind":"PartialObjectMetadata","apiVersion":"%b","metadata":%b}' % (api_version.encode(), metadata)


def list_metadata(version: int, continue_token: str, remaining: int | None) -> dict[str, Any]:
    """Return a list's metadata."""
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if continue_token:
        metadata["continue"] = continue_token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    return metadata


def list_document(kind: str, api_version: str, metadata: dict[str, Any], items: Sequence[bytes]) -> Joined:
    """Return a list's JSON: the items' bytes are joined, not encoded again."""
    head = b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[' % (
        kind.encode(),
        api_version.encode(),
        msgspec.json.encode(metadata),
    )
    return Joined(head, items, b"]}")


class Renderer:
    """Renders the answers of one request."""

    def __init__(self, resource: Resource, accepted: Accepted, include_object: IncludeObject, now: datetime) -> None:
        self.resource = resource
        self.accepted = accepted
        self.include_object: IncludeObject = include_object
        self.now = now
        self._meta = f"meta.k8s.io/{accepted.version or 'v1'}"
        self._columns_told = False

    @property
    def media_type(self) -> str:
        """The answer's content type."""
        return self.accepted.media_type

    @property
    def stream_type(self) -> str:
        """The content type of a watch."""
        return _STREAMS.get(self.accepted.media_type, JSON)

    def object(self, document: bytes, version: int) -> bytes:
        """Return one object; a Status or another kind passes through as it is."""
        return self._encoded(self._shaped(document, version))

    def event(self, kind: str, document: bytes, version: int) -> bytes:
        """Return a watch's event about an object; `kind` is ADDED, MODIFIED or DELETED."""
        line = self.frame(kind, self._shaped(document, version))
        self._columns_told = True
        return line

    def frame(self, kind: str, document: bytes) -> bytes:
        """Return a watch's event whose document is in the client's form already."""
        if self.accepted.media_type == PROTOBUF:
            return wire.watch_event(kind, document)
        if self.accepted.media_type == CBOR:
            return cbor.watch_event(kind, document)
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), document)

    def list(
        self, items: Sequence[bytes], version: int, continue_token: str = "", remaining: int | None = None
    ) -> bytes:
        """Return a list of the resource's objects."""
        form = self.accepted.form
        if form == "Table":
            return self._encoded(self._table(items, str(version), continue_token, remaining))
        kind, api_version = self.resource.list_kind, self.resource.api_version
        if form in _PARTIAL_FORMS:
            kind, api_version = "PartialObjectMetadataList", self._meta
            items = [partial(item, self._meta) for item in items]
        metadata = list_metadata(version, continue_token, remaining)
        if self.accepted.media_type == PROTOBUF:
            return wire.list_of(kind, api_version, metadata, items)
        return self._encoded(list_document(kind, api_version, metadata, items).whole())

    def plain_list(
        self, items: Sequence[bytes], version: int, continue_token: str = "", remaining: int | None = None
    ) -> Joined | None:
        """Return a list of whole objects in JSON; None when the client asked for another form."""
        if self.accepted.form != "Object" or self.accepted.media_type != JSON:
            return None
        metadata = list_metadata(version, continue_token, remaining)
        return list_document(self.resource.list_kind, self.resource.api_version, metadata, items)

    def _shaped(self, document: bytes, version: int) -> bytes:
        """Return the JSON of one object in the client's form."""
        form = self.accepted.form
        if form == "Table":
            return self._table([document], str(version), "", None)
        return partial(document, self._meta) if form in _PARTIAL_FORMS else document

    def _encoded(self, document: bytes) -> bytes:
        """Return a JSON document in the client's media type."""
        if self.accepted.media_type == PROTOBUF:
            return wire.message_of(document)
        if self.accepted.media_type == CBOR:
            return cbor.json_to_cbor(document)
        return json_to_yaml(document) if self.accepted.media_type == YAML else document

    def _table(self, items: Sequence[bytes], version: str, continue_token: str, remaining: int | None) -> bytes:
        return table(
            self.resource,
            items,
            now=self.now,
            include_object=self.include_object,
            list_version=version,
            continue_token=continue_token,
            remaining=remaining,
            with_columns=not self._columns_told,
            api_version=self._meta,
        )

    def bookmark(self, version: int, annotations: Mapping[str, str]) -> bytes:
        """Return a watch's event that says how far it has come."""
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if annotations:
            metadata["annotations"] = annotations
        kind, api_version = self.resource.kind, self.resource.api_version
        if self.accepted.form in _PARTIAL_FORMS:
            kind, api_version = "PartialObjectMetadata", self._meta
        body: dict[str, Any] = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self.accepted.form == "Table":
            body = {
                "kind": "Table",
                "apiVersion": self._meta,
                "metadata": {"resourceVersion": str(version)},
                "columnDefinitions": [],
                "rows": [{"cells": [], "object": body}],
            }
        return self.frame("BOOKMARK", msgspec.json.encode(body))


def json_only(accepted: Accepted) -> Accepted:
    """Return the plain form: for subresources that have no columns."""
    return accepted if accepted.form == "Object" else Accepted(JSON)
