"""Looks on while a cluster's pods are bound: no node is promised more than it has, and no pod is bound twice.

Every local cluster of the tests has one from when it is up, through restarts of its api.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from overcommitment import overcommitted
from rest import RefusedError, Rest

from orch.objects.cluster import Node
from orch.objects.pods import Pod

PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
_AGAIN = 0.3
"""Seconds until an api that is away is asked again."""
_LOST = (OSError, ValueError, http.client.HTTPException)
"""What a connection comes to whose other end is killed: ValueError is half a line."""


class CommitmentLedger:
    """Judges a node whenever a pod is seen to be bound to it, by whoever else is there at that moment.

    Pods that came with their node were never the scheduler's: they count, but are nobody's fault. `problems` has a
    sentence for each thing that must not be, `looked` counts the bindings.
    """

    def __init__(self, rest: Callable[[], Rest]) -> None:
        self._rest = rest
        self._pods: dict[str, Pod] = {}
        self._here: dict[str, dict[str, Pod]] = {}
        self._nodes: dict[str, Node] = {}
        self._begun = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.problems: list[str] = []
        self.looked = 0

    def open(self) -> None:
        """Begin, unless that has happened."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="commitment-ledger", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End; at once if the cluster is down."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def take(self, listed: Iterable[Mapping[str, Any]]) -> None:
        """Take in all pods that there are: what was bound meanwhile is judged when all of them are known."""
        found = [msgspec.convert(pod, Pod) for pod in listed]
        for uid in self._pods.keys() - {pod.metadata.uid for pod in found}:
            self._forget(uid)
        for node in {node for pod in found if (node := self._note(pod, new=self._begun))}:
            self._judge(node)
        self._begun = True

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in an event of a watch."""
        pod = msgspec.convert(event["object"], Pod)
        if event["type"] == "DELETED":
            self._forget(pod.metadata.uid)
        elif node := self._note(pod):
            self._judge(node)

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                self._once(self._rest())
            except _LOST:
                self._closed.wait(_AGAIN)

    def _once(self, rest: Rest) -> None:
        listed = rest("GET", PODS, timeout=10)
        if listed.status != 200:
            raise RefusedError(listed.status, b"no list of pods")
        self.take(listed.body["items"])
        version = listed.body["metadata"]["resourceVersion"]
        with rest.watch(PODS, timeout=60, resourceVersion=version) as events:
            for event in events:
                if self._closed.is_set() or event["type"] == "ERROR":
                    return
                self.see(event)

    def _note(self, pod: Pod, *, new: bool = False) -> str:
        """Remember a pod as it is now; return the node that it was bound to since it was last seen.

        Of one that was never seen before, `new` says whether it was bound meanwhile; else it came with its node.
        """
        uid, node = pod.metadata.uid, pod.spec.node_name
        before = self._pods.get(uid)
        self._pods[uid] = pod
        if not node:
            return ""
        self._here.setdefault(node, {})[uid] = pod
        if before is None:
            return node if new else ""
        if before.spec.node_name == node:
            return ""
        if before.spec.node_name:
            name = f"{pod.metadata.namespace}/{pod.metadata.name}"
            self.problems.append(f"{name} was bound to {before.spec.node_name}, then to {node}")
        return node

    def _forget(self, uid: str) -> None:
        gone = self._pods.pop(uid, None)
        if gone is not None and gone.spec.node_name:
            self._here[gone.spec.node_name].pop(uid, None)

    def _judge(self, name: str) -> None:
        """Judge by the node as it was known; where that finds something, by the node as it is now as well."""
        self.looked += 1
        pods = self._here[name].values()
        if any(_grows_in_vain(pod) for pod in pods):
            return
        node = self._nodes.get(name)
        if node is not None and not overcommitted(pods, (node,)):
            return
        answer = self._rest()("GET", f"{NODES}/{name}", timeout=10)
        if answer.status != 200:
            return  # it has gone, and promised nothing
        self._nodes[name] = msgspec.convert(answer.body, Node)
        self.problems += overcommitted(pods, (self._nodes[name],))


def _grows_in_vain(pod: Pod) -> bool:
    """Return whether a pod asks for more than its node ever gives it, which does not count."""
    return any(one.type == "PodResizePending" and one.reason == "Infeasible" for one in pod.status.conditions)
