"""What exists in every cluster from its first start on: namespaces, the api's own Service, groups, levels, roles.

And what the api announces of itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import AlreadyExistsError, OrchError
from orch.store.keys import ObjectKey
from orch_api.addresses.holders import GROUP as NETWORKING
from orch_api.addresses.ranges import ServiceRanges
from orch_api.addresses.setting import default_cidr
from orch_api.admission.namespaces import SYSTEM_NAMESPACES
from orch_api.announcements import Announcements
from orch_api.auth.identity import APISERVER
from orch_api.config import ApiConfig
from orch_api.default_roles import DefaultRoles
from orch_api.extensions.registrations import built_in
from orch_api.kinds import flow_objects
from orch_api.kinds.api_services import GROUP as APISERVICES
from orch_api.kinds.flow_control import GROUP as FLOW_CONTROL
from orch_api.kinds.pod_defaults import SYSTEM_PRIORITIES
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_json
from orch_api.strategy import Document

log = logging.getLogger(__name__)

FAILURES: Final = Counter("orch_system_objects_failures", "Times that the system's objects could not be looked after")

_HTTPS: Final = 443
_PERIOD: Final = 60.0


class SystemObjects:
    """Keeps the objects that are there in every cluster: at the start, and again when somebody deletes one."""

    def __init__(
        self,
        pipeline: Pipeline,
        cache: ObjectCache,
        registry: Registry,
        ranges: ServiceRanges,
        config: ApiConfig,
        clock: Clock,
    ) -> None:
        self._parts = (pipeline, cache, registry, ranges, config.port)
        self._announcements = Announcements(pipeline, cache, registry, config, clock)
        self._roles = DefaultRoles(pipeline, cache, registry)
        self._clock = clock

    async def create(self) -> None:
        """Create what is missing. Raises ApiError or UnavailableError; it may be called again."""
        await create_system_objects(*self._parts)
        await self._roles.create()
        await self._announcements.keep()

    async def begin(self) -> None:
        """Create what is missing, and mend what is not as it should be. Raises as `create`."""
        await create_system_objects(*self._parts)
        await self._roles.begin()
        await self._announcements.keep()

    async def run(self) -> None:
        """Create what has gone missing, once a minute and for ever."""
        while True:
            await self._clock.sleep(_PERIOD)
            try:
                await self.create()
            except OrchError as error:
                FAILURES.inc()
                log.warning("the system's objects could not be looked after: %s", error)


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
    local = (create(APISERVICES, "apiservices", "", one) for one in built_in(registry.built_in))
    levels = (create(FLOW_CONTROL, "prioritylevelconfigurations", "", one) for one in flow_objects.PRIORITY_LEVELS)
    schemas = (create(FLOW_CONTROL, "flowschemas", "", one) for one in flow_objects.FLOW_SCHEMAS)
    await asyncio.gather(*local, *levels, *schemas)  # so that they share a commit


def _service(address: str, port: int) -> Document:
    return {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": address,
            "ports": [{"name": "https", "port": _HTTPS, "protocol": "TCP", "targetPort": port}],
        },
    }
