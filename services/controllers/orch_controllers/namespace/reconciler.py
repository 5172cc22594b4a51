"""Deletes what a terminating namespace holds and takes its `kubernetes` finalizer away when nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from orch.clock import rfc3339
from orch.errors import ApiError, ConflictError, NotFoundError
from orch.objects.cluster import Namespace
from orch.objects.meta import Condition, Object
from orch.objects.scheme import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
)
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context

CONTENTS: Final[tuple[Kind[Any], ...]] = (
    DEPLOYMENTS,
    REPLICA_SETS,
    PODS,
    SERVICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    LEASES,
    EVENTS,
)
"""The namespaced kinds, owners before what they own."""

_FINALIZER: Final = "kubernetes"
_AT_A_TIME: Final = 32
_LOOK_AGAIN: Final = 0.5


class NamespaceReconciler:
    """Reconciles namespaces."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._namespaces = context.informers.of(NAMESPACES)

    async def reconcile(self, key: Key) -> Result:
        """Take the next step of a namespace's deletion."""
        item = self._namespaces.get("", key.name)
        if item is None or not item.object.metadata.deletion_timestamp:
            return DONE
        namespace = item.object
        if _FINALIZER not in namespace.spec.finalizers:
            return DONE
        left: dict[str, int] = {}
        for kind in CONTENTS:
            contents = await self._client.list(kind, key.name)
            if contents:
                left[kind.resource] = len(contents)
                await self._delete(kind, contents)
        if left:
            await self._tell(namespace, left)
            return Result(_LOOK_AGAIN)
        await self._finalize(namespace)
        return DONE

    async def _delete(self, kind: Kind[Any], contents: Sequence[Object]) -> None:
        slots = asyncio.Semaphore(_AT_A_TIME)

        async def delete(each: Object) -> None:
            meta = each.metadata
            if meta.deletion_timestamp:
                return
            async with slots:
                try:
                    await self._client.delete(kind, meta.namespace, meta.name, uid=meta.uid, propagation="Background")
                except (NotFoundError, ConflictError):
                    return

        await asyncio.gather(*(delete(each) for each in contents))

    async def _tell(self, namespace: Namespace, left: dict[str, int]) -> None:
        """Say in the status what the namespace still waits for."""
        listed = ", ".join(f"{resource} has {count} resource instances" for resource, count in sorted(left.items()))
        message = f"Some resources are remaining: {listed}"
        old = next((each for each in namespace.status.conditions if each.type == "NamespaceContentRemaining"), None)
        if old is not None and old.message == message:
            return
        new = Condition(
            type="NamespaceContentRemaining",
            status="True",
            reason="SomeResourcesRemain",
            message=message,
            last_transition_time=old.last_transition_time if old else rfc3339(self._clock.now()),
        )
        others = [each for each in namespace.status.conditions if each.type != new.type]
        patch = {"status": {"conditions": [msgspec.to_builtins(each) for each in (*others, new)]}}
        try:
            await self._client.patch(NAMESPACES, "", namespace.metadata.name, patch, subresource="status")
        except ApiError:
            return  # the condition is for people; the deletion goes on without it

    async def _finalize(self, namespace: Namespace) -> None:
        meta = namespace.metadata
        kept = [finalizer for finalizer in namespace.spec.finalizers if finalizer != _FINALIZER]
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "spec": {"finalizers": kept},
        }
        try:
            await self._client.update(NAMESPACES, "", meta.name, body, subresource="finalize")
        except NotFoundError:
            return
