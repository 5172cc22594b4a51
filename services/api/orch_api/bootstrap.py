"""What exists in every cluster from its first start on: the system namespaces and the Service of the api itself."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from orch.errors import AlreadyExistsError
from orch.store.keys import ObjectKey
from orch_api.admission.namespaces import SYSTEM_NAMESPACES
from orch_api.auth.identity import APISERVER
from orch_api.kinds.services import SERVICE_RANGE
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_json

_HTTPS: Final = 443


async def create_system_objects(pipeline: Pipeline, cache: ObjectCache, registry: Registry, port: int) -> None:
    """Create what is missing. Raises ApiError or UnavailableError; it may be called again.

    The cache is asked first: creating the Service again would be refused for its address, which it holds itself.
    """
    await cache.catch_up()
    wanted = [("namespaces", "", {"metadata": {"name": name}}) for name in SYSTEM_NAMESPACES]
    for plural, namespace, document in (*wanted, ("services", "default", _service(port))):
        if cache.get(ObjectKey("", plural, namespace, document["metadata"]["name"])) is None:
            await _create(pipeline, registry, plural, namespace, document)


async def _create(
    pipeline: Pipeline, registry: Registry, plural: str, namespace: str, document: dict[str, Any]
) -> None:
    resource = registry.stored("", plural)
    if resource is None:
        return
    with contextlib.suppress(AlreadyExistsError):  # from an earlier start, or another process was faster
        await pipeline.create(APISERVER, resource, namespace, to_json(document), WriteOptions())


def _service(port: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": str(SERVICE_RANGE[1]),
            "ports": [{"name": "https", "port": _HTTPS, "protocol": "TCP", "targetPort": port}],
        },
    }
