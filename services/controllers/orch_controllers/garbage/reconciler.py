"""Owner references: deletes dependents whose owners are gone, and ends foreground and orphaning deletions.

One reconciler a kind, all over the same informers (k8s.io/kubernetes pkg/controller/garbagecollector).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from orch.errors import ConflictError, NotFoundError
from orch.objects.meta import Object, ObjectMeta, OwnerReference
from orch.objects.scheme import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
)
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.ownership import plain_reference

COLLECTED: Final[tuple[Kind[Any], ...]] = (
    PODS,
    REPLICA_SETS,
    DEPLOYMENTS,
    SERVICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    LEASES,
    NAMESPACES,
    NODES,
)
"""The kinds that own or are owned."""

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"

_INDEX: Final = "garbage/owner"
_LOOK_AGAIN: Final = 1.0
_KINDS: Final = {(kind.group, kind.name): kind for kind in COLLECTED}


class Graph:
    """Who depends on whom, over all collected kinds."""

    def __init__(self, context: Context) -> None:
        self._informers = {kind.resource: context.informers.of(kind) for kind in COLLECTED}
        for kind in COLLECTED:
            context.informers.index(kind, _INDEX, _owner_uids)

    def item(self, kind: Kind[Any], key: Key) -> Item[Any] | None:
        """Return an object as the informer holds it."""
        return self._informers[kind.resource].get(key.namespace, key.name)

    def dependents(self, uid: str) -> list[tuple[Kind[Any], Item[Any]]]:
        """Return what names `uid` as an owner."""
        return [(kind, item) for kind in COLLECTED for item in self._informers[kind.resource].indexed(_INDEX, uid)]

    def dependents_of_kind(self, kind: Kind[Any], uid: str) -> Iterable[Item[Any]]:
        """Return the objects of one kind that name `uid` as an owner."""
        return self._informers[kind.resource].indexed(_INDEX, uid)


class GarbageReconciler:
    """Reconciles the objects of one kind as dependents and as owners."""

    def __init__(self, context: Context, graph: Graph, kind: Kind[Any]) -> None:
        self._client = context.client
        self._graph = graph
        self._kind = kind

    def keys_of(self, other: Kind[Any]) -> Callable[[Change[Any]], Iterable[Key]]:
        """Return what a change of an object of `other` means for the objects of this kind."""

        def keys(change: Change[Any]) -> Iterable[Key]:
            found: set[Key] = set()
            if change.new is None and change.old is not None:
                for item in self._graph.dependents_of_kind(self._kind, change.old.uid):
                    found.add(Key(item.namespace, item.name))
            for item in (change.old, change.new):
                if item is None:
                    continue
                if other is self._kind and _concerns(item.object.metadata):
                    found.add(Key(item.namespace, item.name))
                for owner in item.object.metadata.owner_references:
                    if kind_of(owner) is self._kind and (change.new is None or change.old is not None):
                        found.add(Key(item.namespace if self._kind.namespaced else "", owner.name))
            return found

        return keys

    async def reconcile(self, key: Key) -> Result:
        """Take the next step for one object."""
        item = self._graph.item(self._kind, key)
        if item is None:
            return DONE
        meta: ObjectMeta = item.object.metadata
        if meta.deletion_timestamp:
            if FOREGROUND in meta.finalizers:
                return await self._finish_foreground(item)
            if ORPHAN in meta.finalizers:
                await self._orphan(item)
            return DONE
        if meta.owner_references:
            await self._check_owners(item)
        return DONE

    async def _check_owners(self, item: Item[Any]) -> None:
        """Delete the object when no owner is left; drop the references to those that are gone otherwise."""
        meta: ObjectMeta = item.object.metadata
        gone = [owner for owner in meta.owner_references if await self._is_gone(meta.namespace, owner)]
        if not gone:
            return
        if len(gone) == len(meta.owner_references):
            await self._delete(self._kind, item.object)
        else:
            await self._drop_owners(self._kind, item.object, {owner.uid for owner in gone})

    async def _is_gone(self, namespace: str, owner: OwnerReference) -> bool:
        """Return whether an owner no longer exists; the informer's word is confirmed by the api's."""
        kind = kind_of(owner)
        if kind is None:
            return False
        where = Key(namespace if kind.namespaced else "", owner.name)
        known = self._graph.item(kind, where)
        if known is not None and known.uid == owner.uid:
            return False
        try:
            found = await self._client.get(kind, where.namespace, where.name)
        except NotFoundError:
            return True
        return found.metadata.uid != owner.uid

    async def _finish_foreground(self, item: Item[Any]) -> Result:
        """Delete the dependents; let the owner go when none is left that blocks it."""
        meta: ObjectMeta = item.object.metadata
        blocking = False
        for kind, dependent in self._graph.dependents(item.uid):
            owner = next(each for each in dependent.object.metadata.owner_references if each.uid == item.uid)
            blocking = blocking or owner.block_owner_deletion
            if not dependent.object.metadata.deletion_timestamp:
                await self._delete(kind, dependent.object, propagation="Foreground")
        if blocking:
            return Result(_LOOK_AGAIN)
        await self._drop_finalizer(meta, FOREGROUND)
        return DONE

    async def _orphan(self, item: Item[Any]) -> None:
        meta: ObjectMeta = item.object.metadata
        await asyncio.gather(
            *(
                self._drop_owners(kind, dependent.object, {item.uid})
                for kind, dependent in self._graph.dependents(item.uid)
            )
        )
        await self._drop_finalizer(meta, ORPHAN)

    async def _delete(self, kind: Kind[Any], each: Object, propagation: str = "Background") -> None:
        meta = each.metadata
        try:
            await self._client.delete(kind, meta.namespace, meta.name, uid=meta.uid, propagation=propagation)
        except (NotFoundError, ConflictError):
            return

    async def _drop_owners(self, kind: Kind[Any], each: Object, uids: set[str]) -> None:
        meta = each.metadata
        kept = [plain_reference(owner) for owner in meta.owner_references if owner.uid not in uids]
        await self._patch(kind, meta, {"ownerReferences": kept or None})

    async def _drop_finalizer(self, meta: ObjectMeta, finalizer: str) -> None:
        kept: Sequence[str] = [each for each in meta.finalizers if each != finalizer]
        await self._patch(self._kind, meta, {"finalizers": kept or None})

    async def _patch(self, kind: Kind[Any], meta: ObjectMeta, change: dict[str, Any]) -> None:
        patch = {"metadata": {**change, "uid": meta.uid, "resourceVersion": meta.resource_version}}
        try:
            await self._client.patch(kind, meta.namespace, meta.name, patch)
        except NotFoundError:
            return


def kind_of(owner: OwnerReference) -> Kind[Any] | None:
    """Return the kind that an owner reference names, None for one that is not collected."""
    group = owner.api_version.rpartition("/")[0]
    return _KINDS.get((group, owner.kind))


def _concerns(meta: ObjectMeta) -> bool:
    return bool(meta.owner_references) or bool(meta.deletion_timestamp and meta.finalizers)


def _owner_uids(item: Item[Any]) -> Iterable[str]:
    return [owner.uid for owner in item.object.metadata.owner_references]
