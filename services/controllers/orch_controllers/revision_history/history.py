"""The revisions of one kind's objects: claiming them, making the next, numbering them anew, clearing the old away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from orch.errors import AlreadyExistsError, InternalError, NotFoundError
from orch.objects.apps import ControllerRevision
from orch.objects.meta import Object
from orch.objects.pods import PodTemplate
from orch.objects.scheme import CONTROLLER_REVISIONS, Kind
from orch.runtime.informer import Change
from orch.runtime.reconcile import Key
from orch.selectors import Selector
from orch_controllers.context import Context
from orch_controllers.expectations import Written
from orch_controllers.ownership import Claims, claimable, index_by_controller, owner_keys
from orch_controllers.revision_history.revisions import choose, keeps, ordered, revision_of

log = logging.getLogger(__name__)

_TRIES: Final = 16
"""Collisions in a row after which something else must be wrong."""


class RevisionHistory:
    """Revisions of the objects of `kind`; their hash is in the label `hash_label`."""

    def __init__(self, context: Context, kind: Kind[Any], hash_label: str) -> None:
        self._client = context.client
        self._kind = kind
        self._hash_label = hash_label
        self._revisions = context.informers.of(CONTROLLER_REVISIONS)
        index_by_controller(context.informers, CONTROLLER_REVISIONS)
        self._written = Written(self._revisions)

    def keys_of_revision(self, change: Change[ControllerRevision]) -> Iterable[Key]:
        """Return the owner of a revision that came or went by other hands."""
        return owner_keys(change, self._kind)

    def shown(self, key: Key) -> bool:
        """Return whether the informer has shown all that was written for a key."""
        return self._written.shown(key)

    def forget(self, key: Key) -> None:
        """Drop what is known of a key that is gone."""
        self._written.forget(key)

    async def of(self, owner: Object, selector: Selector) -> list[ControllerRevision]:
        """Return the owner's revisions, oldest state first, after adopting and releasing."""
        meta = owner.metadata
        claims = Claims(self._client, CONTROLLER_REVISIONS, self._kind, owner, selector)
        return ordered(await claims.claim(claimable(self._revisions, meta.namespace, meta.uid)))

    async def current(
        self, key: Key, owner: Object, template: PodTemplate, revisions: list[ControllerRevision], collisions: int
    ) -> tuple[ControllerRevision, int]:
        """Return the revision of the owner's template, made or renumbered if need be, and the number of collisions.

        `revisions` is brought up to date.
        """
        choice = choose(revisions, template)
        found = choice.revision
        if found is not None and choice.is_settled:
            return found, collisions
        if found is not None:
            meta = found.metadata
            patch = {
                "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                "revision": choice.number,
            }
            made = await self._client.patch(CONTROLLER_REVISIONS, meta.namespace, meta.name, patch)
            revisions.remove(found)
        else:
            made, collisions = await self._create(owner, template, choice.number, collisions)
        self._written.note(key, made)
        revisions.append(made)
        return made, collisions

    async def _create(
        self, owner: Object, template: PodTemplate, number: int, collisions: int
    ) -> tuple[ControllerRevision, int]:
        namespace = owner.metadata.namespace
        for more in range(_TRIES):
            count = collisions + more
            body = revision_of(self._kind, owner.metadata, template, number, count, self._hash_label)
            try:
                return await self._client.create(CONTROLLER_REVISIONS, namespace, body), count
            except AlreadyExistsError:
                found = await self._find(namespace, body["metadata"]["name"])
                if found is not None and self._is_own(found, owner, template):
                    return found, count
        raise InternalError(f"no free name for a revision of {self._kind.name} {namespace}/{owner.metadata.name}")

    async def _find(self, namespace: str, name: str) -> ControllerRevision | None:
        try:
            return await self._client.get(CONTROLLER_REVISIONS, namespace, name)
        except NotFoundError:
            return None

    def _is_own(self, found: ControllerRevision, owner: Object, template: PodTemplate) -> bool:
        controller = found.metadata.controller
        ours = controller is not None and controller.uid == owner.metadata.uid
        return ours and not found.metadata.deletion_timestamp and keeps(found, template)

    async def clear(self, revisions: Iterable[ControllerRevision]) -> None:
        """Delete revisions."""
        await asyncio.gather(*(self._delete(each) for each in revisions))

    async def _delete(self, revision: ControllerRevision) -> None:
        meta = revision.metadata
        try:
            await self._client.delete(CONTROLLER_REVISIONS, meta.namespace, meta.name, uid=meta.uid)
        except NotFoundError:
            log.debug("revision %s/%s was gone already", meta.namespace, meta.name)
