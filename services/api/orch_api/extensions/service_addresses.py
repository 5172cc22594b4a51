"""Where a service can be dialled from the api's own process, which is not in the pods' network.

A name (ExternalName) is resolved by the machine. Else the endpoints are dialled themselves, without a cluster address:
those that carry an address of this machine's loopback, which node-local services have, come first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from orch.errors import ServiceUnavailableError
from orch.store.keys import ObjectKey
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import Document, section

_SERVICE_LABEL: Final = "kubernetes.io/service-name"
_LOOPBACK: Final = "127."

Address = tuple[str, int]


class ServiceAddresses:
    """Finds addresses of services by what the cache holds of them."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    async def find(self, namespace: str, name: str, port: int) -> Address:
        """Return a host and a port behind a service's port. Raises ServiceUnavailableError when there is none."""
        await self._cache.catch_up()
        item = self._cache.get(ObjectKey("", "services", namespace, name))
        if item is None:
            raise ServiceUnavailableError(f'service "{name}" not found')
        spec = section(to_document(item.json), "spec")
        if spec.get("type") == "ExternalName":
            return spec.get("externalName") or "", port
        declared = next((one for one in spec.get("ports") or () if one.get("port") == port), None)
        if declared is None:
            raise ServiceUnavailableError(f'no service port {port} found for service "{name}"')
        address: str = spec.get("clusterIP") or ""
        if address.startswith(_LOOPBACK):
            return address, port
        candidates = list(self._endpoints(namespace, name, declared.get("name") or ""))
        if not candidates:
            raise ServiceUnavailableError(f'no endpoints available for service "{name}"')
        local = [one for one in candidates if one[0].startswith(_LOOPBACK)]
        return random.choice(local or candidates)  # noqa: S311 - spreads load, guards nothing

    def _endpoints(self, namespace: str, name: str, port: str) -> Iterator[Address]:
        for item in self._cache.select("discovery.k8s.io", "endpointslices", namespace):
            if item.labels.get(_SERVICE_LABEL) == name:
                yield from _of_slice(to_document(item.json), port)
        endpoints = self._cache.get(ObjectKey("", "endpoints", namespace, name))
        for subset in _list(None if endpoints is None else to_document(endpoints.json), "subsets"):
            for number in _numbers(subset, port):
                yield from ((one.get("ip") or "", number) for one in _list(subset, "addresses"))


def _of_slice(document: Document, port: str) -> Iterator[Address]:
    for endpoint in _list(document, "endpoints"):
        if section(endpoint, "conditions").get("ready") is False:
            continue
        for number in _numbers(document, port):
            yield from ((one, number) for one in endpoint.get("addresses") or ())


def _numbers(document: Document, port: str) -> Iterator[int]:
    for one in _list(document, "ports"):
        if (one.get("name") or "") == port and one.get("port"):
            yield one["port"]


def _list(document: Document | None, name: str) -> list[Any]:
    return (document or {}).get(name) or []
