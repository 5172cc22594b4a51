"""Server-side apply: merges a configuration into an object, as far as its manager may, and takes out what it dropped.

Steps (structured-merge-diff's Updater.Apply): merge; remove what this manager applied before and now leaves out, unless
someone else owns it too; refuse changes to what others own, unless forced; note who owns what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from orch.errors import ApiError, Cause, ConflictError, StatusDetails
from orch_api.fields import sets, values
from orch_api.fields.managers import UNOWNED, Document, Entry, Manager, Ownership, before_first_apply, read
from orch_api.fields.sets import FieldSet
from orch_api.schema.typed import FieldType
from orch_api.validation import MAX_ANNOTATIONS

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL: Final = "kubectl"
_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


class Conflict(Exception):  # noqa: N818 - turned into an ApiError by apply
    """What others own of what would change."""

    def __init__(self, found: Sequence[tuple[Manager, FieldSet]]) -> None:
        self.found = found
        super().__init__(_message(found))


def apply(
    kind: FieldType,
    live: Document,
    configuration: Document,
    manager: Manager,
    *,
    force: bool,
    resource: str,
    group: str,
    has_status: bool,
    now: str,
) -> Document:
    """Return the live object with the configuration applied, metadata.managedFields included; neither is changed.

    `live` is empty when the object is yet to be created. Raises ConflictError with one cause a field that others
    own, ApiError for a configuration that does not fit the schema.
    """
    configuration = _own_part(configuration, manager, has_status=has_status)
    reader = values.Configuration(kind)
    applied = sets.difference(reader.fields(configuration), UNOWNED)
    if reader.problems:
        raise _unfit(configuration, reader.problems)
    owners = _owners(kind, live, manager)
    run = _Application(kind, live, configuration, applied, owners, manager, now)
    try:
        return run.result(force=force)
    except Conflict as conflict:
        if manager.name == _KUBECTL and _all_last_applied(kind, live, conflict):
            return run.result(force=True)
        name = str(configuration["metadata"].get("name") or "")
        raise _refused(conflict, resource, group, name) from None


class _Application:
    """One configuration on its way into one object."""

    def __init__(
        self,
        kind: FieldType,
        live: Document,
        configuration: Document,
        applied: FieldSet,
        owners: Ownership,
        manager: Manager,
        now: str,
    ) -> None:
        self._kind = kind
        self._live = live
        self._configuration = configuration
        self._applied = applied
        self._owners = owners
        self._manager = manager
        self._now = now

    def result(self, *, force: bool) -> Document:
        """Return the object after the application. Raises Conflict."""
        owners = Ownership(tuple(self._owners.entries.values()))
        before = owners.get(self._manager)
        merged: Document = values.merge(self._kind, self._live, self._configuration)
        if before is not None:
            merged = self._pruned(merged, before, owners)
        changes = values.compare(self._kind, self._live, merged)
        if not force and (found := owners.conflicts(self._manager, changes)):
            raise Conflict(found)
        owners.release(self._manager, changes)
        same = before is not None and before.fields == self._applied and not changes
        time = before.time if same and before is not None else self._now
        owners.put(Entry(self._manager, self._applied, time))
        merged["metadata"] = dict(merged["metadata"])
        self._keep_last_applied(merged)
        owners.write(merged)
        return merged

    def _pruned(self, merged: Document, before: Entry, owners: Ownership) -> Document:
        """Return the object without what the manager applied before and nobody wants any more."""
        wanted = sets.union(self._applied, UNOWNED)  # what nobody owns, the metadata itself above all, stays
        for entry in owners.entries.values():
            if entry is not before:
                wanted = sets.union(wanted, entry.fields)
        kind = self._kind
        last = values.with_named_fields(kind, before.fields)
        dropped = sets.difference(last, values.with_named_fields(kind, wanted))
        return values.without(kind, merged, dropped) or {}

    def _keep_last_applied(self, merged: Document) -> None:
        """Let kubectl's own annotation follow what kubectl applies, so that `kubectl apply` can take over again."""
        annotations: dict[str, str] = merged["metadata"].get("annotations") or {}
        if self._manager.name != _KUBECTL or LAST_APPLIED not in annotations:
            return
        with_text = {**annotations, LAST_APPLIED: _as_kubectl_writes(self._configuration)}
        if sum(len(name.encode()) + len(value.encode()) for name, value in with_text.items()) > MAX_ANNOTATIONS:
            del with_text[LAST_APPLIED]
        merged["metadata"]["annotations"] = with_text


def _as_kubectl_writes(configuration: Document) -> str:
    """Return a configuration as Go would: names sorted, and what means something to HTML escaped."""
    metadata = dict(configuration["metadata"])
    if "annotations" in metadata:
        kept: dict[str, str] = metadata["annotations"] or {}
        metadata["annotations"] = {name: value for name, value in kept.items() if name != LAST_APPLIED}
    text = msgspec.json.encode({**configuration, "metadata": metadata}, order="sorted").decode()
    return text.translate(_ESCAPES) + "\n"


def _owners(kind: FieldType, live: Document, manager: Manager) -> Ownership:
    if not live:
        return Ownership()
    if not live["metadata"].get("managedFields"):
        return before_first_apply(kind, live, manager.api_version)
    return read(live) or Ownership()


def _own_part(configuration: Document, manager: Manager, *, has_status: bool) -> Document:
    """Return the configuration without what this endpoint does not write: the status, or all but the status."""
    if manager.subresource == "status":
        parts = ("apiVersion", "kind", "metadata", "status")
        return {name: configuration[name] for name in parts if name in configuration}
    if has_status and "status" in configuration:
        return {name: value for name, value in configuration.items() if name != "status"}
    return configuration


def _all_last_applied(kind: FieldType, live: Document, conflict: Conflict) -> bool:
    """Return whether kubectl owned all that conflicts, by its client-side apply."""
    metadata: Document = live.get("metadata") or {}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    try:
        before = msgspec.json.decode(annotations.get(LAST_APPLIED, ""), type=dict[str, Any])
    except msgspec.DecodeError:
        return False
    named = values.Configuration(kind).fields(before)
    return all(not sets.difference(fields, named) for _, fields in conflict.found)


def _unfit(configuration: Document, problems: Sequence[str]) -> ApiError:
    metadata = configuration["metadata"]
    where = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
    api_version = str(configuration.get("apiVersion"))
    version = api_version if "/" in api_version else f"/{api_version}"  # as Go prints a kind of the core group
    kind = f"{version}, Kind={configuration.get('kind')}"
    what = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in problems)
    return ApiError(f"failed to create typed patch object ({where}; {kind}): {what}")


def _message(found: Sequence[tuple[Manager, FieldSet]]) -> str:
    fields = {str(owner): [sets.shown(path) for path in sets.paths(common)] for owner, common in found}
    count = sum(map(len, fields.values()))
    if count == 1:
        ((owner, (path,)),) = fields.items()
        return f"Apply failed with 1 conflict: conflict with {owner}: {path}"
    lines: list[str] = []
    for owner in sorted(fields):
        lines.append(f"conflicts with {owner}:")
        lines += [f"- {path}" for path in fields[owner]]
    return f"Apply failed with {count} conflicts: " + "\n".join(lines)


def _refused(conflict: Conflict, resource: str, group: str, name: str) -> ConflictError:
    causes = tuple(
        Cause("FieldManagerConflict", f"conflict with {owner}", sets.shown(path))
        for owner, common in conflict.found
        for path in sets.paths(common)
    )
    return ConflictError(str(conflict), StatusDetails(name=name, group=group, kind=resource, causes=causes))
