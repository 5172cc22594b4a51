"""What exists in every cluster from its first start on: namespaces, the Service of the api itself, flow control."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from orch.errors import AlreadyExistsError
from orch.store.keys import ObjectKey
from orch_api.addresses.holders import GROUP as NETWORKING
from orch_api.addresses.ranges import ServiceRanges
from orch_api.addresses.setting import default_cidr
from orch_api.admission.namespaces import SYSTEM_NAMESPACES
from orch_api.auth.identity import APISERVER
from orch_api.kinds import flow_objects
from orch_api.kinds.flow_control import GROUP as FLOW_CONTROL
from orch_api.kinds.pod_defaults import SYSTEM_PRIORITIES
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_json
from orch_api.strategy import Document

_HTTPS: Final = 443


async def create_system_objects(
    pipeline: Pipeline, cache: ObjectCache, registry: Registry, ranges: ServiceRanges, port: int
) -> None:
    """Create what is missing. Raises ApiError or UnavailableError; it may be called again.

    The cache is asked first: creating the Service again would be refused for its address, which it holds itself.
    """
    await cache.catch_up()

    async def create(group: str, plural: str, namespace: str, document: Document) -> None:
        resource = registry.stored(group, plural)
        key = ObjectKey(group, plural, namespace, document["metadata"]["name"])
        if resource is not None and cache.get(key) is None:
            with contextlib.suppress(AlreadyExistsError):  # another process was faster
                await pipeline.create(APISERVER, resource, namespace, to_json(document), WriteOptions())

    for name in SYSTEM_NAMESPACES:
        await create("", "namespaces", "", {"metadata": {"name": name}})
    await create(NETWORKING, "servicecidrs", "", default_cidr(ranges))
    await create("", "services", "default", _service(str(ranges.default[1]), port))
    for name, value in SYSTEM_PRIORITIES.items():
        await create("scheduling.k8s.io", "priorityclasses", "", {"metadata": {"name": name}, "value": value})
    levels = (create(FLOW_CONTROL, "prioritylevelconfigurations", "", one) for one in flow_objects.PRIORITY_LEVELS)
    schemas = (create(FLOW_CONTROL, "flowschemas", "", one) for one in flow_objects.FLOW_SCHEMAS)
    await asyncio.gather(*levels, *schemas)  # so that they share a commit


def _service(address: str, port: int) -> Document:
    return {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": address,
            "ports": [{"name": "https", "port": _HTTPS, "protocol": "TCP", "targetPort": port}],
        },
    }
