"""Nodes that fall silent, come back or go, their pods and their budgets, against late events, crashes, lost answers."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lagging_world import Document
from registry_world import RegistryMachine, is_leaving, topic
from workload_world import is_ready

from orch.objects.scheme import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Kind,
)

NODE_NAMES = [f"node-{number}" for number in range(3)]
LABELS = {"app": "web"}
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
TOLERATED = [
    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}
    for key in (UNREACHABLE, NOT_READY)
]


class NodeMachine(RegistryMachine):
    """Three nodes that run the pods of a replica set with a budget."""

    kinds = [
        NODES,
        PODS,
        REPLICA_SETS,
        DISRUPTION_BUDGETS,
        LEASES,
        DEPLOYMENTS,
        STATEFUL_SETS,
        REPLICATION_CONTROLLERS,
    ]
    topics = (topic("node_lifecycle"), topic("node_ipam"), topic("pod_gc"), topic("disruption"))

    def prepare(self) -> None:
        self.made = 0
        self.scale = 2
        for name in NODE_NAMES:
            self.join(name)
        budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}}}
        self.world.create(DISRUPTION_BUDGETS, "default", {**budget, "status": {}})

    def join(self, name: str) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": self.world.now()}
        body = {"metadata": {"name": name}, "spec": {}, "status": {"conditions": [ready]}}
        self.world.create(NODES, "", body)

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 2))
    def fall_silent(self, which: int) -> None:
        self.driver.heard.silent_since.setdefault(NODE_NAMES[which], self.world.clock.monotonic())

    @rule(which=st.integers(0, 2))
    def come_back(self, which: int) -> None:
        self.driver.heard.silent_since.pop(NODE_NAMES[which], None)

    @rule(which=st.integers(0, 2))
    def leave_or_join(self, which: int) -> None:
        name = NODE_NAMES[which]
        if self.world.find(NODES, name, "") is None:
            self.join(name)
        else:
            self.world.delete(NODES, name, namespace="")

    @rule(which=st.integers(0, 2), unschedulable=st.booleans())
    def cordon(self, which: int, *, unschedulable: bool) -> None:
        if self.world.find(NODES, NODE_NAMES[which], "") is not None:
            self.world.change(
                NODES,
                NODE_NAMES[which],
                lambda found: found["spec"].update(unschedulable=unschedulable),
                namespace="",
            )

    @rule(replicas=st.integers(0, 3))
    def make_set(self, replicas: int) -> None:
        self.scale = replicas
        if self.world.find(REPLICA_SETS, "web") is None:
            body = {"metadata": {"name": "web"}, "spec": {"replicas": replicas}, "status": {}}
            self.world.create(REPLICA_SETS, "default", body)
            self.start_pod(replicas % len(NODE_NAMES))
        else:
            self.world.change(REPLICA_SETS, "web", lambda found: found["spec"].update(replicas=replicas))

    @rule(which=st.integers(0, 2))
    def start_pod(self, which: int) -> None:
        owner = self.world.find(REPLICA_SETS, "web")
        if owner is None or len(self.world.pods()) > 4:
            return
        self.made += 1
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": True}
        meta = {
            "name": f"pod-{self.made}",
            "labels": LABELS,
            "ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}],
        }
        pod = self.world.create(PODS, "default", {"metadata": meta, "spec": {"tolerations": TOLERATED}})
        if self.world.find(NODES, NODE_NAMES[which], "") is not None:
            self.world.bind(pod, NODE_NAMES[which])
            self.live()

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 4), leaves=st.booleans())
    def change_pod(self, which: int, *, leaves: bool) -> None:
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        if leaves:
            self.world.delete(PODS, pod["metadata"]["name"])
        else:
            self.live_on(pod)

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if kind.qualified == NODES.qualified and new is not None and (given := new["spec"].get("podCIDR")):
            others = [each for each in self.world.all(NODES) if each["metadata"]["uid"] != new["metadata"]["uid"]]
            assert all(each["spec"].get("podCIDR") != given for each in others), "one range for two nodes"
        if kind.qualified != PODS.qualified or old is None or not self.driver.acting:
            return
        node = old["spec"].get("nodeName", "")
        begins = not is_leaving(old) and (new is None or is_leaving(new))
        if begins and node and self.world.find(NODES, node, "") is not None:
            assert node in self.driver.heard.silent_since or self.is_tainted(node), "its node is well"

    def live_on(self, pod: Document) -> None:
        node = pod["spec"].get("nodeName", "")
        if self.is_well(node) or (not node and is_leaving(pod)):
            self.world.live(pod, node)

    def live(self) -> None:
        for pod in self.world.pods():
            self.live_on(pod)

    def has_converged(self) -> bool:
        nodes = self.world.all(NODES)
        return all(map(self.is_judged, nodes)) and self.pods_are_placed() and self.budget_is_told()

    def is_judged(self, node: Document) -> bool:
        """Return whether what is said of a node follows from whether it is heard."""
        name = node["metadata"]["name"]
        taints = {each["key"] for each in node["spec"].get("taints") or ()}
        cordoned = "node.kubernetes.io/unschedulable" in taints
        if not node["spec"].get("podCIDR") or cordoned != bool(node["spec"].get("unschedulable")):
            return False
        return (UNREACHABLE in taints) == (name in self.driver.heard.silent_since) and NOT_READY not in taints

    def pods_are_placed(self) -> bool:
        """Return whether nothing is left on nodes that are not there, and no pod waits for an end nobody will tell."""
        for pod in self.world.pods():
            node = pod["spec"].get("nodeName", "")
            if node and self.world.find(NODES, node, "") is None:
                return False
            if is_ready(pod) and node in self.driver.heard.silent_since:
                return False
            if is_leaving(pod) and (not node or self.is_well(node)):
                return False
        return True

    def budget_is_told(self) -> bool:
        budget = self.world.find(DISRUPTION_BUDGETS, "web")
        assert budget is not None
        pods = self.world.pods()
        if pods and self.world.find(REPLICA_SETS, "web") is None:
            return True
        healthy = sum(is_ready(pod) and not is_leaving(pod) for pod in pods)
        expected = self.scale if pods else 0
        allowed = max(healthy - max(expected - 1, 0), 0) if expected else 0
        status = budget["status"]
        told = status.get("currentHealthy"), status.get("expectedPods"), status.get("disruptionsAllowed")
        return told == (healthy, expected, allowed)

    def is_well(self, node: str) -> bool:
        return self.world.find(NODES, node, "") is not None and node not in self.driver.heard.silent_since

    def is_tainted(self, node: str) -> bool:
        found = self.world.find(NODES, node, "") or {"spec": {}}
        return any(each["effect"] == "NoExecute" for each in found["spec"].get("taints") or ())


TestNodes = NodeMachine.TestCase
TestNodes.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
