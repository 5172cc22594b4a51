"""Evicts pods from nodes whose NoExecute taints they do not tolerate, or no longer; removes pods of lost nodes.

The rules are k8s.io/kubernetes pkg/controller/tainteviction's and podgc's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from orch.runtime.events import reference

from orch.clock import Clock, parse_rfc3339
from orch.errors import ConflictError, NotFoundError
from orch.objects.cluster import Node, Taint
from orch.objects.pods import Pod, Toleration
from orch.objects.scheme import NODES, PODS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.node_lifecycle.reconciler import pods_node

_BY_NODE: Final = "eviction/node"
QUARANTINE: Final = 40.0
"""Seconds for which a pod's node must be gone before the pod is removed (podgc's)."""


class EvictionReconciler:
    """Reconciles pods that are bound to a node."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._clock: Clock = context.clock
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, _BY_NODE, pods_node)
        self._missing: dict[str, float] = {}

    def keys_of_node(self, change: Change[Node]) -> Iterable[Key]:
        """Return the node's pods when its NoExecute taints changed or it is gone."""
        old, new = change.old, change.new
        if old is not None and new is not None and _evicting(old.object) == _evicting(new.object):
            return ()
        if old is None and new is not None and not _evicting(new.object):
            return ()
        name = new.name if new is not None else old.name if old is not None else ""
        return [Key(item.namespace, item.name) for item in self._pods.indexed(_BY_NODE, name)]

    async def reconcile(self, key: Key) -> Result:
        """Evict one pod if it is time."""
        item = self._pods.get(key.namespace, key.name)
        if item is None or not item.object.spec.node_name:
            return DONE
        pod = item.object
        node = self._nodes.get("", pod.spec.node_name)
        if node is None:
            return await self._collect(pod)
        self._missing.pop(pod.spec.node_name, None)
        if pod.metadata.deletion_timestamp:
            return DONE
        left = seconds_tolerated(pod.spec.tolerations, _evicting(node.object), self._clock)
        if left is None:
            return DONE
        if left > 0:
            return Result(left)
        await self._evict(pod)
        return DONE

    async def _evict(self, pod: Pod) -> None:
        meta = pod.metadata
        message = f"Marking for deletion Pod {meta.namespace}/{meta.name}"
        self._recorder.event(reference(PODS, pod), "Normal", "TaintManagerEviction", message)
        try:
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid)
        except (NotFoundError, ConflictError):
            return

    async def _collect(self, pod: Pod) -> Result:
        """Remove a pod whose node has been gone for long enough: nobody will ever report its end."""
        now = self._clock.monotonic()
        since = self._missing.setdefault(pod.spec.node_name, now)
        left = QUARANTINE - (now - since)
        if left > 0:
            return Result(left)
        meta = pod.metadata
        try:
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid, grace_period=0)
        except (NotFoundError, ConflictError):
            return DONE
        return DONE


def _evicting(node: Node) -> tuple[Taint, ...]:
    return tuple(taint for taint in node.spec.taints if taint.effect == "NoExecute")


def seconds_tolerated(tolerations: Sequence[Toleration], taints: Sequence[Taint], clock: Clock) -> float | None:
    """Return in how many seconds a pod must leave, None when it may stay for good.

    Every taint must be tolerated; the shortest tolerationSeconds counts, from when its taint was added.
    """
    shortest: float | None = None
    for taint in taints:
        covering = [each for each in tolerations if covers(each, taint)]
        if not covering:
            return 0.0
        limits = [max(each.toleration_seconds, 0) for each in covering if each.toleration_seconds is not None]
        if not limits:
            continue
        passed = (clock.now() - parse_rfc3339(taint.time_added)).total_seconds() if taint.time_added else 0.0
        left = max(min(limits) - passed, 0.0)
        shortest = left if shortest is None else min(shortest, left)
    return shortest


def covers(toleration: Toleration, taint: Taint) -> bool:
    """Return whether a toleration covers a taint (k8s.io/api/core/v1 Toleration.ToleratesTaint)."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value
