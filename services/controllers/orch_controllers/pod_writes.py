"""Creating and deleting pods so that nothing is done twice, whatever becomes of the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from orch.errors import NotFoundError, OrchError
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch.runtime.reconcile import Key
from orch_controllers.expectations import UNANSWERED, Expectations

log = logging.getLogger(__name__)


class PodWrites:
    """A controller's writes of pods. Each is expected to be seen before its key is decided on again."""

    def __init__(self, client: Client, expectations: Expectations) -> None:
        self._client = client
        self._expectations = expectations

    async def create(self, key: Key, body: Mapping[str, Any]) -> Pod:
        """Create a pod; its name is in the body. Raises what the client raises, AlreadyExistsError among it."""
        try:
            pod = await self._client.create(PODS, key.namespace, body)
        except (*UNANSWERED, asyncio.CancelledError):
            self._expectations.doubt(key, body["metadata"]["name"])
            raise
        self._expectations.created(key, pod)
        return pod

    async def delete(self, key: Key, pod: Pod) -> bool:
        """Delete a pod; return whether it was there. Raises what the client raises."""
        meta = pod.metadata
        self._expectations.leaves(key, pod)
        try:
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid)
        except NotFoundError:
            log.debug("pod %s/%s was gone already", meta.namespace, meta.name)
            return False
        except (*UNANSWERED, asyncio.CancelledError):
            self._expectations.doubt(key, meta.name)
            raise
        except OrchError:
            self._expectations.stays(key, pod)
            raise
        return True
