"""Gives a service its load balancer's address and says so in its status (k8s.io/cloud-provider service controller).

The address is all there is of a load balancer here: nodes take what is sent to it as they take what is sent to the
service's own address.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from orch.errors import NotFoundError
from orch.objects.networking import Service
from orch.objects.scheme import SERVICES
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.pacing import Pacing
from orch_controllers.service_load_balancers.pool import Pool

log = logging.getLogger(__name__)

FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
BY_ADDRESS: Final = "load-balancer/address"

_LOAD_BALANCER: Final = "LoadBalancer"
_AGAIN: Final = 10.0
"""Seconds after which a service is looked at again that could not be given an address."""


class LoadBalancerReconciler:
    """Reconciles services, one at a time: so no address is given twice."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("service-controller")
        self._services = context.informers.of(SERVICES)
        context.informers.index(SERVICES, BY_ADDRESS, _addresses)
        self._pool = Pool(context.config.load_balancer_ranges)
        self._class = context.config.load_balancer_class
        self._given: dict[str, Key] = {}
        self._pacing = Pacing(self._services, context.clock)

    def keys_of_service(self, change: Change[Service]) -> Iterable[Key]:
        """Return the service when it has to do with load balancers."""
        for item in (change.old, change.new):
            if item is not None and (item.object.spec.type == _LOAD_BALANCER or _is_marked(item.object)):
                return (Key(item.namespace, item.name),)
        return ()

    async def reconcile(self, key: Key) -> Result:
        """Ensure one service's load balancer, or take it away."""
        item = self._services.get(key.namespace, key.name)
        if item is None:
            self._release(key)
            self._pacing.forget(key)
            return DONE
        if (wait := self._pacing.wait(key)) > 0:
            return Result(wait)
        service = item.object
        if service.metadata.deletion_timestamp or not self._is_wanted(service):
            if _is_marked(service):
                await self._clean_up(key, service)
            return DONE
        held = [each.ip for each in service.status.load_balancer.ingress]
        if _is_marked(service) and held and self._suits(service, held):
            self._given.pop(held[0], None)
            return DONE
        return await self._ensure(key, service)

    def _is_wanted(self, service: Service) -> bool:
        spec = service.spec
        return spec.type == _LOAD_BALANCER and spec.load_balancer_class in {None, self._class} and bool(self._pool)

    def _suits(self, service: Service, held: list[str]) -> bool:
        asked = service.spec.load_balancer_ip
        return held == [asked] if asked else len(held) == 1 and held[0] in self._pool

    async def _ensure(self, key: Key, service: Service) -> Result:
        self._tell(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        address, problem = self._choose(key, service)
        if problem:
            message = f"Error syncing load balancer: failed to ensure load balancer: {problem}"
            self._tell(service, "Warning", "SyncLoadBalancerFailed", message)
            return Result(_AGAIN)
        self._given[address] = key
        try:
            if not _is_marked(service):
                finalizers = [*service.metadata.finalizers, FINALIZER]
                service = await self._patch(service, {"metadata": {"finalizers": finalizers}})
            ingress = [{"ip": address, "ipMode": "VIP"}]
            await self._patch(service, {"status": {"loadBalancer": {"ingress": ingress}}}, subresource="status")
        except NotFoundError:
            self._release(key)
            return DONE
        self._tell(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return DONE

    def _choose(self, key: Key, service: Service) -> tuple[str, str]:
        """Return an address, or why there is none."""
        mine = next((address for address, owner in self._given.items() if owner == key), "")
        asked = service.spec.load_balancer_ip
        if asked:
            if asked not in self._pool:
                return "", f"requested address {asked} is not in the range of load balancers ({self._pool})"
            if self._is_taken(asked, key):
                return "", f"requested address {asked} is already allocated"
            self._release(key)
            return asked, ""
        if mine:
            return mine, ""
        kept = [each.ip for each in service.status.load_balancer.ingress if each.ip in self._pool]
        if kept and not self._is_taken(kept[0], key):
            return kept[0], ""
        address = self._pool.pick(lambda candidate: self._is_taken(candidate, key))
        return address, "" if address else f"all addresses of load balancers ({self._pool}) are allocated"

    def _is_taken(self, address: str, by_others_than: Key) -> bool:
        holders = {Key(item.namespace, item.name) for item in self._services.indexed(BY_ADDRESS, address)}
        if (given := self._given.get(address)) is not None:
            holders.add(given)
        return bool(holders - {by_others_than})

    async def _clean_up(self, key: Key, service: Service) -> None:
        self._tell(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        finalizers = [each for each in service.metadata.finalizers if each != FINALIZER]
        try:
            if service.status.load_balancer.ingress and not service.metadata.deletion_timestamp:
                status = {"status": {"loadBalancer": {"ingress": None}}}
                service = await self._patch(service, status, subresource="status")
            await self._patch(service, {"metadata": {"finalizers": finalizers or None}})
        except NotFoundError:
            log.debug("service %s was gone already", key)
        self._release(key)
        self._tell(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")

    def _release(self, key: Key) -> None:
        for address in [address for address, owner in self._given.items() if owner == key]:
            del self._given[address]

    def _tell(self, service: Service, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(SERVICES, service), kind, reason, message)

    async def _patch(self, service: Service, patch: dict[str, Any], *, subresource: str = "") -> Service:
        meta = service.metadata
        version = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        whole = {**patch, "metadata": {**version, **patch.get("metadata", {})}}
        patched = await self._client.patch(SERVICES, meta.namespace, meta.name, whole, subresource=subresource)
        self._pacing.wrote(Key(meta.namespace, meta.name), patched.metadata.resource_version)
        return patched


def _is_marked(service: Service) -> bool:
    return FINALIZER in service.metadata.finalizers


def _addresses(item: Item[Service]) -> tuple[str, ...]:
    return tuple(each.ip for each in item.object.status.load_balancer.ingress)
