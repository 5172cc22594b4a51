"""Judges nodes by their heartbeats and conditions; taints and untaints them.

Taints, reasons and messages are k8s.io/kubernetes pkg/controller/nodelifecycle's; the grace period is orch's (5 s).
A kubelet reports its whole status every few seconds; an agent does so when something changes. So the conditions that
silence turns into Unknown are kept in an annotation, and put back when the node is heard again.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from orch.clock import rfc3339
from orch.errors import NotFoundError
from orch.objects.cluster import Node
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.events import reference
from orch.runtime.informer import Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.documents import condition_document
from orch_controllers.fanout import for_each
from orch_controllers.node_lifecycle.health import LAST_REPORTED, Evictions, Health
from orch_controllers.node_lifecycle.taints import lost_key, taints_of
from orch_controllers.pod_state import is_ready, node_of

log = logging.getLogger(__name__)

BY_NODE: Final = "node-lifecycle/node"
_SILENT_REASON: Final = "NodeStatusUnknown"
_SILENT_MESSAGE: Final = "Kubelet stopped posting node status."
_REPORTED: Final = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_decode = msgspec.json.Decoder(tuple[Condition, ...]).decode


class NodeLifecycleReconciler:
    """Reconciles nodes, each when it changes and when the monitor finds that it may be lost or back."""

    def __init__(self, context: Context, health: Health) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("node-controller")
        self._clock = context.clock
        self._health = health
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, BY_NODE, node_of)
        self._restored: set[str] = set()

    async def reconcile(self, key: Key) -> Result:
        """Judge one node."""
        item = self._nodes.get("", key.name)
        if item is None:
            self._restored.discard(key.name)
            return DONE
        node = item.object
        ready = node.status.condition("Ready")
        if self._health.is_lost(key.name) and (ready is None or ready.status != "Unknown"):
            node = await self._mark_lost(node)
        elif LAST_REPORTED in node.metadata.annotations and self._health.is_back(key.name):
            node = await self._mark_back(node)
        await self._taint(node)
        await self._mark_pods(node)
        return DONE

    async def _mark_lost(self, node: Node) -> Node:
        """Turn every condition that the node reports into Unknown."""
        now = rfc3339(self._clock.now())
        reported = tuple(each for each in node.status.conditions if each.reason != _SILENT_REASON)
        kinds = {each.type for each in reported} | set(_REPORTED)
        unknown = [self._unknown(node, kind, now) for kind in sorted(kinds)]
        kept = node.metadata.annotations.get(LAST_REPORTED) if not reported else _encode(reported)
        patched = await self._patch_conditions(node, unknown, kept)
        if not lost_key(node):
            message = f"Node {node.metadata.name} status is now: NodeNotReady"
            self._recorder.event(reference(NODES, node), "Normal", "NodeNotReady", message)
        log.warning("node %s has been silent for too long", node.metadata.name)
        return patched

    def _unknown(self, node: Node, kind: str, now: str) -> Condition:
        before = node.status.condition(kind)
        if before is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
            return Condition(type=kind, reason=reason, message=message, last_transition_time=now)
        changed = before.status != "Unknown"
        return Condition(
            type=kind,
            reason=_SILENT_REASON,
            message=_SILENT_MESSAGE,
            last_heartbeat_time=before.last_heartbeat_time,
            last_transition_time=now if changed else before.last_transition_time,
        )

    async def _mark_back(self, node: Node) -> Node:
        """Put back what the node said before it fell silent, except for what it has said anew since."""
        now = rfc3339(self._clock.now())
        try:
            before = _decode(node.metadata.annotations[LAST_REPORTED])
        except msgspec.DecodeError as error:
            log.warning("node %s: the annotation %s is not used: %s", node.metadata.name, LAST_REPORTED, error)
            before = ()
        known = [
            msgspec.structs.replace(each, last_heartbeat_time=now, last_transition_time=now)
            for each in before
            if (current := node.status.condition(each.type)) is not None and current.reason == _SILENT_REASON
        ]
        patched = await self._patch_conditions(node, known, None)
        if any(each.type == "Ready" and each.status == "True" for each in known):
            message = f"Node {node.metadata.name} status is now: NodeReady"
            self._recorder.event(reference(NODES, node), "Normal", "NodeReady", message)
        return patched

    async def _patch_conditions(self, node: Node, changed: list[Condition], last_reported: str | None) -> Node:
        meta = node.metadata
        patch: dict[str, Any] = {
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "annotations": {LAST_REPORTED: last_reported},
            },
            "status": {"conditions": [condition_document(each) for each in changed]},
        }
        return await self._client.patch(NODES, "", meta.name, patch, subresource="status", strategic=True)

    async def _taint(self, node: Node) -> None:
        """Give the node the taints that its conditions call for, and no others of ours."""
        if lost_key(node):
            evictions = self._health.evictions(node.metadata.name)
        else:
            evictions = Evictions.HELD
            self._health.forgive(node.metadata.name)
        taints = taints_of(node, evictions, self._clock.now())
        if taints == node.spec.taints:
            return
        patch = {
            "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [msgspec.to_builtins(taint) for taint in taints] or None},
        }
        await self._client.patch(NODES, "", node.metadata.name, patch)

    async def _mark_pods(self, node: Node) -> None:
        """Keep the Ready condition of the node's pods true to what is known of the node.

        Nobody can say that pods of a node serve that is not ready. Their agent tells their state when it changes, so
        a node that is ready again has its pods' condition put back: ContainersReady still says what it was.
        """
        name = node.metadata.name
        if not lost_key(node):
            if name in self._restored:
                return
            pods = [item for item in self._pods.indexed(BY_NODE, name) if _was_marked(item.object)]
            await self._mark(pods, "True")
            self._restored.add(name)
            return
        self._restored.discard(name)
        pods = [item for item in self._pods.indexed(BY_NODE, name) if is_ready(item.object)]
        for item in pods:
            self._recorder.event(reference(PODS, item), "Warning", "NodeNotReady", "Node is not ready")
        await self._mark(pods, "False")

    async def _mark(self, pods: list[Item[Pod]], status: str) -> None:
        condition = {"type": "Ready", "status": status, "lastTransitionTime": rfc3339(self._clock.now())}

        async def mark(item: Item[Pod]) -> None:
            version = {"uid": item.uid, "resourceVersion": str(item.revision)}
            patch = {"metadata": version, "status": {"conditions": [condition]}}
            try:
                await self._client.patch(PODS, item.namespace, item.name, patch, subresource="status", strategic=True)
            except NotFoundError:
                log.debug("pod %s/%s was gone already", item.namespace, item.name)

        await for_each(pods, mark)


def _was_marked(pod: Pod) -> bool:
    """Return whether the pod would be ready but for `_mark_pods`, which leaves the condition's reason empty."""
    ready, containers = pod.status.condition("Ready"), pod.status.condition("ContainersReady")
    if ready is None or containers is None:
        return False
    return ready.status == "False" and not ready.reason and containers.status == "True"


def _encode(conditions: tuple[Condition, ...]) -> str:
    return msgspec.json.encode([condition_document(each) for each in conditions]).decode()
