"""How many pods there shall be, as the controllers of those that there are say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from orch.errors import NotFoundError, TerminalError
from orch.objects.autoscaling import Scale
from orch.objects.meta import Object, OwnerReference
from orch.objects.pods import Pod
from orch.objects.scheme import DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS, Kind
from orch.runtime.informer import Informer
from orch_controllers.context import Context

_OWN: Final[tuple[Kind[Any], ...]] = (REPLICATION_CONTROLLERS, REPLICA_SETS, STATEFUL_SETS)


class Expected(msgspec.Struct, frozen=True):
    """How many pods there shall be, and whether there are pods that no controller counts."""

    pods: int
    unmanaged: bool


class Scales:
    """Asks controllers for their scale: those that orch has by their informers, others by the scale subresource."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._kinds = context.kinds
        self._informers = _informers(context, _OWN)
        self._deployments = context.informers.of(DEPLOYMENTS)

    async def of(self, pods: Sequence[Pod]) -> Expected:
        """Return what the controllers of the pods expect together. Raises TerminalError for one without a scale."""
        scales: dict[str, int] = {}
        found: set[str] = set()
        unmanaged = False
        for pod in pods:
            controller = pod.metadata.controller
            if controller is None:
                unmanaged = True
                continue
            if controller.uid in found:
                continue
            found.add(controller.uid)
            scale = await self._scale(pod.metadata.namespace, controller)
            if scale is None:
                raise TerminalError(f'found no controllers for pod "{pod.metadata.name}"')
            scales[scale[0]] = scale[1]
        return Expected(sum(scales.values()), unmanaged)

    async def _scale(self, namespace: str, owner: OwnerReference) -> tuple[str, int] | None:
        """Return the uid and the scale of a controller: of a replica set's deployment, if it has one."""
        group = owner.api_version.rpartition("/")[0]
        informer = self._informers.get((group, owner.kind))
        if informer is None:
            return await self._asked(namespace, owner, group)
        item = informer.get(namespace, owner.name)
        if item is None or item.uid != owner.uid:
            return None
        above = item.object.metadata.controller
        if owner.kind == REPLICA_SETS.name and above is not None and above.kind == DEPLOYMENTS.name:
            deployment = self._deployments.get(namespace, above.name)
            if deployment is None or deployment.uid != above.uid:
                return None
            return deployment.uid, _replicas(deployment.object.spec.replicas)
        return item.uid, _replicas(item.object.spec.replicas)

    async def _asked(self, namespace: str, owner: OwnerReference, group: str) -> tuple[str, int] | None:
        """Return what the scale subresource of a controller says. Raises TerminalError when it has none."""
        kind = next((each for each in self._kinds.known if (each.group, each.name) == (group, owner.kind)), None)
        if kind is None:
            return None
        view: Kind[Any] = kind.with_view(Scale)
        try:
            scale: Scale = await self._client.get(view, namespace, owner.name, subresource="scale")
        except NotFoundError as error:
            if await self._exists(kind, namespace, owner):
                raise TerminalError(f"{kind.qualified} does not implement the scale subresource") from error
            return None
        return (owner.uid, scale.spec.replicas) if scale.metadata.uid == owner.uid else None

    async def _exists(self, kind: Kind[Any], namespace: str, owner: OwnerReference) -> bool:
        try:
            found = await self._client.get(kind.with_view(Object), namespace, owner.name)
        except NotFoundError:
            return False
        return found.metadata.uid == owner.uid


def _replicas(asked: int | None) -> int:
    return 1 if asked is None else asked


def _informers(context: Context, kinds: Sequence[Kind[Any]]) -> dict[tuple[str, str], Informer[Any]]:
    return {(kind.group, kind.name): context.informers.of(kind) for kind in kinds}
