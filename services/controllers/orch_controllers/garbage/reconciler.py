"""Owner references: deletes dependents whose owners are gone, and ends foreground and orphaning deletions.

One reconciler for all kinds, whose keys name the kind too (k8s.io/kubernetes pkg/controller/garbagecollector).
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from orch.errors import NotFoundError
from orch.objects.meta import Object, ObjectMeta, OwnerReference
from orch.objects.scheme import Kind
from orch.runtime.events import reference
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.documents import without_owners
from orch_controllers.fanout import for_each
from orch_controllers.garbage.graph import (
    FOREGROUND,
    ORPHAN,
    Dependent,
    Graph,
    key_of,
    waits_for_dependents,
)

log = logging.getLogger(__name__)

KeyT = TypeVar("KeyT")

_REMEMBERED: Final = 4096
_AWAIT_INFORMERS: Final = 0.1
_AWAIT_DEPENDENTS: Final = 1.0


class _Owner(enum.Enum):
    """What an owner is to its dependent."""

    SOLID = "solid"
    WAITING = "waiting"
    """It is being deleted in the foreground, and waits for this dependent to go."""
    GONE = "gone"


class GarbageReconciler:
    """Reconciles objects as dependents and as owners."""

    def __init__(self, context: Context, graph: Graph) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("garbage-collector-controller")
        self._graph = graph
        self._gone: dict[tuple[str, str, OwnerReference], None] = {}
        """Owners of which the api said that they do not exist. They never will: a uid is given once."""
        self._misplaced: dict[tuple[str, str], None] = {}
        """Dependents and owners in another namespace, of which people have been told."""

    def keys_of(self, kind: Kind[Any]) -> Callable[[Change[Any]], Iterable[Key]]:
        """Return whom a change of an object of `kind` concerns: itself, its dependents, its owners."""

        def keys(change: Change[Any]) -> Iterable[Key]:
            old, new = change.old, change.new
            found: list[Key] = []
            if new is not None and _concerns(new.object.metadata) and not _is_as_judged(old, new):
                found.append(key_of(kind, new.namespace, new.name))
            if old is not None:
                if new is None or _begins_to_wait(old, new):
                    found += [key_of(each, item.namespace, item.name) for each, item in self._graph.dependents(old.uid)]
                if new is None or _owners(new) != _owners(old):
                    found += [key for owner in _owners(old) if (key := self._where(old, owner)) is not None]
            return found

        return keys

    async def reconcile(self, key: Key) -> Result:
        """Take the next step for one object."""
        kind = self._graph.kind_of_key(key)
        item = None if kind is None else self._graph.item(kind, key)
        if kind is None or item is None:
            return DONE
        meta: ObjectMeta = item.object.metadata
        if meta.deletion_timestamp:
            if ORPHAN in meta.finalizers:
                return await self._orphan(kind, item)
            if FOREGROUND in meta.finalizers:
                return await self._finish_foreground(kind, item)
        elif meta.owner_references:
            await self._check_owners(kind, item)
        return DONE

    async def _check_owners(self, kind: Kind[Any], item: Item[Any]) -> None:
        """Delete the object when no owner stands; else take away the references to those that do not."""
        meta: ObjectMeta = item.object.metadata
        states = {owner.uid: await self._state_of(kind, item, owner) for owner in meta.owner_references}
        fallen = [uid for uid, state in states.items() if state is not _Owner.SOLID]
        if not fallen:
            return
        if len(fallen) < len(states):
            await self._patch(kind, meta, without_owners(meta.uid, fallen))
            return
        policy = "Background"
        dependents = self._graph.dependents(meta.uid)
        if ORPHAN in meta.finalizers:
            policy = "Orphan"
        elif FOREGROUND in meta.finalizers:
            policy = "Foreground"
        elif dependents and _Owner.WAITING in states.values():
            policy = "Foreground"
            if any(waits_for_dependents(dependent.object.metadata) for _, dependent in dependents):
                await self._unblock(kind, meta)  # they may be waiting for one another in a circle
        await self._delete(kind, item.object, policy)

    async def _state_of(self, dependent: Kind[Any], item: Item[Any], owner: OwnerReference) -> _Owner:
        """Return what an owner is; that one is gone counts only when the api says so."""
        kind = self._graph.kind_of(owner)
        if kind is None:
            return _Owner.SOLID  # not ours to judge: nothing is known of the kind here
        if kind.namespaced and not item.namespace:
            self._tell_misplaced(dependent, item, kind, owner)
            return _Owner.SOLID  # a reference that cannot be valid is no reason to delete what has it
        where = Key(item.namespace if kind.namespaced else "", owner.name)
        known = self._graph.item(kind, where)
        if known is not None and known.uid == owner.uid:
            return _state(known.object.metadata)
        identity = (kind.qualified, where.namespace, owner)
        if identity in self._gone:
            return _Owner.GONE
        try:
            found = await self._client.get(kind.with_view(Object), where.namespace, where.name)
        except NotFoundError:
            found = None
        if found is not None and found.metadata.uid == owner.uid:
            return _state(found.metadata)
        _remember(self._gone, identity)
        self._tell_misplaced(dependent, item, kind, owner)
        return _Owner.GONE

    def _tell_misplaced(self, dependent: Kind[Any], item: Item[Any], kind: Kind[Any], owner: OwnerReference) -> None:
        """Warn people, once, of an owner that exists, but not where its dependent could have it."""
        pair = (item.uid, owner.uid)
        if pair in self._misplaced or not self._graph.is_elsewhere(kind, owner.name, owner.uid):
            return
        _remember(self._misplaced, pair)
        named = f"[{owner.api_version}/{owner.kind}, namespace: {item.namespace}, name: {owner.name}, uid: {owner.uid}]"
        message = f'ownerRef {named} does not exist in namespace "{item.namespace}"'
        self._recorder.event(reference(dependent, item), "Warning", "OwnerRefInvalidNamespace", message)

    async def _finish_foreground(self, kind: Kind[Any], item: Item[Any]) -> Result:
        """Let the owner go when no dependent is left that blocks it; they have been told by its change."""
        if not self._graph.has_seen(item.revision):
            return Result(_AWAIT_INFORMERS)
        if any(_blocks(dependent, item.uid) for dependent in self._graph.dependents(item.uid)):
            return Result(_AWAIT_DEPENDENTS)
        await self._drop_finalizer(kind, item.object.metadata, FOREGROUND)
        return DONE

    async def _orphan(self, kind: Kind[Any], item: Item[Any]) -> Result:
        """Take the owner from all of its dependents, then let it go."""
        if not self._graph.has_seen(item.revision):
            return Result(_AWAIT_INFORMERS)

        async def release(dependent: Dependent) -> None:
            of, each = dependent
            await self._patch(of, each.object.metadata, without_owners(each.uid, [item.uid]))

        await for_each(self._graph.dependents(item.uid), release)
        await self._drop_finalizer(kind, item.object.metadata, ORPHAN)
        return DONE

    def _where(self, dependent: Item[Any], owner: OwnerReference) -> Key | None:
        """Return the owner's key, None when its kind is not collected."""
        kind = self._graph.kind_of(owner)
        return None if kind is None else key_of(kind, dependent.namespace if kind.namespaced else "", owner.name)

    async def _delete(self, kind: Kind[Any], each: Object, propagation: str) -> None:
        """Delete an object as it was read: it may have been given another owner since."""
        meta = each.metadata
        try:
            await self._client.delete(
                kind,
                meta.namespace,
                meta.name,
                uid=meta.uid,
                resource_version=meta.resource_version,
                propagation=propagation,
            )
        except NotFoundError:
            log.debug("%s %s/%s was gone already", kind.name, meta.namespace, meta.name)

    async def _unblock(self, kind: Kind[Any], meta: ObjectMeta) -> None:
        references = [{"uid": owner.uid, "blockOwnerDeletion": False} for owner in meta.owner_references]
        await self._patch(kind, meta, {"metadata": {"uid": meta.uid, "ownerReferences": references}})

    async def _drop_finalizer(self, kind: Kind[Any], meta: ObjectMeta, finalizer: str) -> None:
        kept = [each for each in meta.finalizers if each != finalizer]
        version = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        await self._patch(kind, meta, {"metadata": {**version, "finalizers": kept or None}}, strategic=False)

    async def _patch(self, kind: Kind[Any], meta: ObjectMeta, patch: dict[str, Any], *, strategic: bool = True) -> None:
        try:
            await self._client.patch(kind.with_view(Object), meta.namespace, meta.name, patch, strategic=strategic)
        except NotFoundError:
            log.debug("%s %s/%s was gone already", kind.name, meta.namespace, meta.name)


def _state(owner: ObjectMeta) -> _Owner:
    return _Owner.WAITING if waits_for_dependents(owner) else _Owner.SOLID


def _remember(known: dict[KeyT, None], key: KeyT) -> None:
    known[key] = None
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]


def _concerns(meta: ObjectMeta) -> bool:
    if meta.deletion_timestamp:
        return FOREGROUND in meta.finalizers or ORPHAN in meta.finalizers
    return bool(meta.owner_references)


def _is_as_judged(old: Item[Any] | None, new: Item[Any]) -> bool:
    """Return whether a change leaves all as it was that decides over the object: most changes are of a status."""
    if old is None or old is new:  # the latter when everything is looked at again
        return False
    before, after = old.object.metadata, new.object.metadata
    return (
        before.owner_references == after.owner_references
        and before.deletion_timestamp == after.deletion_timestamp
        and before.finalizers == after.finalizers
    )


def _begins_to_wait(old: Item[Any], new: Item[Any]) -> bool:
    """Return whether the dependents have to be looked at: their owner is being deleted in the foreground."""
    return waits_for_dependents(new.object.metadata) and (old is new or not waits_for_dependents(old.object.metadata))


def _owners(item: Item[Any]) -> tuple[OwnerReference, ...]:
    return item.object.metadata.owner_references


def _blocks(dependent: Dependent, uid: str) -> bool:
    _, item = dependent
    return any(owner.uid == uid and owner.block_owner_deletion for owner in _owners(item))
