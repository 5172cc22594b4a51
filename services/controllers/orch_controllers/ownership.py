"""Which objects a controller owns: adopting those that match its selector, releasing those that no longer do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic

from orch.errors import ConflictError, NotFoundError
from orch.objects.meta import Object, ObjectMeta
from orch.objects.scheme import Kind, ObjectT
from orch.runtime.client import Client
from orch.runtime.informer import Change, Informer, Informers, Item
from orch.runtime.reconcile import Key
from orch.selectors import Selector
from orch_controllers.documents import controller_reference, without_owners

BY_CONTROLLER: Final = "controller"
"""The index of objects by the uid of their controller, one for all who ask."""


def index_by_controller(informers: Informers, kind: Kind[Any]) -> None:
    """Keep the index BY_CONTROLLER over a kind's objects."""
    informers.index(kind, BY_CONTROLLER, _controller_of)


def claimable(informer: Informer[ObjectT], namespace: str, uid: str) -> list[ObjectT]:
    """Return the objects that the owner `uid` controls, and those of its namespace that nobody controls."""
    items = informer.indexed(BY_CONTROLLER, uid) + informer.indexed(BY_CONTROLLER, _orphans_in(namespace))
    return [item.object for item in items]


def controlled(informer: Informer[ObjectT], uid: str) -> list[ObjectT]:
    """Return the objects that the owner `uid` controls."""
    return [item.object for item in informer.indexed(BY_CONTROLLER, uid)]


def _controller_of(item: Item[Any]) -> tuple[str, ...]:
    owner = item.object.metadata.controller
    return (owner.uid if owner is not None else _orphans_in(item.namespace),)


def _orphans_in(namespace: str) -> str:
    return f"orphans/{namespace}"


def is_of(api_version: str, kind: Kind[Any]) -> bool:
    """Return whether an owner reference's apiVersion is of the kind's group; the version may be another."""
    return api_version.rpartition("/")[0] == kind.group


def owner_keys(change: Change[Any], kind: Kind[Any]) -> set[Key]:
    """Return the keys of the object's controller of that kind, before and after the change."""
    keys: set[Key] = set()
    for item in (change.old, change.new):
        owner = item.object.metadata.controller if item is not None else None
        if item is not None and owner is not None and owner.kind == kind.name and is_of(owner.api_version, kind):
            keys.add(Key(item.namespace, owner.name))
    return keys


def _any_name(name: str) -> bool:
    del name
    return True


class Claims(Generic[ObjectT]):
    """Claims objects of one kind for one owner (k8s.io/kubernetes pkg/controller ControllerRefManager).

    `accepts` says which names the owner's objects can have; what has another name is treated as not selected.
    `finalizer`, if given, comes with ownership and goes with it.
    """

    def __init__(
        self,
        client: Client,
        owned: Kind[ObjectT],
        owner_kind: Kind[Any],
        owner: Object,
        selector: Selector,
        accepts: Callable[[str], bool] = _any_name,
        finalizer: str = "",
    ) -> None:
        self._client = client
        self._owned = owned
        self._owner_kind = owner_kind
        self._owner = owner.metadata
        self._selector = selector
        self._accepts = accepts
        self._finalizer = finalizer
        self._may_adopt: bool | None = None

    async def claim(self, candidates: Iterable[ObjectT]) -> list[ObjectT]:
        """Return what the owner owns after adopting and releasing among the candidates."""
        claimed: list[ObjectT] = []
        uid = self._owner.uid
        for candidate in candidates:
            controller = candidate.metadata.controller
            if controller is not None and controller.uid == uid and self._belongs(candidate.metadata):
                claimed.append(candidate)  # as nearly all are
                continue
            found = await self._claim(candidate)
            if found is not None:
                claimed.append(found)
        return claimed

    async def _claim(self, candidate: ObjectT) -> ObjectT | None:
        meta = candidate.metadata
        controller = meta.controller
        matches = self._belongs(meta)
        leaving = bool(self._owner.deletion_timestamp)
        if controller is not None:
            if controller.uid != self._owner.uid:
                return None
            if matches:
                return candidate
            if not leaving:
                await self._patch(meta, self._release(meta.uid))
            return None
        if not matches or leaving or meta.deletion_timestamp or not await self._owner_stands():
            return None
        reference = controller_reference(self._owner_kind, self._owner)
        metadata: dict[str, Any] = {"uid": meta.uid, "ownerReferences": [reference]}
        if self._finalizer:
            metadata["finalizers"] = [self._finalizer]
        return await self._patch(meta, {"metadata": metadata})

    def _release(self, uid: str) -> dict[str, Any]:
        patch = without_owners(uid, [self._owner.uid])
        if self._finalizer:
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = [self._finalizer]
        return patch

    def _belongs(self, meta: ObjectMeta) -> bool:
        return self._selector.matches(meta.labels) and self._accepts(meta.name)

    async def _owner_stands(self) -> bool:
        """Return whether the owner may adopt: the api's word counts, for a deletion that orphans may be under way."""
        if self._may_adopt is None:
            try:
                owner = await self._client.get(self._owner_kind, self._owner.namespace, self._owner.name)
            except NotFoundError:
                self._may_adopt = False
            else:
                meta: ObjectMeta = owner.metadata
                self._may_adopt = meta.uid == self._owner.uid and not meta.deletion_timestamp
        return self._may_adopt

    async def _patch(self, meta: ObjectMeta, patch: dict[str, Any]) -> ObjectT | None:
        """Change the owner references; None when the object is gone or another one has its name."""
        try:
            return await self._client.patch(self._owned, meta.namespace, meta.name, patch, strategic=True)
        except (ConflictError, NotFoundError):
            return None


def concerns_adopters(change: Change[Any]) -> bool:
    """Return whether a change of an object without a controller can matter to those who could adopt it."""
    old, new = change.old, change.new
    if new is None or new.object.metadata.controller is not None or new.object.metadata.deletion_timestamp:
        return False
    if old is None or old is new:  # the latter when everything is looked at again
        return True
    return old.labels != new.labels or old.object.metadata.owner_references != new.object.metadata.owner_references
