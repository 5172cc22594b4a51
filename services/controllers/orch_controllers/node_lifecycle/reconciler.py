"""Judges nodes by their heartbeats and conditions; taints and untaints them.

Taints, reasons and messages are k8s.io/kubernetes pkg/controller/nodelifecycle's; the grace period is orch's (5 s).
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec
from orch.runtime.events import reference

from orch.clock import rfc3339
from orch.errors import ConflictError, NotFoundError
from orch.objects.cluster import Node, Taint
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.informer import Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.pod_state import is_ready

log = logging.getLogger(__name__)

UNREACHABLE: Final = "node.kubernetes.io/unreachable"
NOT_READY: Final = "node.kubernetes.io/not-ready"

_SILENT_REASON: Final = "NodeStatusUnknown"
_SILENT_MESSAGE: Final = "Kubelet stopped posting node status."
_BY_NODE: Final = "node-lifecycle/node"
_ROUND: Final = 1.0


class NodeLifecycleReconciler:
    """Reconciles nodes, each about once a second."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._clock = context.clock
        self._grace = context.config.node_grace_period
        self._heartbeats = context.heartbeats
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        context.informers.index(PODS, _BY_NODE, pods_node)

    async def reconcile(self, key: Key) -> Result:
        """Judge one node."""
        item = self._nodes.get("", key.name)
        if item is None:
            return DONE
        node = item.object
        silent = self._heartbeats.silence(key.name) > self._grace
        ready = node.status.condition("Ready")
        try:
            if silent and (ready is None or ready.status != "Unknown"):
                await self._mark_silent(node)
                return Result(0.01)
            if not silent and ready is not None and ready.reason == _SILENT_REASON:
                await self._mark_back(node)
                return Result(0.01)
            await self._taint(node, ready)
        except (ConflictError, NotFoundError) as error:
            log.debug("node %s changed meanwhile: %s", key.name, error)
            return Result(0.1)
        return Result(_ROUND)

    async def _mark_silent(self, node: Node) -> None:
        """Turn every condition that the node reports into Unknown, and its pods into not ready."""
        now = rfc3339(self._clock.now())
        kinds = {each.type for each in node.status.conditions} | {"Ready"}
        unknown = [
            Condition(
                type=kind,
                status="Unknown",
                reason=_SILENT_REASON,
                message=_SILENT_MESSAGE,
                last_heartbeat_time=_last_heartbeat(node, kind),
                last_transition_time=now,
            )
            for kind in sorted(kinds)
        ]
        await self._patch_conditions(node, unknown)
        message = f"Node {node.metadata.name} status is now: NodeNotReady"
        self._recorder.event(reference(NODES, node), "Normal", "NodeNotReady", message)
        log.warning("node %s has been silent for more than %g s", node.metadata.name, self._grace)
        for item in list(self._pods.indexed(_BY_NODE, node.metadata.name)):
            await self._mark_pod(item)

    async def _mark_pod(self, item: Item[Pod]) -> None:
        if not is_ready(item.object):
            return
        condition = {"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(self._clock.now())}
        patch = {"metadata": {"uid": item.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(PODS, item.namespace, item.name, patch, subresource="status", strategic=True)
        except (ConflictError, NotFoundError):
            return

    async def _mark_back(self, node: Node) -> None:
        """Take the node back: it is heard again, and its own report follows and says more."""
        now = rfc3339(self._clock.now())
        known: list[Condition] = []
        for each in node.status.conditions:
            if each.reason != _SILENT_REASON:
                continue
            if each.type == "Ready":
                back = ("True", "KubeletReady", "kubelet is posting ready status")
            else:
                back = ("False", f"KubeletHasNo{each.type}", "")
            status, reason, message = back
            known.append(
                msgspec.structs.replace(
                    each,
                    status=status,
                    reason=reason,
                    message=message,
                    last_heartbeat_time=now,
                    last_transition_time=now,
                )
            )
        await self._patch_conditions(node, known)
        message = f"Node {node.metadata.name} status is now: NodeReady"
        self._recorder.event(reference(NODES, node), "Normal", "NodeReady", message)

    async def _patch_conditions(self, node: Node, changed: list[Condition]) -> None:
        conditions = [msgspec.to_builtins(each) for each in changed]
        meta = node.metadata
        patch: dict[str, Any] = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": conditions},
        }
        await self._client.patch(NODES, "", meta.name, patch, subresource="status", strategic=True)

    async def _taint(self, node: Node, ready: Condition | None) -> None:
        """Give the node the taints that its Ready condition calls for, and no others of ours."""
        status = ready.status if ready is not None else "Unknown"
        key = {"True": "", "False": NOT_READY}.get(status, UNREACHABLE)
        wanted = {(key, "NoSchedule"), (key, "NoExecute")} if key else set[tuple[str, str]]()
        ours = [taint for taint in node.spec.taints if taint.key in {UNREACHABLE, NOT_READY}]
        if {(taint.key, taint.effect) for taint in ours} == wanted and len(ours) == len(wanted):
            return
        now = rfc3339(self._clock.now())
        taints = [taint for taint in node.spec.taints if taint.key not in {UNREACHABLE, NOT_READY}]
        for taint_key, effect in sorted(wanted):
            known = next((each for each in ours if (each.key, each.effect) == (taint_key, effect)), None)
            taints.append(known or Taint(key=taint_key, effect=effect, time_added=now))
        patch = {
            "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [msgspec.to_builtins(taint) for taint in taints] or None},
        }
        await self._client.patch(NODES, "", node.metadata.name, patch)


def pods_node(item: Item[Pod]) -> tuple[str, ...]:
    """Index pods by their node."""
    node = item.object.spec.node_name
    return (node,) if node else ()


def _last_heartbeat(node: Node, kind: str) -> str:
    condition = node.status.condition(kind)
    return condition.last_heartbeat_time if condition is not None else ""
