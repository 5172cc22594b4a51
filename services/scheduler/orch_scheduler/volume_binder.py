"""Gives claims that waited for their pod a volume on the pod's node; the pod is bound when all of its claims are.

Kubernetes divides the work (k8s.io/kubernetes pkg/scheduler/framework/plugins/volumebinding PreBind): the scheduler
says in the volume whom it is for, or in the claim on which node a volume shall be made; the controllers of volumes do
the rest. What is said is assumed to be so at once, so that no volume is given away twice. Meanwhile the pod's status
names the node, for autoscalers and for the scheduler that leads next (NominatedNodeNameForExpectation).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from orch.clock import Clock
from orch.errors import OrchError, UnavailableError
from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from orch.objects.storage import ObjectReference, PersistentVolume, PersistentVolumeClaim
from orch.runtime.client import Client
from orch_scheduler.binder import Bind
from orch_scheduler.columns import Columns
from orch_scheduler.filters.volume_binding import bindings
from orch_scheduler.storage import SELECTED_NODE

log = logging.getLogger(__name__)

_LOOK: Final = 0.2
_BOUND_BY: Final = "pv.kubernetes.io/bound-by-controller"


class VolumeBinder:
    """Holds back the bindings of pods whose claims wait, and hands them on when the volumes are there.

    `seconds_of`: for how long pods of a profile wait for that (kube-scheduler's bindTimeoutSeconds).
    """

    def __init__(
        self,
        client: Client,
        columns: Columns,
        clock: Clock,
        hand_on: Callable[[Sequence[Bind], asyncio.TaskGroup], Awaitable[None]],
        failed: Callable[[Bind, OrchError], None],
        seconds_of: Callable[[str], float],
    ) -> None:
        self._client = client
        self._columns = columns
        self._clock = clock
        self._hand_on = hand_on
        self._failed = failed
        self._seconds_of = seconds_of

    def hold_back(self, binds: list[Bind], tasks: asyncio.TaskGroup) -> list[Bind]:
        """Return the bindings that need no volume first; for the others that is under way then."""
        if not any(bind.pod.demand.claims for bind in binds):
            return binds
        ready: list[Bind] = []
        for bind in binds:
            wanted = self._wanted(bind)
            if wanted:
                tasks.create_task(self._bind(bind, wanted, tasks), name="volumes")
            else:
                ready.append(bind)
        return ready

    def _wanted(self, bind: Bind) -> tuple[tuple[str, str], ...]:
        """Return the claims that wait for this pod, each with its volume, or "" where one is to be made."""
        demand = bind.pod.demand
        if not demand.claims:
            return ()
        snapshot = self._columns.snapshot()
        row = snapshot.rows.get(bind.node)
        return bindings(snapshot, demand, row) if row is not None else ()

    async def _bind(self, bind: Bind, wanted: Sequence[tuple[str, str]], tasks: asyncio.TaskGroup) -> None:
        storage, namespace = self._columns.storage, bind.pod.namespace
        taken: list[tuple[PersistentVolume | None, PersistentVolumeClaim]] = []
        for name, volume in wanted:
            claim = storage.claim(namespace, name)
            if claim is not None:
                before = storage.volumes.get(volume) if volume else None
                taken.append((before, claim))
                self._assume(bind.node, claim, before)
        try:
            await self._expect(bind)
            for volume, claim in taken:
                await self._say(bind.node, claim, volume)
            await self._wait(bind)
        except OrchError as error:
            self._take_back(taken)
            self._failed(bind, error)
            return
        await self._hand_on((bind,), tasks)

    async def _expect(self, bind: Bind) -> None:
        """Write on which node the pod is expected, since it may be a while until it is bound there.

        That is before anything else, so that it is never written of a pod that is bound. Raises OrchError.
        """
        pod = bind.pod
        if pod.nominated != bind.node:
            patch = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": bind.node}}
            await self._client.patch(PODS, pod.namespace, pod.name, patch, subresource="status")
            pod.nominated = bind.node

    def _assume(self, node: str, claim: PersistentVolumeClaim, volume: PersistentVolume | None) -> None:
        storage, metadata = self._columns.storage, claim.metadata
        if volume is not None:
            reference = ObjectReference(namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)
            spec = msgspec.structs.replace(volume.spec, claim_ref=reference)
            storage.set_volume(volume.metadata.name, msgspec.structs.replace(volume, spec=spec))
            return
        chosen = msgspec.structs.replace(metadata, annotations={**metadata.annotations, SELECTED_NODE: node})
        storage.set_claim(metadata.namespace, metadata.name, msgspec.structs.replace(claim, metadata=chosen))

    async def _say(self, node: str, claim: PersistentVolumeClaim, volume: PersistentVolume | None) -> None:
        """Write what was assumed, to the very objects that it was assumed of."""
        metadata = claim.metadata
        if volume is None:
            patch = {"metadata": {"uid": metadata.uid, "annotations": {SELECTED_NODE: node}}}
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, metadata.namespace, metadata.name, patch)
            return
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
        }
        patch = {
            "metadata": {
                "uid": volume.metadata.uid,
                "resourceVersion": volume.metadata.resource_version,
                "annotations": {_BOUND_BY: "yes"},
            },
            "spec": {"claimRef": reference},
        }
        await self._client.patch(PERSISTENT_VOLUMES, "", volume.metadata.name, patch)

    async def _wait(self, bind: Bind) -> None:
        """Return when all claims are bound. Raises UnavailableError when that takes too long."""
        storage, demand = self._columns.storage, bind.pod.demand
        seconds = self._seconds_of(bind.pod.scheduler)
        deadline = self._clock.monotonic() + seconds
        while True:
            claims = storage.claims_of(demand)
            if len(claims.bound) == len(demand.claims):
                return
            if any(storage.claim(demand.namespace, claim.name) is None for claim in demand.claims):
                raise UnavailableError(claims.problem)
            if self._clock.monotonic() >= deadline:
                raise UnavailableError(f"binding volumes: timed out after {seconds:g} s")
            await self._clock.sleep(_LOOK)

    def _take_back(self, taken: Sequence[tuple[PersistentVolume | None, PersistentVolumeClaim]]) -> None:
        """Assume no longer what did not come to be, as far as nothing newer is known."""
        storage = self._columns.storage
        for volume, claim in taken:
            metadata = claim.metadata
            if volume is not None:
                now = storage.volumes.get(volume.metadata.name)
                if now is not None and now.metadata.resource_version == volume.metadata.resource_version:
                    storage.set_volume(volume.metadata.name, volume)
                continue
            known = storage.claim(metadata.namespace, metadata.name)
            if known is not None and known.metadata.resource_version == metadata.resource_version:
                storage.set_claim(metadata.namespace, metadata.name, claim)
