"""What the relay says on the bus about a state of an object."""

from __future__ import annotations

import zlib
from typing import Any, Final

from orch import telemetry
from orch_api.storage.objects import Cached, to_document, to_json
from orch_pb.v1 import object_pb2
from orch_pb.v1.object_pb2 import ObjectEvent, TraceContext

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


_API_VERSION: Final = b'"apiVersion":"'


def change_event(item: Cached, change: object_pb2.ChangeType, *, sensitive: bool) -> bytes:
    """Return the ObjectEvent of a state; of sensitive kinds it tells the metadata only."""
    json = without_content(item.json) if sensitive else item.json
    event = ObjectEvent(
        type=change,
        group=item.key.group,
        version=_version(item.json),
        resource=item.key.resource,
        namespace=item.key.namespace,
        name=item.key.name,
        uid=item.uid,
        revision=item.version,
        labels=item.labels,
        checksum=zlib.crc32(json),
        json=json,
    )
    if item.trace:
        origin = TraceContext.FromString(item.trace)
        with telemetry.span("relay.publish", parent=origin, attributes={"resource": item.key.resource}):
            event.trace.CopyFrom(telemetry.current_trace() or origin)
    return event.SerializeToString()


def _version(json: bytes) -> str:
    """Return the version in which an object is stored: what its apiVersion, its second field, ends with."""
    start = json.index(_API_VERSION) + len(_API_VERSION)
    return json[start : json.index(b'"', start)].rpartition(b"/")[2].decode()


def gone_event(last: ObjectEvent, version: int) -> bytes:
    """Return the tombstone of an object of which only the stream still knows."""
    event = ObjectEvent()
    event.CopyFrom(last)
    event.type = object_pb2.DELETED
    event.revision = version
    return event.SerializeToString()


def without_content(json: bytes) -> bytes:
    """Return a document's kind, metadata and type, without the copy that kubectl keeps in an annotation."""
    document = to_document(json)
    metadata: dict[str, Any] = document["metadata"]
    annotations: dict[str, str] | None = metadata.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    kept = {name: document[name] for name in ("kind", "apiVersion", "metadata", "type") if name in document}
    return to_json(kept)
