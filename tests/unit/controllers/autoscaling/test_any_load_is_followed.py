"""An autoscaler under any load, against late and lost events, crashes and lost answers between any two writes."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from lagging_world import Document
from registry_world import RegistryMachine, topic

from orch.bus.subjects import metrics_subject
from orch.objects.scheme import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS, Kind
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

NANO = 1_000_000_000
LABELS = {"app": "web"}
TARGET = 100
"""Thousandths of a processor that a pod shall use: half of what it asks for."""
LEAST, MOST = 1, 6


class AutoscalerMachine(RegistryMachine):
    """One Deployment, whose pods are as many as it asks for at once, share one load and are measured every second."""

    kinds = [DEPLOYMENTS, PODS, HORIZONTAL_POD_AUTOSCALERS]
    topics = (topic("autoscaling"),)

    def prepare(self) -> None:
        self.load = 100
        self.made = 0
        self.spent: dict[str, int] = {}
        spec = {"replicas": 1, "selector": {"matchLabels": LABELS}}
        self.world.create(DEPLOYMENTS, "default", {"metadata": {"name": "web"}, "spec": spec, "status": {}})
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
        aim = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        bounds = {"minReplicas": LEAST, "maxReplicas": MOST}
        spec = {"scaleTargetRef": aim, **bounds, "metrics": [{"type": "Resource", "resource": cpu}]}
        self.world.create(
            HORIZONTAL_POD_AUTOSCALERS, "default", {"metadata": {"name": "web"}, "spec": spec, "status": {}}
        )
        self.follow()

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(load=st.integers(0, 900))
    def change_load(self, load: int) -> None:
        self.load = load

    @rule(replicas=st.integers(1, MOST))
    def scale_by_hand(self, replicas: int) -> None:
        self.world.change(DEPLOYMENTS, "web", lambda found: found["spec"].update(replicas=replicas))

    @rule(seconds=st.integers(1, 20))
    def measure(self, seconds: int) -> None:
        for _ in range(seconds):
            self.follow()
            self.driver.pass_time(1)
            self.tell()

    def follow(self) -> None:
        """Have as many pods as are asked for, all ready."""
        pods, wanted = self.world.pods(), self.replicas()
        for pod in pods[wanted:]:
            self.world.stop(pod)
        for _ in range(wanted - len(pods)):
            self.made += 1
            container = {"name": "main", "resources": {"requests": {"cpu": f"{2 * TARGET}m"}}}
            body = {"metadata": {"name": f"web-{self.made:04d}", "labels": LABELS}, "spec": {"containers": [container]}}
            pod = self.world.create(PODS, "default", body)
            self.world.live(pod, "node-1")
            self.live_pods()
        self.live_pods()

    def live_pods(self) -> None:
        for pod in self.world.pods():
            self.world.live(pod, "node-1")

    def tell(self) -> None:
        """Tell what the node's pods have used."""
        pods = self.world.pods()
        told: list[PodUsage] = []
        for pod in pods:
            uid = pod["metadata"]["uid"]
            self.spent[uid] = self.spent.get(uid, 0) + self.load * 1_000_000 // len(pods)
            used = ContainerUsage(container="main", cpu_nanos=self.spent[uid], memory_bytes=1 << 20)
            told.append(PodUsage(namespace="default", name=pod["metadata"]["name"], uid=uid, containers=[used]))
        at = int(self.world.clock.now().timestamp() * NANO)
        sample = UsageSample(node="node-1", unix_nanos=at, pods=told)
        self.driver.usage.take(metrics_subject("node-1"), sample.SerializeToString())

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if kind.qualified == DEPLOYMENTS.qualified and old is not None and new is not None and self.driver.acting:
            before, after = old["spec"]["replicas"], new["spec"]["replicas"]
            assert LEAST <= after <= MOST, "out of its bounds"
            assert after != before, "nothing is asked for anew"
            assert after <= max(2 * before, before + 4), "faster than its policies"

    def live(self) -> None:
        self.measure(12)

    def has_converged(self) -> bool:
        """Return whether the pods use what they shall, within the tolerance, or there can be no more or no fewer."""
        count = self.replicas()
        fits = abs(self.load / (count * TARGET) - 1) <= 0.11
        needed = -(-self.load // TARGET)
        found = self.world.find(HORIZONTAL_POD_AUTOSCALERS, "web")
        assert found is not None
        status = found["status"]
        told = (status.get("currentReplicas"), status.get("desiredReplicas")) == (count, count)
        return told and (fits or count == min(max(needed, LEAST), MOST))

    def replicas(self) -> int:
        found = self.world.find(DEPLOYMENTS, "web")
        assert found is not None
        return found["spec"]["replicas"]


TestAutoscalers = AutoscalerMachine.TestCase
TestAutoscalers.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
