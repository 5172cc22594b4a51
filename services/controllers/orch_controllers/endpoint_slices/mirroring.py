"""Mirrors Endpoints that people write for services without a selector into slices.

The rules are k8s.io/kubernetes pkg/controller/endpointslicemirroring's.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from orch.objects.discovery import (
    MANAGED_BY,
    SERVICE_NAME,
    SKIP_MIRROR,
    TRIGGER_TIME,
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
)
from orch.objects.networking import Service
from orch.objects.scheme import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.endpoint_slices.packing import Ports, plan
from orch_controllers.endpoint_slices.writing import BY_SERVICE, SliceWriter, Target, managed_by
from orch_controllers.pacing import Pacing

MANAGER: Final = "endpointslicemirroring-controller.k8s.io"
MOST: Final = 1000
"""Addresses of a subset that are mirrored; those beyond are left out."""

_LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_UNMIRRORED: Final = frozenset({_LAST_APPLIED, TRIGGER_TIME})
_PAUSE: Final = 0.1


class MirroringReconciler:
    """Reconciles Endpoints."""

    def __init__(self, context: Context) -> None:
        self._services = context.informers.of(SERVICES)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._slices = context.informers.of(ENDPOINT_SLICES)
        self._pacing = Pacing(self._slices, context.clock)
        self._writer = SliceWriter(context.client, self._pacing)

    def keys_of_slice(self, change: Change[EndpointSlice]) -> Iterable[Key]:
        """Return the Endpoints of a slice that this controller manages, unless the change is its own."""
        item = change.item
        if item.labels.get(MANAGED_BY) != MANAGER:
            return ()
        key = Key(item.namespace, item.labels.get(SERVICE_NAME, ""))
        if change.new is not None and self._pacing.is_own(key, change.new.revision):
            return ()
        return (key,)

    def keys_of_service(self, change: Change[Service]) -> Iterable[Key]:
        """Return the Endpoints of a service that has no selector, or had one until now."""
        if all(item is None or item.object.spec.selector for item in (change.old, change.new)):
            return ()
        return (Key(change.item.namespace, change.item.name),)

    async def reconcile(self, key: Key) -> Result:
        """Bring the mirrored slices to what the Endpoints say; without Endpoints there are none."""
        known = self._endpoints.get(key.namespace, key.name)
        slices = [item.object for item in self._slices.indexed(BY_SERVICE, managed_by(MANAGER, key))]
        if known is None or not self._is_mirrored(key, known.object):
            for slice_ in slices:
                await self._writer.delete(slice_)
            self._pacing.forget(key)
            return DONE
        if (wait := self._pacing.wait(key)) > 0:
            return Result(wait)
        endpoints = known.object
        labels = {**endpoints.metadata.labels, SERVICE_NAME: key.name, MANAGED_BY: MANAGER}
        annotations = {k: v for k, v in endpoints.metadata.annotations.items() if k not in _UNMIRRORED}
        for family in ("IPv4", "IPv6"):
            existing = [each for each in slices if each.address_type == family]
            desired = mirrored(endpoints, family)
            if not desired and not existing:
                continue
            target = Target(key, ENDPOINTS, endpoints, family, labels, annotations, _PAUSE)
            if desired:
                await self._writer.carry_out(plan(existing, desired, labels, MOST), target)
                continue
            for slice_ in existing:
                await self._writer.delete(slice_)
        return DONE

    def _is_mirrored(self, key: Key, endpoints: Endpoints) -> bool:
        service = self._services.get(key.namespace, key.name)
        if service is None or service.object.spec.selector:
            return False
        meta = endpoints.metadata
        return meta.labels.get(SKIP_MIRROR) != "true" and _LEADER not in meta.annotations


def mirrored(endpoints: Endpoints, family: str) -> dict[Ports, list[Endpoint]]:
    """Return the addresses of a family as endpoints, by their ports."""
    found: dict[Ports, list[Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(name=port.name or "", protocol=port.protocol, port=port.port, app_protocol=port.app_protocol)
            for port in subset.ports
        )
        all_ = [(address, True) for address in subset.addresses]
        all_ += [(address, False) for address in subset.not_ready_addresses]
        chosen = [_endpoint(address, ready=ready) for address, ready in all_ if _is_of(address, family)][:MOST]
        if chosen:
            found.setdefault(ports, []).extend(chosen)
    return found


def _is_of(address: EndpointAddress, family: str) -> bool:
    return ip_address(address.ip).version == (6 if family == "IPv6" else 4)


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )
