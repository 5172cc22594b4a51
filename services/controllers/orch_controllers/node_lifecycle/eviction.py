"""Evicts pods from nodes whose NoExecute taints they do not tolerate, or no longer; removes pods of lost nodes.

The rules are k8s.io/kubernetes pkg/controller/tainteviction's and podgc's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from orch.clock import parse_rfc3339, rfc3339
from orch.errors import ConflictError, NotFoundError
from orch.objects.cluster import Node, Taint
from orch.objects.fencing import is_fenced_by_lease
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.events import reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.node_lifecycle.reconciler import BY_NODE
from orch_controllers.node_lifecycle.taints import evicting, lost_key
from orch_controllers.node_lifecycle.tolerance import seconds_tolerated
from orch_controllers.pod_state import bound_since, is_finished

log = logging.getLogger(__name__)

QUARANTINE: Final = 40.0
"""Seconds for which a pod's node must be gone before the pod is removed (podgc's)."""
_LOOK_AGAIN: Final = 1.0
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""The taint by which people say that a lost node will not come back."""


class EvictionReconciler:
    """Reconciles pods that are bound to a node."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("taint-eviction-controller")
        self._clock = context.clock
        self._heartbeats = context.heartbeats
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        self._missing: dict[str, float] = {}
        self._first_seen: dict[str, dict[Taint, datetime]] = {}

    def keys_of_node(self, change: Change[Node]) -> Iterable[Key]:
        """Return the node's pods when its NoExecute taints changed or it is gone."""
        old, new = change.old, change.new
        name = change.item.name
        before = evicting(old.object.spec.taints) if old is not None else ()
        after = evicting(new.object.spec.taints) if new is not None else ()
        if new is not None:
            self._missing.pop(name, None)
            if before == after:
                return ()
        self._note(name, after)
        return [Key(item.namespace, item.name) for item in self._pods.indexed(BY_NODE, name)]

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the pod's key when it is bound, unless nothing has changed that an eviction depends on."""
        old, new = change.old, change.new
        if new is None or not new.object.spec.node_name:
            return ()
        if old is not None and old is not new and _evictability(old.object) == _evictability(new.object):
            return ()
        return (Key(new.namespace, new.name),)

    async def reconcile(self, key: Key) -> Result:
        """Evict one pod if it is time."""
        item = self._pods.get(key.namespace, key.name)
        if item is None or not item.object.spec.node_name:
            return DONE
        pod = item.object
        found = self._nodes.get("", pod.spec.node_name)
        if found is None:
            return await self._collect(pod)
        node = found.object
        if pod.metadata.deletion_timestamp:
            return await self._end(pod, node)
        taints = evicting(node.spec.taints)
        left = seconds_tolerated(pod.spec.tolerations, taints, self._exposed(pod), self._clock.now())
        if left == 0:
            await self._evict(pod)
            return DONE
        return Result(left)

    async def _end(self, pod: Pod, node: Node) -> Result:
        """Remove a pod that is being deleted if its node will not say when it has ended, and it certainly has.

        That is so when people say it, or when the node's lease is over: then the node has stopped by itself those of
        its pods that live by the lease.
        """
        if not lost_key(node):
            return DONE
        if any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints):
            await self._remove(pod, "PodGC: node is out-of-service")
            return DONE
        if not is_fenced_by_lease(pod):
            return DONE
        if self._heartbeats.lease_is_over(node.metadata.name):
            await self._remove(pod, "PodGC: the lease of the node is over, by which it has stopped the pod")
            return DONE
        return Result(_LOOK_AGAIN)

    def _note(self, node: str, taints: Iterable[Taint]) -> None:
        """Remember since when the node has had the taints that do not say so themselves, as those of people."""
        known = self._first_seen.pop(node, {})
        now = self._clock.now()
        undated = {taint: known.get(taint, now) for taint in taints if not taint.time_added}
        if undated:
            self._first_seen[node] = undated

    def _exposed(self, pod: Pod) -> Callable[[Taint], datetime]:
        """Return since when a pod has been exposed to a taint: since the taint and the pod have both been there."""
        here = bound_since(pod)

        def since(taint: Taint) -> datetime:
            if taint.time_added:
                added = parse_rfc3339(taint.time_added)
            else:
                seen = self._first_seen.setdefault(pod.spec.node_name, {})
                added = seen.setdefault(taint, self._clock.now())
            return max(added, here) if here is not None else added

        return since

    async def _evict(self, pod: Pod) -> None:
        meta = pod.metadata
        message = f"Marking for deletion Pod {meta.namespace}/{meta.name}"
        self._recorder.event(reference(PODS, pod), "Normal", "TaintManagerEviction", message)
        reason = "DeletionByTaintManager"
        await self._delete(pod, reason, "Taint manager: deleting due to NoExecute taint", {}, grace=None)

    async def _collect(self, pod: Pod) -> Result:
        """Remove a pod whose node has been gone for long enough: nobody will ever report its end."""
        now = self._clock.monotonic()
        since = self._missing.setdefault(pod.spec.node_name, now)
        left = QUARANTINE - (now - since)
        if left > 0:
            return Result(left)
        try:
            await self._client.get(NODES, "", pod.spec.node_name)
        except NotFoundError:
            await self._remove(pod, "PodGC: node no longer exists")
            return DONE
        return Result(QUARANTINE)

    async def _remove(self, pod: Pod, message: str) -> None:
        """Delete a pod without waiting for its node."""
        log.info("pod %s/%s: %s", pod.metadata.namespace, pod.metadata.name, message)
        phase = {} if is_finished(pod) else {"phase": "Failed"}
        await self._delete(pod, "DeletionByPodGC", message, phase, grace=0)

    async def _delete(self, pod: Pod, reason: str, message: str, status: dict[str, str], grace: int | None) -> None:
        meta = pod.metadata
        target = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        patch = {"metadata": {"uid": meta.uid}, "status": {**status, "conditions": [target]}}
        try:
            await self._client.patch(PODS, meta.namespace, meta.name, patch, subresource="status", strategic=True)
            await self._client.delete(PODS, meta.namespace, meta.name, uid=meta.uid, grace_period=grace)
        except NotFoundError:
            log.debug("pod %s/%s was gone already", meta.namespace, meta.name)
        except ConflictError as error:
            log.info("pod %s/%s is not removed: %s", meta.namespace, meta.name, error)
            raise


def _evictability(pod: Pod) -> tuple[object, ...]:
    """Return what decides, together with the node, whether and when a pod is evicted."""
    return pod.spec.node_name, pod.spec.tolerations, pod.metadata.deletion_timestamp, bound_since(pod)
