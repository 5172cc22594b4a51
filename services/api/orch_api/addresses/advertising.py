"""Says where the api itself is served: the Endpoints and the slice of the service `kubernetes` in `default`.

Each process keeps a key in the store for the address that it is reached at, with a lease; what the keys say is what
the service's endpoints become, so that an api that is gone leaves them by itself (kube-apiserver's lease reconciler).
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import AlreadyExistsError, LeaseLostError, OrchError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.protocol import Store
from orch_api.auth.identity import APISERVER
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document, to_json

log = logging.getLogger(__name__)

SERVICE: Final = "kubernetes"
NAMESPACE: Final = "default"

_FAILURES: Final = Counter("orch_api_advertise_failures", "Times that the api's own endpoints could not be written")
_TTL: Final = 15.0
_PERIOD: Final = 5.0
_PREFIX: Final = b"/orch/advertised/"
_DISCOVERY: Final = "discovery.k8s.io"


class Advertiser:
    """Keeps the endpoints of the service `kubernetes` true to which api processes there are."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        pipeline: Pipeline,
        registry: Registry,
        clock: Clock,
        address: str,
        port: int,
    ) -> None:
        self._store = store
        self._cache = cache
        self._pipeline = pipeline
        self._registry = registry
        self._clock = clock
        self._address = address
        self._port = port
        self._lease: int | None = None

    async def run(self) -> None:
        """Advertise for ever; an api that others cannot reach by any address of its own is not advertised."""
        if not self._address:
            log.info("the service %s has no endpoints: nothing but loopback leads here", SERVICE)
            return
        await self._cache.wait_ready(timeout=300)
        while True:
            try:
                await self._keep_key()
                await self.publish()
            except OrchError as error:
                _FAILURES.inc()
                log.warning("the api's own endpoints could not be written: %s", error)
            await self._clock.sleep(_PERIOD)

    async def _keep_key(self) -> None:
        """Keep this process's address in the store. Another process of the same address may hold the key."""
        if self._lease is not None:
            try:
                await self._store.lease_refresh(self._lease)
            except LeaseLostError:
                self._lease = None
        if self._lease is None:
            self._lease = await self._store.lease_grant(_TTL)
        await self._store.acquire(_PREFIX + self._address.encode(), b"", self._lease)

    async def publish(self) -> None:
        """Write what the keys say, if it is not written yet. Raises ApiError, StoreError or UnavailableError."""
        found = await self._store.range(_PREFIX, keys.prefix_end(_PREFIX))
        addresses = sorted(item.key.removeprefix(_PREFIX).decode() for item in found.items)
        await self._cache.catch_up()
        if self._cache.get(ObjectKey("", "services", NAMESPACE, SERVICE)) is None:
            return
        await self._put("", "endpoints", endpoints(addresses, self._port))
        await self._put(_DISCOVERY, "endpointslices", endpoint_slice(addresses, self._port))

    async def _put(self, group: str, plural: str, wanted: Mapping[str, Any]) -> None:
        resource = self._registry.stored(group, plural)
        current = self._cache.get(ObjectKey(group, plural, NAMESPACE, SERVICE))
        if resource is None:
            return
        if current is None:
            with contextlib.suppress(AlreadyExistsError):  # another process was faster
                await self._pipeline.create(APISERVER, resource, NAMESPACE, to_json(wanted), WriteOptions())
            return
        document = to_document(current.json)
        if any((document.get(name) or []) != wanted[name] for name in wanted.keys() - {"metadata"}):
            document.update({name: wanted[name] for name in wanted.keys() - {"metadata"}})
            body = to_json(document)
            await self._pipeline.update(APISERVER, resource, NAMESPACE, SERVICE, body, WriteOptions())


def endpoints(addresses: Sequence[str], port: int) -> dict[str, Any]:
    """Return the Endpoints of the api. They are not mirrored: the slice is written beside them."""
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    subset = {"addresses": [{"ip": address} for address in addresses], "ports": ports}
    return {
        "metadata": {"name": SERVICE, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [subset] if addresses else [],
    }


def endpoint_slice(addresses: Sequence[str], port: int) -> dict[str, Any]:
    """Return the slice of the api."""
    return {
        "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


def own_address(advertised: str, bound: str) -> str:
    """Return where others reach this process: as it is told, else where it is bound, else the host's own address.

    That is the one from which the host would speak to others, and counts only for who is bound to all addresses. ""
    when there is only loopback.
    """
    for candidate in (advertised, bound):
        if candidate and _is_reachable(candidate):
            return candidate
    if bound and not ipaddress.ip_address(bound).is_unspecified:
        return ""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # of a range for documentation; nothing is sent
        found: str = probe.getsockname()[0]
        return found if _is_reachable(found) else ""
    return ""


def _is_reachable(address: str) -> bool:
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_link_local)
