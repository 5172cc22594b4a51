"""Answers in the form that the client asked for: objects, lists, Tables, metadata only, YAML."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch_api.http.media import JSON, YAML, Accepted, json_to_yaml
from orch_api.http.table import IncludeObject, table
from orch_api.registry import Resource

_PARTIAL: Final = "meta.k8s.io/v1"


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata_decoder = msgspec.json.Decoder(_Metadata)


def partial(document: bytes) -> bytes:
    """Return a document's PartialObjectMetadata."""
    metadata = bytes(_metadata_decoder.decode(document).metadata)
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":' + metadata + b"}"


def list_document(
    kind: str, api_version: str, items: Sequence[bytes], version: int, continue_token: str, remaining: int | None
) -> bytes:
    """Return a list's JSON: the items' bytes are joined, not encoded again."""
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if continue_token:
        metadata["continue"] = continue_token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    head = b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[' % (
        kind.encode(),
        api_version.encode(),
        msgspec.json.encode(metadata),
    )
    return b"".join((head, b",".join(items), b"]}"))


class Renderer:
    """Renders the answers of one request."""

    def __init__(self, resource: Resource, accepted: Accepted, include_object: IncludeObject, now: datetime) -> None:
        self.resource = resource
        self.accepted = accepted
        self.include_object = include_object
        self.now = now

    @property
    def media_type(self) -> str:
        """The answer's content type."""
        return self.accepted.media_type

    def object(self, document: bytes, version: int) -> bytes:
        """Return one object; a Status or another kind passes through as it is."""
        form = self.accepted.form
        if form == "Table":
            return self._table([document], str(version), "", None)
        if form == "PartialObjectMetadata":
            return partial(document)
        return json_to_yaml(document) if self.accepted.media_type == YAML else document

    def list(
        self, items: Sequence[bytes], version: int, continue_token: str = "", remaining: int | None = None
    ) -> bytes:
        """Return a list of the resource's objects."""
        form = self.accepted.form
        if form == "Table":
            return self._table(items, str(version), continue_token, remaining)
        kind, api_version = self.resource.list_kind, self.resource.api_version
        if form in {"PartialObjectMetadata", "PartialObjectMetadataList"}:
            kind, api_version, items = "PartialObjectMetadataList", _PARTIAL, [partial(item) for item in items]
        document = list_document(kind, api_version, items, version, continue_token, remaining)
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
        )


def json_only(accepted: Accepted) -> Accepted:
    """Return the plain form: for subresources that have no columns."""
    return accepted if accepted.form == "Object" else Accepted(JSON)
