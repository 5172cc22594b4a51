"""Events: what happened to an object, for people to read.

An event is stored in the form of core/v1. events.k8s.io/v1 serves the same objects under newer names of their fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch.errors import Cause, InvalidError
from orch_api import validation
from orch_api.kinds.columns import UNKNOWN, name, since, text
from orch_api.kinds.fields import field
from orch_api.resource import Cell, Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, invalid, required

_TYPES: Final = ("Normal", "Warning")
_NEWER_GROUP: Final = "events.k8s.io"
_NEWER: Final = f"{_NEWER_GROUP}/v1"
_MAX_TEXT: Final = 128
_MAX_MESSAGE: Final = 1024
_NEWER_NAMES: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_OLDER_NAMES: Final = {newer: older for older, newer in _NEWER_NAMES.items()}


class EventStrategy(Strategy):
    """The rules of events. The stricter ones hold for events in the new form, which have an eventTime."""

    made_by_update = True

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the event."""
        own: str = section(obj, "metadata").get("namespace") or ""
        other: str = section(obj, "involvedObject").get("namespace") or ""
        if not obj.get("eventTime"):
            return [] if own == other or (not other and own == "default") else [_misplaced(other)]
        causes = [] if other or own in {"default", "kube-system"} else [_misplaced(other)]
        controller: str = obj.get("reportingComponent") or ""
        if not controller:
            causes.append(required("reportingController"))
        causes += check("reportingController", controller, validation.qualified_name)
        for field_name in ("reportingInstance", "action", "reason"):
            value: str = obj.get(field_name) or ""
            if not value:
                causes.append(required(field_name))
            causes += _limit(field_name, value, _MAX_TEXT)
        return causes + _limit("message", obj.get("message") or "", _MAX_MESSAGE)


def _misplaced(namespace: str) -> Cause:
    return invalid("involvedObject.namespace", namespace, "does not match event.namespace")


def _limit(field_name: str, value: str, limit: int) -> list[Cause]:
    if len(value.encode()) <= limit:
        return []
    return [invalid(field_name, "", f"can have at most {limit} characters")]


def to_core(obj: Document) -> Document:
    """Return an event of events.k8s.io/v1 as core/v1 writes it."""
    found = {_OLDER_NAMES.get(key, key): value for key, value in obj.items()}
    return found | {"apiVersion": "v1", "kind": "Event"}


def to_newer(obj: Document) -> Document:
    """Return an event of core/v1 as events.k8s.io/v1 writes it."""
    found = {_NEWER_NAMES.get(key, key): value for key, value in obj.items()}
    return found | {"apiVersion": _NEWER, "kind": "Event"}


class EventConversion:
    """Turns events of events.k8s.io/v1 into those of core/v1, and back."""

    async def to_storage(self, documents: Sequence[Document]) -> list[Document]:
        """Return the stored form. Raises InvalidError for a new event that is not wholly in the new form."""
        found = [to_core(document) for document in documents]
        for event in found:
            meta = section(event, "metadata")
            if not meta.get("resourceVersion") and (causes := _new_form(event)):
                raise InvalidError.of("Event", _NEWER_GROUP, meta.get("name") or "", causes)
        return found

    async def to_served(self, documents: Sequence[Document]) -> list[Document]:
        """Return the newer form."""
        return [to_newer(document) for document in documents]


def _new_form(event: Document) -> list[Cause]:
    """Return what keeps a new event from being one of the new form, with nothing of the old."""
    causes: list[Cause] = []
    if (series := event.get("series")) is not None:
        if (series.get("count") or 0) < 2:
            causes.append(invalid("series.count", "", "should be at least 2"))
        if not series.get("lastObservedTime"):
            causes.append(required("series.lastObservedTime"))
    if not event.get("eventTime"):
        causes.append(required("eventTime"))
    if (kind := event.get("type") or "") not in _TYPES:
        causes.append(invalid("type", "", f"has invalid value: {kind}"))
    older = [part for part in ("firstTimestamp", "lastTimestamp", "count") if event.get(part)]
    if any(section(event, "source").values()):
        older.append("source")
    return causes + [invalid(part, "", "needs to be unset") for part in older]


def _source(obj: Document) -> str:
    return section(obj, "source").get("component") or obj.get("reportingComponent") or ""


def _first_seen(obj: Document, now: datetime) -> str:
    return since(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _last_seen(obj: Document, now: datetime) -> str:
    if last := section(obj, "series").get("lastObservedTime"):
        return since(last, now)
    last = since(obj.get("lastTimestamp"), now)
    return _first_seen(obj, now) if last == UNKNOWN else last


def _count(obj: Document, now: datetime) -> int:
    _ = now
    return section(obj, "series").get("count") or obj.get("count") or 1


def _object(obj: Document, now: datetime) -> str:
    _ = now
    involved = section(obj, "involvedObject")
    kind: str = (involved.get("kind") or "").lower()
    return f"{kind}/{involved['name']}" if involved.get("name") else kind


def _source_and_host(obj: Document, now: datetime) -> str:
    _ = now
    host: str = section(obj, "source").get("host") or obj.get("reportingInstance") or ""
    return ", ".join(part for part in (_source(obj), host) if part)


def _message(obj: Document, now: datetime) -> str:
    _ = now
    return (obj.get("message") or "").strip()


def _newer(cell: Cell) -> Cell:
    """Return the same cell for an event in the newer form."""

    def newer(obj: Document, now: datetime) -> Any:
        return cell(to_core(obj), now)

    return newer


_COLUMNS: Final = (
    Column("Last Seen", _last_seen, description="Time since the event happened last."),
    Column("Type", text("type"), description="Normal or Warning."),
    Column("Reason", text("reason"), description="Why, in one word."),
    Column("Object", _object, description="The object that the event is about."),
    Column("Subobject", text("involvedObject", "fieldPath"), description="The part of it.", priority=1),
    Column("Source", _source_and_host, description="Who reports it.", priority=1),
    Column("Message", _message, description="What happened."),
    Column("First Seen", _first_seen, description="Time since the event happened first.", priority=1),
    Column("Count", _count, type="integer", description="How often it happened.", priority=1),
    Column("Name", name, format="name", description="The event's own name.", priority=1),
)
_PARTS: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

_CORE: Final = Resource(
    plural="events",
    singular="event",
    kind="Event",
    short_names=("ev",),
    strategy=EventStrategy(),
    columns=_COLUMNS,
    fields={
        **{f"involvedObject.{part}": field("involvedObject", part) for part in _PARTS},
        "reason": field("reason"),
        "reportingComponent": field("reportingComponent"),
        "source": _source,
        "type": field("type"),
    },
)

RESOURCES: Final = (
    _CORE,
    Resource(
        group=_NEWER_GROUP,
        plural="events",
        singular="event",
        kind="Event",
        short_names=("ev",),
        strategy=_CORE.strategy,
        columns=tuple(msgspec.structs.replace(column, value=_newer(column.value)) for column in _COLUMNS),
        fields={
            **{f"regarding.{part}": field("involvedObject", part) for part in _PARTS},
            "reason": field("reason"),
            "reportingController": field("reportingComponent"),
            "type": field("type"),
        },
        stored_as=_CORE,
        conversion=EventConversion(),
    ),
)
