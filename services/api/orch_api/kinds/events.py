"""Events: what happened to an object, for people to read."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import UNKNOWN, name, since, text
from orch_api.kinds.fields import field
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import invalid, required, too_long

_TYPES: Final = ("Normal", "Warning")
_CLUSTER_SCOPE: Final = frozenset({"default", "kube-system"})
_MAX_TEXT: Final = 128
_MAX_MESSAGE: Final = 1024


class EventStrategy(Strategy):
    """The rules of events. The stricter ones hold for events in the new form, which have an eventTime."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the event."""
        causes = _namespaces(obj)
        controller: str = obj.get("reportingComponent") or ""
        if controller:
            causes += validation.check("reportingComponent", controller, validation.qualified_name)
        return causes + _new_form(obj) if obj.get("eventTime") else causes


def _new_form(obj: Document) -> list[Cause]:
    causes: list[Cause] = []
    for field_name in ("reportingComponent", "reportingInstance", "action", "reason"):
        value: str = obj.get(field_name) or ""
        if not value:
            causes.append(required(field_name))
        elif len(value) > _MAX_TEXT:
            causes.append(invalid(field_name, "", f"can have at most {_MAX_TEXT} characters"))
    if len(obj.get("message") or "") > _MAX_MESSAGE:
        causes.append(too_long("message", _MAX_MESSAGE))
    if obj.get("type") not in _TYPES:
        causes.append(invalid("type", obj.get("type") or "", "has invalid value"))
    return causes


def _namespaces(obj: Document) -> list[Cause]:
    own: str = section(obj, "metadata").get("namespace") or ""
    other: str = section(obj, "involvedObject").get("namespace") or ""
    if own == other or (not other and own in _CLUSTER_SCOPE):
        return []
    return [invalid("involvedObject.namespace", other, "does not match event.namespace")]


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


RESOURCES: Final = (
    Resource(
        plural="events",
        singular="event",
        kind="Event",
        short_names=("ev",),
        strategy=EventStrategy(),
        columns=(
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
        ),
        fields={
            "involvedObject.kind": field("involvedObject", "kind"),
            "involvedObject.namespace": field("involvedObject", "namespace"),
            "involvedObject.name": field("involvedObject", "name"),
            "involvedObject.uid": field("involvedObject", "uid"),
            "involvedObject.apiVersion": field("involvedObject", "apiVersion"),
            "involvedObject.resourceVersion": field("involvedObject", "resourceVersion"),
            "involvedObject.fieldPath": field("involvedObject", "fieldPath"),
            "reason": field("reason"),
            "reportingComponent": field("reportingComponent"),
            "source": _source,
            "type": field("type"),
        },
    ),
)
