"""Carries out a plan of slices: creates, updates and deletes them for their owner."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from orch.errors import ApiError, NotFoundError
from orch.objects.discovery import MANAGED_BY, SERVICE_NAME, TRIGGER_TIME, EndpointSlice
from orch.objects.meta import Object
from orch.objects.scheme import ENDPOINT_SLICES, Kind
from orch.runtime.client import Client
from orch.runtime.informer import Informers, Item
from orch.runtime.reconcile import Key
from orch_controllers.documents import controller_reference, is_namespace_terminating
from orch_controllers.endpoint_slices.packing import Draft, Plan
from orch_controllers.fanout import for_each
from orch_controllers.pacing import Pacing
from orch_controllers.service_pods import prefix_of

log = logging.getLogger(__name__)

BY_SERVICE: Final = "endpoint-slices/service"


class Target(msgspec.Struct, frozen=True):
    """Whose slices are written: the owner, and what all of them carry."""

    key: Key
    kind: Kind[Any]
    owner: Object
    address_type: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    pause: float
    """Seconds that lie between two rounds of writes, at the least."""


class SliceWriter:
    """Writes slices and remembers what it wrote."""

    def __init__(self, client: Client, pacing: Pacing) -> None:
        self._client = client
        self._pacing = pacing

    async def carry_out(self, plan: Plan, target: Target) -> None:
        """Write and delete. What fails first is raised once all was tried."""

        async def write(draft: Draft) -> None:
            await self._write(draft, target)

        async def delete(slice_: EndpointSlice) -> None:
            await self.delete(slice_)

        await for_each(plan.write, write)
        await for_each(plan.delete, delete)

    async def delete(self, slice_: EndpointSlice) -> None:
        """Delete a slice; one that is gone is no error."""
        meta = slice_.metadata
        try:
            await self._client.delete(ENDPOINT_SLICES, meta.namespace, meta.name, uid=meta.uid)
        except NotFoundError:
            log.debug("slice %s/%s was gone already", meta.namespace, meta.name)

    async def _write(self, draft: Draft, target: Target) -> None:
        namespace, body = target.key.namespace, _document(draft, target)
        try:
            if draft.current is None:
                written = await self._client.create(ENDPOINT_SLICES, namespace, body)
            else:
                name = draft.current.metadata.name
                written = await self._client.update(ENDPOINT_SLICES, namespace, name, body)
        except ApiError as error:
            if draft.current is None and is_namespace_terminating(error):
                return
            raise
        self._pacing.wrote(target.key, written.metadata.resource_version, target.pause)


def _document(draft: Draft, target: Target) -> dict[str, Any]:
    annotations = dict(target.annotations)
    meta: dict[str, Any] = {"namespace": target.key.namespace, "labels": target.labels}
    if draft.current is None:
        meta["generateName"] = prefix_of(target.owner.metadata)
        meta["ownerReferences"] = [controller_reference(target.kind, target.owner.metadata)]
    else:
        before = draft.current.metadata
        others = {name: value for name, value in before.annotations.items() if name != TRIGGER_TIME}
        annotations = {**others, **annotations}
        meta |= {"name": before.name, "uid": before.uid, "resourceVersion": before.resource_version}
        meta |= {"ownerReferences": before.owner_references, "finalizers": before.finalizers}
        meta |= {"generateName": before.generate_name} if before.generate_name else {}
    meta["annotations"] = annotations
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.name,
        "metadata": meta,
        "addressType": target.address_type,
        "endpoints": draft.endpoints,
        "ports": draft.ports,
    }


def managed_by(manager: str, key: Key) -> str:
    """Return under what the index has the slices that a manager keeps for a service."""
    return f"{manager}/{key.namespace}/{key.name}"


def index_slices(informers: Informers) -> None:
    """Index slices by their manager and service; both controllers of slices read that."""
    informers.index(ENDPOINT_SLICES, BY_SERVICE, _of_service)


def _of_service(item: Item[EndpointSlice]) -> tuple[str, ...]:
    service = item.labels.get(SERVICE_NAME, "")
    return (managed_by(item.labels.get(MANAGED_BY, ""), Key(item.namespace, service)),) if service else ()
