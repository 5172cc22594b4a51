"""Who owns whom, over all kinds, as the informers know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from orch.objects.meta import ObjectMeta, OwnerReference
from orch.objects.scheme import EVENTS, NAMESPACES, Kind
from orch.runtime.informer import Change, Informer, Item
from orch.runtime.reconcile import Key
from orch_controllers.context import Context

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"

_NOBODY: Final[frozenset[str]] = frozenset()
Dependent = tuple[Kind[Any], Item[Any]]


class Graph:
    """Who depends on whom, among objects of the kinds that are served. Events neither own nor are owned."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informers.of(NAMESPACES)
        self._informers: dict[str, Informer[Any]] = {}
        self._by_name: dict[tuple[str, str], Kind[Any]] = {}
        self._owned: dict[str, dict[Key, Kind[Any]]] = {}
        """Whom each uid owns. One map over all kinds: most objects own nothing, and that is asked at each one's end."""
        self._stops: dict[str, Callable[[], None]] = {}

    def add(self, kind: Kind[Any]) -> bool:
        """Take in the objects of a kind; return whether the kind is one that is collected."""
        if kind == EVENTS:
            return False
        informer: Informer[Any] = self._context.informers.of(kind)
        self._informers[kind.qualified] = informer
        self._by_name[kind.group, kind.name] = kind
        self._stops[kind.qualified] = informer.on_change(lambda change: self._note(kind, change))
        return True

    def remove(self, kind: Kind[Any]) -> None:
        """Forget a kind that is not served any more: nothing will be heard of its objects."""
        self._by_name.pop((kind.group, kind.name), None)
        informer = self._informers.pop(kind.qualified, None)
        stop = self._stops.pop(kind.qualified, None)
        if informer is None or stop is None:
            return
        stop()
        for item in informer.items():
            self._note(kind, Change(item, None))

    def item(self, kind: Kind[Any], key: Key) -> Item[Any] | None:
        """Return an object as the informer holds it."""
        informer = self._informers.get(kind.qualified)
        return None if informer is None else informer.get(key.namespace, key.name)

    def is_elsewhere(self, kind: Kind[Any], name: str, uid: str) -> bool:
        """Return whether an object is in some namespace; owners have to be in that of their dependents."""
        informer = self._informers.get(kind.qualified)
        if informer is None or not kind.namespaced:
            return False
        found = (informer.get(each.name, name) for each in self._namespaces.items())
        return any(item is not None and item.uid == uid for item in found)

    def dependents(self, uid: str) -> list[Dependent]:
        """Return what names `uid` as an owner."""
        found = [(kind, self.item(kind, key)) for key, kind in self._owned.get(uid, {}).items()]
        return [(kind, item) for kind, item in found if item is not None]

    def has_seen(self, version: int) -> bool:
        """Return whether every dependent that existed at a version is known."""
        return all(informer.revision >= version for informer in self._informers.values())

    def kind_of(self, owner: OwnerReference) -> Kind[Any] | None:
        """Return the kind that an owner reference names, None for one that is not collected."""
        group = owner.api_version.rpartition("/")[0]
        return self._by_name.get((group, owner.kind))

    def kind_of_key(self, key: Key) -> Kind[Any] | None:
        """Return the kind that a key names, None when it is gone."""
        informer = self._informers.get(key.kind)
        return None if informer is None else informer.kind

    def _note(self, kind: Kind[Any], change: Change[Any]) -> None:
        """Take in who owns an object, before anybody else hears of the change."""
        before, after = _owner_uids(change.old), _owner_uids(change.new)
        if before == after:
            return
        key = key_of(kind, change.item.namespace, change.item.name)
        for uid in before - after:
            owned = self._owned.get(uid, {})
            owned.pop(key, None)
            if not owned:
                self._owned.pop(uid, None)
        for uid in after - before:
            self._owned.setdefault(uid, {})[key] = kind


def key_of(kind: Kind[Any], namespace: str, name: str) -> Key:
    """Return the key of an object."""
    return Key(namespace, name, kind.qualified)


def waits_for_dependents(meta: ObjectMeta) -> bool:
    """Return whether the object is being deleted in the foreground."""
    return bool(meta.deletion_timestamp) and FOREGROUND in meta.finalizers


def _owner_uids(item: Item[Any] | None) -> frozenset[str]:
    if item is None or not item.object.metadata.owner_references:
        return _NOBODY
    return frozenset(owner.uid for owner in item.object.metadata.owner_references)
