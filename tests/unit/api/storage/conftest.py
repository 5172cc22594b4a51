"""A store in memory with a cache over it."""

import asyncio
from typing import Any

import pytest

from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.memory import MemoryStore
from orch.store.protocol import Write, version_of
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import encode


class Objects:
    """Writes objects to a store behind the api's back."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    @staticmethod
    def key(name: str, namespace: str = "default", resource: str = "configmaps", group: str = "") -> ObjectKey:
        return ObjectKey(group, resource, namespace, name)

    async def put(self, name: str, namespace: str = "default", resource: str = "configmaps", **document: Any) -> int:
        labels = document.pop("labels", {})
        kind = {"configmaps": "ConfigMap", "pods": "Pod", "secrets": "Secret"}.get(resource, "Thing")
        metadata = {"name": name, "namespace": namespace, "uid": document.pop("uid", f"uid-{name}"), "labels": labels}
        value = encode({"kind": kind, "apiVersion": "v1", "metadata": metadata, **document}).value
        written = await self.store.write(Write(keys.object_key(self.key(name, namespace, resource)), value, None))
        return version_of(written.revision, written.index)

    async def remove(self, name: str, namespace: str = "default", resource: str = "configmaps") -> int:
        written = await self.store.write(Write(keys.object_key(self.key(name, namespace, resource)), None, None))
        return version_of(written.revision, written.index)


@pytest.fixture
async def store():
    made = MemoryStore()
    yield made
    await made.close()


@pytest.fixture
def objects(store):
    return Objects(store)


@pytest.fixture
async def cache(store, clock):
    made = ObjectCache(store, clock)
    running = asyncio.create_task(made.run())
    await made.wait_ready(5)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def make_objects():
    return Objects
