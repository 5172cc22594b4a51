"""Deletes what a terminating namespace holds and takes its `kubernetes` finalizer away when nothing is left."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from orch.errors import ConflictError, NotFoundError
from orch.objects.cluster import Namespace
from orch.objects.meta import Condition, Object
from orch.objects.scheme import NAMESPACES, PODS, Kind
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.documents import condition_document
from orch_controllers.fanout import for_each
from orch_controllers.namespace.conditions import Remains, conditions_of

log = logging.getLogger(__name__)

_FINALIZER: Final = "kubernetes"
_AT_A_TIME: Final = 128
"""Deletions under way, so that the api commits as many at once as it can."""
_LOOK_AGAIN: Final = 0.5


class NamespaceReconciler:
    """Reconciles namespaces."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._kinds = context.kinds
        self._informers = context.informers
        self._asked: defaultdict[str, set[str]] = defaultdict(set)
        """Uids, by namespace, of what was deleted: informers may show it for a while."""
        self._clock = context.clock
        self._namespaces = context.informers.of(NAMESPACES)

    async def reconcile(self, key: Key) -> Result:
        """Take the next step of a namespace's deletion."""
        item = self._namespaces.get("", key.name)
        if item is None or not item.object.metadata.deletion_timestamp:
            self._asked.pop(key.name, None)
            return DONE
        namespace = item.object
        if _FINALIZER not in namespace.spec.finalizers:
            return DONE
        served = await self._kinds.refresh()  # what has come to be served since may be in the namespace, too
        remains, deleted = await self._clear(key.name, served, self._known)
        if not remains:
            # As far as the informers know. What they have not seen yet counts, too.
            remains, deleted = await self._clear(key.name, served, self._listed)
        if not remains:
            await self._finalize(namespace)
            return DONE
        if not deleted or not namespace.status.conditions:
            await self._tell(namespace, remains)
        return Result(_LOOK_AGAIN)

    async def _clear(
        self, namespace: str, served: Sequence[Kind[Any]], contents: Callable[[Kind[Any], str], Awaitable[list[Object]]]
    ) -> tuple[list[Remains], int]:
        """Delete what is in the namespace; return what is left, and how much of it was not being deleted yet.

        Pods go first, and all else stays until the last of them is gone: what they stand on, network policies above
        all, is theirs to the end (Kubernetes' ordered deletion of namespaces).
        """
        remains: list[Remains] = []
        deleted = 0

        async def clear(kind: Kind[Any]) -> None:
            nonlocal deleted
            if found := await contents(kind, namespace):
                remains.append(_remains(kind, found))
                deleted += await self._delete(namespace, kind, found)

        if PODS in served:
            await clear(PODS)
        if not remains:
            await for_each([kind for kind in served if kind.namespaced and kind != PODS], clear)
        return sorted(remains, key=lambda each: each.resource), deleted

    async def _known(self, kind: Kind[Any], namespace: str) -> list[Object]:
        """Return what the informer knows: a namespace of thousands of pods is looked at many times while they end."""
        informer = self._informers.of(kind)
        return [item.object for item in informer.items(namespace)] if informer.synced else []

    async def _listed(self, kind: Kind[Any], namespace: str) -> list[Object]:
        return await self._client.list(kind.with_view(Object), namespace)

    async def _delete(self, namespace: str, kind: Kind[Any], contents: Sequence[Object]) -> int:
        """Delete what is not being deleted already; return how many that were."""
        asked = self._asked[namespace]

        async def delete(each: Object) -> None:
            meta = each.metadata
            try:
                await self._client.delete(kind, meta.namespace, meta.name, uid=meta.uid, propagation="Background")
            except (NotFoundError, ConflictError) as error:
                log.debug("%s %s/%s: %s", kind.name, meta.namespace, meta.name, error)
            asked.add(meta.uid)

        there = [each for each in contents if not each.metadata.deletion_timestamp and each.metadata.uid not in asked]
        await for_each(there, delete, _AT_A_TIME)
        return len(there)

    async def _tell(self, namespace: Namespace, remains: Sequence[Remains]) -> None:
        """Say in the status what the namespace still waits for."""
        before = namespace.status.conditions
        now: tuple[Condition, ...] = conditions_of(before, remains, self._clock.now())
        if now == before:
            return
        patch = {
            "metadata": {"uid": namespace.metadata.uid},
            "status": {"conditions": [condition_document(each) for each in now]},
        }
        try:
            await self._client.patch(NAMESPACES, "", namespace.metadata.name, patch, subresource="status")
        except NotFoundError:
            log.debug("namespace %s was gone already", namespace.metadata.name)

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
            log.debug("namespace %s was gone already", meta.name)


def _remains(kind: Kind[Any], contents: Sequence[Object]) -> Remains:
    finalizers = Counter(finalizer for each in contents for finalizer in each.metadata.finalizers)
    return Remains(f"{kind.resource}.{kind.group}", len(contents), dict(finalizers))
