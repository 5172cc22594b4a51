"""The entries of metadata.managedFields: read, brought up to date with what a write changed, and written back.

An entry belongs to a manager, an operation (Apply or Update) and a subresource; updates also to an apiVersion. See
apimachinery's pkg/util/managedfields for the rules; entries of other versions of the kind are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from orch_api.fields import sets
from orch_api.fields.sets import FieldSet
from orch_api.fields.values import Changes, compare
from orch_api.schema.typed import FieldType

Document = dict[str, Any]
Operation = Literal["Apply", "Update"]

MAX_UPDATERS: Final = 10
"""So many updating managers are told apart; the oldest beyond them become one."""

_ANCIENT: Final = "ancient-changes"
_BEFORE_FIRST_APPLY: Final = "before-first-apply"

_SYSTEM_META: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
)
_UNOWNED_META: Final = frozenset(_SYSTEM_META)
_NAMES_OF_TEXTS: Final = frozenset({"labels", "annotations"})
_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})

UNOWNED: Final[FieldSet] = {
    "f:apiVersion": sets.LEAF,
    "f:kind": sets.LEAF,
    "f:metadata": {sets.SELF: sets.LEAF, **{f"f:{name}": sets.LEAF for name in _SYSTEM_META}},
}
"""What nobody owns, as the system sets it."""


class Manager(msgspec.Struct, frozen=True):
    """Who owns fields: what tells one entry of managedFields from another."""

    name: str
    operation: Operation
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What is the same for every write of this manager; one that applies may change its apiVersion."""
        return (self.name, self.operation, "" if self.operation == "Apply" else self.api_version, self.subresource)

    def __str__(self) -> str:
        """Name the manager as Kubernetes' conflicts do."""
        text = msgspec.json.encode(self.name).decode()
        if self.subresource:
            text = f'{text} with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class Entry(msgspec.Struct, frozen=True):
    """What a manager owns, and when it last changed something."""

    manager: Manager
    fields: FieldSet
    time: str = ""


class Ownership:
    """The managers of one object."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries: dict[tuple[str, str, str, str], Entry] = {one.manager.identity: one for one in entries}

    def get(self, manager: Manager) -> Entry | None:
        """Return a manager's entry."""
        return self.entries.get(manager.identity)

    def put(self, entry: Entry) -> None:
        """Set a manager's entry; one without fields goes."""
        if entry.fields:
            self.entries[entry.manager.identity] = entry
        else:
            self.entries.pop(entry.manager.identity, None)

    def conflicts(self, manager: Manager, changes: Changes) -> list[tuple[Manager, FieldSet]]:
        """Return the fields that a write of `manager` changes although others own them."""
        touched = sets.union(changes.modified, changes.added)
        if not touched:
            return []
        found = [
            (entry.manager, sets.intersection(entry.fields, touched))
            for identity, entry in self.entries.items()
            if identity != manager.identity
        ]
        return [(owner, common) for owner, common in found if common]

    def release(self, manager: Manager, changes: Changes) -> None:
        """Take from all others the fields that a write of `manager` changed or removed."""
        lost = sets.union(sets.union(changes.modified, changes.added), changes.removed)
        for identity, entry in list(self.entries.items()):
            if identity != manager.identity:
                self._keep(entry, sets.difference(entry.fields, lost))

    def _keep(self, entry: Entry, fields: FieldSet) -> None:
        if fields != entry.fields:
            self.put(Entry(entry.manager, fields, entry.time))

    def take(self, manager: Manager, changes: Changes, now: str) -> None:
        """Give an updating manager what it changed or added, and take from it what it removed."""
        entry = self.get(manager) or Entry(manager, {}, now)
        taken = sets.difference(sets.union(changes.modified, changes.added), UNOWNED)
        owned = sets.union(sets.difference(entry.fields, changes.removed), taken)
        self.put(Entry(manager, owned, now if taken else entry.time))

    def write(self, document: Document) -> None:
        """Set the document's metadata.managedFields."""
        metadata: Document = document["metadata"]
        if self.entries:
            metadata["managedFields"] = [_written(entry) for entry in sorted(self.entries.values(), key=_place)]
        else:
            metadata.pop("managedFields", None)

    def cap(self) -> None:
        """Make one of the oldest updating managers when there are too many."""
        updaters = sorted((entry for entry in self.entries.values() if entry.manager.operation == "Update"), key=_place)
        surplus = len(updaters) - MAX_UPDATERS
        if surplus <= 0:
            return
        for entry in updaters[: surplus + 1]:
            del self.entries[entry.manager.identity]
            ancient = Manager(_ANCIENT, "Update", entry.manager.api_version)
            merged = self.get(ancient) or Entry(ancient, {}, entry.time)
            self.put(Entry(ancient, sets.union(merged.fields, entry.fields), max(merged.time, entry.time)))


def _place(entry: Entry) -> tuple[str, str, str, str, str]:
    manager = entry.manager
    return (manager.operation, entry.time, manager.name, manager.api_version, manager.subresource)


def _written(entry: Entry) -> Document:
    manager = entry.manager
    written: Document = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
    }
    if not entry.time:
        del written["time"]
    if manager.subresource:
        written["subresource"] = manager.subresource
    return written


def read(document: Mapping[str, Any]) -> Ownership | None:
    """Return the managers that a document names, None when an entry makes no sense."""
    entries: list[Entry] = []
    for one in document["metadata"].get("managedFields") or ():
        operation: Any = one.get("operation")
        api_version: str = one.get("apiVersion") or ""
        fields: Any = one.get("fieldsV1")
        if operation not in {"Apply", "Update"} or not api_version or one.get("fieldsType") != "FieldsV1":
            return None
        if fields is not None and not sets.is_written(fields):
            return None
        manager = Manager(one.get("manager") or "", operation, api_version, one.get("subresource") or "")
        entries.append(Entry(manager, fields or {}, one.get("time") or ""))
    return Ownership(entries)


def is_reset(document: Mapping[str, Any]) -> bool:
    """Return whether a document asks that nobody own anything any more: managedFields with one empty entry."""
    given: list[Document] | None = document["metadata"].get("managedFields")
    return given is not None and len(given) == 1 and not given[0]


def track(kind: FieldType, new: Document, old: Document | None, manager: Manager, now: str) -> None:
    """Note in `new` what this update changed. `old` is None for a creation; what has no owners at all gets none.

    What the writer put into managedFields counts before what was there, as in Kubernetes, unless it makes no sense;
    subresources may not write it.
    """
    if old is None:
        if fields := _created(kind, new):
            new["metadata"]["managedFields"] = [_written(Entry(manager, fields, now))]
        return
    if is_reset(new):
        new["metadata"].pop("managedFields")
        return
    known, given = old["metadata"].get("managedFields"), new["metadata"].get("managedFields")
    told = read(new) if given and given != known and not manager.subresource else None
    if told is None:
        if not known:
            new["metadata"].pop("managedFields", None)
            return
        new["metadata"]["managedFields"] = known
    ownership = told or read(old) or Ownership()
    changes = compare(kind, old, new)
    changes = Changes(*(sets.difference(one, UNOWNED) for one in (changes.added, changes.modified, changes.removed)))
    if not changes:
        return
    ownership.release(manager, changes)
    ownership.take(manager, changes, now)
    ownership.cap()
    ownership.write(new)


def _created(kind: FieldType, new: Document) -> Document:
    """Return the fields of a new object, ready to be written: their parts are JSON already.

    Objects of one template differ in little but their names, so the parts of the last ones are remembered; and of
    labels and annotations only the names count.
    """
    of_metadata: Document = {}
    for name, value in new["metadata"].items():
        if name in _UNOWNED_META or value is None:
            continue
        named = dict.fromkeys(value, "") if name in _NAMES_OF_TEXTS and None not in value.values() else value
        part = _part(kind.inner("metadata"), name, msgspec.json.encode(named))
        if part is not None:
            of_metadata[f"f:{name}"] = part
    fields: Document = {"f:metadata": of_metadata} if of_metadata else {}
    for name, value in new.items():
        if name in _HEAD or value is None:
            continue
        part = _part(kind, name, msgspec.json.encode(value))
        if part is not None:
            fields[f"f:{name}"] = part
    return fields


@lru_cache(maxsize=1024)
def _part(kind: FieldType, name: str, value: bytes) -> msgspec.Raw | None:
    """Return the fields of a part of a new object in JSON, None when it has none."""
    added = compare(kind, {}, {name: msgspec.json.decode(value)}).added
    fields = added.get(f"f:{name}")
    return None if fields is None else msgspec.Raw(msgspec.json.encode(fields))


def before_first_apply(kind: FieldType, live: Document, api_version: str) -> Ownership:
    """Return the owners of an object that has none when something is first applied to it: all is an update's."""
    ownership = Ownership()
    manager = Manager(_BEFORE_FIRST_APPLY, "Update", api_version)
    everything = sets.difference(compare(kind, {}, live).added, UNOWNED)
    ownership.put(Entry(manager, everything, live["metadata"].get("creationTimestamp") or ""))
    return ownership
