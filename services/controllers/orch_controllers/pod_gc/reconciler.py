"""Clears pods away that nobody else would (k8s.io/kubernetes pkg/controller/podgc).

Two kinds: pods that have ended, as far as there are more than a threshold; and pods that are being deleted and were
never on a node, so that no agent will ever end them. Pods of nodes that are gone or out of service are the eviction
controller's, which knows the nodes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from orch.errors import NotFoundError
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.fanout import for_each
from orch_controllers.pod_state import FINISHED, is_finished

log = logging.getLogger(__name__)

PERIOD: Final = 20.0
"""Seconds between two sweeps, at least."""
SWEEP: Final = Key("", "")
"""The key under which pods that have ended are counted."""

_ENDED: Final = "podgc/ended"


class PodGarbageReconciler:
    """Reconciles pods that are being deleted without a node, and, as one key, all that have ended."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._threshold = context.config.terminated_pod_threshold
        self._clock = context.clock
        self._swept = -PERIOD
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, _ENDED, _ended)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return a pod that is being deleted without a node, and the sweep when a pod has ended."""
        new = change.new
        if new is None:
            return ()
        keys: list[Key] = []
        if _is_stranded(new.object):
            keys.append(Key(new.namespace, new.name))
        if self._threshold and is_finished(new.object) and (change.old is None or not is_finished(change.old.object)):
            keys.append(SWEEP)
        return keys

    async def reconcile(self, key: Key) -> Result:
        """Clear one pod away, or those that are too many."""
        if key == SWEEP:
            wait = self._swept + PERIOD - self._clock.monotonic()
            if wait > 0:
                return Result(wait)
            self._swept = self._clock.monotonic()
            await self._sweep()
            return DONE
        item = self._pods.get(key.namespace, key.name)
        if item is not None and _is_stranded(item.object):
            await self._remove(item.object)
        return DONE

    async def _sweep(self) -> None:
        """Delete pods that have ended beyond the threshold: those that were evicted first, then the oldest."""
        ended = [item.object for item in self._pods.indexed(_ENDED, "")]
        surplus = len(ended) - self._threshold
        if surplus <= 0:
            return
        log.info("%d pods that have ended are deleted: there are more than %d", surplus, self._threshold)
        await for_each(sorted(ended, key=_rank)[:surplus], self._remove)

    async def _remove(self, pod: Pod) -> None:
        """Delete a pod at once; one that has not ended has failed."""
        meta = pod.metadata
        try:
            if not is_finished(pod):
                patch = {"metadata": {"uid": meta.uid}, "status": {"phase": "Failed"}}
                await self._client.patch(PODS, meta.namespace, meta.name, patch, subresource="status", strategic=True)
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid, grace_period=0)
        except NotFoundError:
            log.debug("pod %s/%s was gone already", meta.namespace, meta.name)


def _is_stranded(pod: Pod) -> bool:
    """Return whether the pod is being deleted and nobody runs it, unless what it waits for is not its end."""
    return bool(pod.metadata.deletion_timestamp) and not pod.spec.node_name and not is_finished(pod)


def _ended(item: Item[Pod]) -> tuple[str, ...]:
    return ("",) if item.object.status.phase in FINISHED and not item.object.metadata.deletion_timestamp else ()


def _rank(pod: Pod) -> tuple[bool, str, str]:
    return pod.status.reason != "Evicted", pod.metadata.creation_timestamp, pod.metadata.name
