"""Writes the slices of each service that has a selector. The garbage collector removes those of one that is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orch.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from orch.objects.cluster import Node
from orch.objects.discovery import HEADLESS_LABEL, MANAGED_BY, SERVICE_NAME, TRIGGER_TIME, EndpointSlice
from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch.objects.scheme import ENDPOINT_SLICES, NODES, PODS, SERVICES
from orch.runtime.events import reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.endpoint_slices.backends import ZONE, endpoints_of, families_of
from orch_controllers.endpoint_slices.packing import plan
from orch_controllers.endpoint_slices.writing import BY_SERVICE, SliceWriter, Target, managed_by
from orch_controllers.node_lifecycle.reconciler import BY_NODE
from orch_controllers.pacing import Pacing
from orch_controllers.pod_state import node_of
from orch_controllers.service_pods import EXTERNAL_NAME, Selections
from orch_controllers.trigger_times import TriggerTimes

MANAGER: Final = "endpointslice-controller.k8s.io"
MOST: Final = 100
"""Endpoints that a slice holds (kube-controller-manager's --max-endpoints-per-slice)."""

_SHORTEST_PAUSE: Final = 0.1
_PAUSE_A_POD: Final = 0.0005
_RESERVED: Final = frozenset({HEADLESS_LABEL, MANAGED_BY, SERVICE_NAME})


class EndpointSliceReconciler:
    """Reconciles services."""

    def __init__(self, context: Context, selections: Selections) -> None:
        self._recorder = context.recorders.of("endpoint-slice-controller")
        self._services = context.informers.of(SERVICES)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, BY_NODE, node_of)
        self._nodes = context.informers.of(NODES)
        self._slices = context.informers.of(ENDPOINT_SLICES)
        self._selections = selections
        self._pacing = Pacing(self._slices, context.clock)
        self._writer = SliceWriter(context.client, self._pacing)
        self._times = TriggerTimes()

    def keys_of_slice(self, change: Change[EndpointSlice]) -> Iterable[Key]:
        """Return the service of a slice that this controller manages, or did, unless the change is its own."""
        keys: dict[Key, None] = {}
        for item in (change.old, change.new):
            if item is not None and item.labels.get(MANAGED_BY) == MANAGER:
                keys[Key(item.namespace, item.labels.get(SERVICE_NAME, ""))] = None
        new = change.new
        return [key for key in keys if new is None or not self._pacing.is_own(key, new.revision)]

    def keys_of_node(self, change: Change[Node]) -> Iterable[Key]:
        """Return the services with pods on a node that comes, goes, or moves to another zone."""
        old, new = change.old, change.new
        if old is not None and new is not None and old.labels.get(ZONE) == new.labels.get(ZONE):
            return ()
        pods = self._pods.indexed(BY_NODE, change.item.name)
        return {key for item in pods for key in self._selections.services_of(item)}

    async def reconcile(self, key: Key) -> Result:
        """Bring one service's slices to what its pods are."""
        item = self._services.get(key.namespace, key.name)
        if item is None:
            self._pacing.forget(key)
            self._times.forget(key)
            return DONE
        service = item.object
        if service.spec.type == EXTERNAL_NAME or not service.spec.selector or service.metadata.deletion_timestamp:
            return DONE
        if (wait := self._pacing.wait(key)) > 0:
            return Result(wait)
        try:
            await self._sync(key, service, self._selections.pods_of(key))
        except (ConflictError, AlreadyExistsError, NotFoundError):
            raise  # a stale copy; the next try sees the newer one
        except ApiError as error:
            message = f"Error updating Endpoint Slices for Service {key.namespace}/{key.name}: {error}"
            self._recorder.event(reference(SERVICES, service), "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        return DONE

    async def _sync(self, key: Key, service: Service, pods: list[Pod]) -> None:
        slices = [item.object for item in self._slices.indexed(BY_SERVICE, managed_by(MANAGER, key))]
        labels = labels_of(service)
        families = families_of(service)
        moment = self._times.changed(key, service, pods)
        annotations = {TRIGGER_TIME: moment} if moment else {}
        pause = max(_SHORTEST_PAUSE, len(pods) * _PAUSE_A_POD)
        for family in families:
            existing = [each for each in slices if each.address_type == family]
            desired = endpoints_of(service, pods, family, self._zone_of)
            target = Target(key, SERVICES, service, family, labels, annotations, pause)
            await self._writer.carry_out(plan(existing, desired, labels, MOST), target)
        for slice_ in slices:
            if slice_.address_type not in families:
                await self._writer.delete(slice_)

    def _zone_of(self, name: str) -> str | None:
        node = self._nodes.get("", name)
        return None if node is None else node.labels.get(ZONE, "")


def labels_of(service: Service) -> dict[str, str]:
    """Return what a service's slices are labelled with: its own labels, and whose they are."""
    labels = {name: value for name, value in service.metadata.labels.items() if name not in _RESERVED}
    if service.headless:
        labels[HEADLESS_LABEL] = ""
    return {**labels, MANAGED_BY: MANAGER, SERVICE_NAME: service.metadata.name}
