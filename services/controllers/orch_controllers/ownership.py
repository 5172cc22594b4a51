"""Which objects a controller owns: adopting those that match its selector, releasing those that no longer do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

from orch.errors import ConflictError, NotFoundError
from orch.objects.meta import Object, ObjectMeta, OwnerReference
from orch.objects.scheme import Kind, ObjectT
from orch.runtime.client import Client
from orch.selectors import Selector


def controller_reference(kind: Kind[Any], meta: ObjectMeta) -> dict[str, Any]:
    """Return the owner reference that makes an object of `kind` the controller of another."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


class Claims(Generic[ObjectT]):
    """Claims objects of one kind for one owner (k8s.io/kubernetes pkg/controller ControllerRefManager)."""

    def __init__(
        self, client: Client, owned: Kind[ObjectT], owner_kind: Kind[Any], owner: Object, selector: Selector
    ) -> None:
        self._client = client
        self._owned = owned
        self._owner_kind = owner_kind
        self._owner = owner.metadata
        self._selector = selector

    async def claim(self, candidates: Iterable[ObjectT]) -> list[ObjectT]:
        """Return what the owner owns after adopting and releasing among the candidates."""
        claimed: list[ObjectT] = []
        for candidate in candidates:
            meta = candidate.metadata
            controller = meta.controller
            matches = self._selector.matches(meta.labels)
            if controller is not None:
                if controller.uid != self._owner.uid:
                    continue
                if matches or self._owner.deletion_timestamp:
                    claimed.append(candidate)
                else:
                    await self._release(candidate)
            elif matches and not self._owner.deletion_timestamp and not meta.deletion_timestamp:
                adopted = await self._adopt(candidate)
                if adopted is not None:
                    claimed.append(adopted)
        return claimed

    async def _adopt(self, candidate: ObjectT) -> ObjectT | None:
        """Become the controller; None when the object is gone or changed, which its next event will bring up."""
        meta = candidate.metadata
        references = [plain_reference(reference) for reference in meta.owner_references]
        references.append(controller_reference(self._owner_kind, self._owner))
        return await self._patch_owners(meta, references)

    async def _release(self, candidate: ObjectT) -> None:
        meta = candidate.metadata
        references = [plain_reference(each) for each in meta.owner_references if each.uid != self._owner.uid]
        await self._patch_owners(meta, references)

    async def _patch_owners(self, meta: ObjectMeta, references: list[dict[str, Any]]) -> ObjectT | None:
        patch = {
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "ownerReferences": references or None,
            }
        }
        try:
            return await self._client.patch(self._owned, meta.namespace, meta.name, patch)
        except (ConflictError, NotFoundError):
            return None


def plain_reference(reference: OwnerReference) -> dict[str, Any]:
    """Return an owner reference as it is written in JSON."""
    plain: dict[str, Any] = {
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
    }
    if reference.controller:
        plain["controller"] = True
    if reference.block_owner_deletion:
        plain["blockOwnerDeletion"] = True
    return plain
