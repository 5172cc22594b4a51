"""Says which ServiceCIDRs are ready, and guards their deletion (k8s.io/kubernetes pkg/controller/servicecidrs)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any, Final

from orch.clock import rfc3339
from orch.errors import NotFoundError
from orch.objects.meta import Object
from orch.objects.networking import ServiceCIDR
from orch.objects.scheme import IP_ADDRESSES, SERVICE_CIDRS
from orch.runtime.events import reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context

log = logging.getLogger(__name__)

FINALIZER: Final = "networking.k8s.io/service-cidr-finalizer"
DEFAULT: Final = "kubernetes"

_READY: Final = "Kubernetes Service CIDR is ready"
_DEFAULT_READY: Final = "Kubernetes default Service CIDR is ready"
_IN_USE: Final = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)
_GRACE: Final = 10.0
"""Seconds after its deletion in which an address of the range may still be on its way to a service."""


class ServiceCIDRReconciler:
    """Reconciles ServiceCIDRs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("service-cidr-controller")
        self._clock = context.clock
        self._cidrs = context.informers.of(SERVICE_CIDRS)
        self._addresses = context.informers.of(IP_ADDRESSES)
        self._leaving: dict[str, float] = {}

    def keys_of_address(self, change: Change[Object]) -> Iterable[Key]:
        """Return the ranges that wait for an address to be given back."""
        if change.new is not None:
            return ()
        return [Key("", item.name) for item in self._cidrs.items() if item.object.metadata.deletion_timestamp]

    async def reconcile(self, key: Key) -> Result:
        """Take the next step for one ServiceCIDR."""
        item = self._cidrs.get("", key.name)
        if item is None:
            self._leaving.pop(key.name, None)
            return DONE
        cidr = item.object
        try:
            if cidr.metadata.deletion_timestamp:
                return await self._let_go(cidr)
            if FINALIZER not in cidr.metadata.finalizers:
                cidr = await self._patch(cidr, {"metadata": {"finalizers": [*cidr.metadata.finalizers, FINALIZER]}})
            await self._say(cidr, "True", "", _DEFAULT_READY if key.name == DEFAULT else _READY)
        except NotFoundError:
            log.debug("ServiceCIDR %s was gone already", key.name)
        return DONE

    async def _let_go(self, cidr: ServiceCIDR) -> Result:
        """Take the finalizer away once no address is only in this range."""
        if FINALIZER not in cidr.metadata.finalizers:
            return DONE
        if self._is_needed(cidr):
            await self._say(cidr, "False", "Terminating", _IN_USE)
            self._recorder.event(reference(SERVICE_CIDRS, cidr), "Warning", "KubernetesServiceCIDRInUse", _IN_USE)
            return DONE
        now = self._clock.monotonic()
        left = _GRACE - (now - self._leaving.setdefault(cidr.metadata.name, now))
        if left > 0:
            return Result(left)
        kept = [each for each in cidr.metadata.finalizers if each != FINALIZER]
        await self._patch(cidr, {"metadata": {"finalizers": kept or None}})
        return DONE

    def _is_needed(self, cidr: ServiceCIDR) -> bool:
        ranges = [ip_network(each) for each in cidr.spec.cidrs]
        others = [
            ip_network(each)
            for item in self._cidrs.items()
            if item.name != cidr.metadata.name and not item.object.metadata.deletion_timestamp
            for each in item.object.spec.cidrs
        ]
        held = (ip_address(item.name) for item in self._addresses.items())
        return any(
            any(address in each for each in ranges) and not any(address in each for each in others) for address in held
        )

    async def _say(self, cidr: ServiceCIDR, status: str, reason: str, message: str) -> None:
        known = next((each for each in cidr.status.conditions if each.type == "Ready"), None)
        if known is not None and (known.status, known.message) == (status, message):
            return
        same = known is not None and known.status == status
        since = known.last_transition_time if known is not None and same else rfc3339(self._clock.now())
        condition = {"type": "Ready", "status": status, "lastTransitionTime": since, "reason": reason}
        await self._patch(cidr, {"status": {"conditions": [{**condition, "message": message}]}}, subresource="status")

    async def _patch(self, cidr: ServiceCIDR, patch: dict[str, Any], *, subresource: str = "") -> ServiceCIDR:
        meta = cidr.metadata
        version = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        whole = {**patch, "metadata": {**version, **patch.get("metadata", {})}}
        return await self._client.patch(SERVICE_CIDRS, "", meta.name, whole, subresource=subresource)
