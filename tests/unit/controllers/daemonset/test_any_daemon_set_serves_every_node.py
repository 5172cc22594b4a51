"""Daemon sets against nodes that come, change and go, failing pods, late and lost events, crashes anywhere."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from lagging_world import Document
from workload_world import ENDED, Driver, LaggingMachine, controllers, is_ready, leaving

from orch.objects.apps import DaemonSet
from orch.objects.pods import Pod
from orch.objects.scheme import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS, Kind
from orch.runtime.reconcile import Key
from orch_api.kinds.daemon_sets import DaemonSetStrategy
from orch_controllers.daemonset.plan import bounds
from orch_controllers.daemonset.pods import HASH, target_of
from orch_controllers.daemonset.reconciler import DaemonSetReconciler
from orch_controllers.pod_state import available_in, is_finished

KINDS: list[Kind[Any]] = [DAEMON_SETS, PODS, CONTROLLER_REVISIONS, NODES]
LABELS = {"app": "agent"}
NAMES = ("node-0", "node-1", "node-2", "node-3")
SHARES = [(1, 0), (2, 0), ("50%", 0), (0, 1), (0, "50%")]


def template(image: int, *, picky: bool = False) -> Document:
    spec: Document = {"containers": [{"name": "main", "image": f"agent:{image}"}]}
    if picky:
        spec["nodeSelector"] = {"disk": "ssd"}
    return {"metadata": {"labels": LABELS}, "spec": spec}


class DaemonSetMachine(LaggingMachine):
    """One daemon set in a world in which everything that may happen does."""

    kinds = KINDS

    @initialize(
        nodes=st.integers(0, 4),
        strategy=st.sampled_from(["RollingUpdate", "RollingUpdate", "RollingUpdate", "OnDelete"]),
        shares=st.sampled_from(SHARES),
        ready=st.sampled_from([0, 0, 10]),
    )
    def create(self, nodes: int, strategy: str, shares: tuple[Any, Any], ready: int) -> None:
        for name in NAMES[:nodes]:
            self.add_node(name)
        spec: Document = {
            "selector": {"matchLabels": LABELS},
            "updateStrategy": {"type": strategy},
            "minReadySeconds": ready,
            "revisionHistoryLimit": 1,
            "template": template(0),
        }
        if strategy == "RollingUpdate":
            spec["updateStrategy"]["rollingUpdate"] = {"maxUnavailable": shares[0], "maxSurge": shares[1]}
        self.world.create(DAEMON_SETS, "default", {"metadata": {"name": "agent"}, "spec": spec, "status": {}})
        self.driver = Driver(self.world, KINDS, DaemonSetReconciler, Key("default", "agent"))

    def add_node(self, name: str) -> None:
        body = {"metadata": {"name": name, "labels": {"disk": "ssd"}}, "spec": {}}
        self.world.create(NODES, "default", body)

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 3))
    def all_is_well_for_a_while(self, times: int) -> None:
        for _ in range(times):
            self.driver.process.catch_up()
            self.driver.reconcile()
            self.live()

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 9), happens=st.sampled_from(["lives", "fails", "stumbles", "succeeds", "is deleted"]))
    def pod(self, which: int, happens: str) -> None:
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        if happens == "lives":
            self.live(pod)
        elif happens == "is deleted":
            self.world.delete(PODS, pod["metadata"]["name"])
        elif pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED:
            phase = {"fails": "Failed", "succeeds": "Succeeded", "stumbles": "Running"}[happens]
            self.world.report(pod, phase, ready=False)

    @rule(name=st.sampled_from(NAMES))
    def node_comes_or_goes(self, name: str) -> None:
        if self.world.find(NODES, name) is None:
            self.add_node(name)
            return
        self.world.delete(NODES, name)
        for pod in self.world.pods():
            if pod["spec"].get("nodeName") == name:  # as the collector of pods would do it
                self.world.stop(pod)

    @rule(name=st.sampled_from(NAMES), disk=st.sampled_from(["ssd", "hdd"]))
    def label_node(self, name: str, disk: str) -> None:
        if self.world.find(NODES, name) is not None:
            self.world.change(NODES, name, lambda node: node["metadata"].update(labels={"disk": disk}))

    @rule(name=st.sampled_from(NAMES), effect=st.sampled_from(["", "NoSchedule", "NoExecute"]))
    def taint_node(self, name: str, effect: str) -> None:
        taints = [{"key": "dedicated", "effect": effect}] if effect else []
        if self.world.find(NODES, name) is not None:
            self.world.change(NODES, name, lambda node: node["spec"].update(taints=taints))

    @rule(image=st.integers(0, 2), picky=st.booleans())
    def update(self, image: int, *, picky: bool) -> None:
        self.change({"template": template(image, picky=picky)})

    @rule(shares=st.sampled_from(SHARES))
    def change_strategy(self, shares: tuple[Any, Any]) -> None:
        if self.spec()["updateStrategy"]["type"] == "RollingUpdate":
            rolling = {"maxUnavailable": shares[0], "maxSurge": shares[1]}
            self.change({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 9))
    def orphan_pod(self, which: int) -> None:
        """Take a pod's owner away, as somebody may: it is taken back."""
        pods = self.world.pods()
        name = pods[which % len(pods)]["metadata"]["name"]
        self.world.change(PODS, name, lambda pod: pod["metadata"].update(ownerReferences=[]))

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if new is not None:
            assert len(controllers(new)) <= 1, "two controllers"
        if self.driver is None or not self.driver.acting:
            return
        if kind == DAEMON_SETS and old is not None and new is not None:
            assert new["spec"] == old["spec"]
            assert DaemonSetStrategy().validate_status(new, old) == [], "the api refuses the status"
        elif kind == PODS and old is None and new is not None:
            self.check_creation(new)
        elif kind == PODS and old is not None and not leaving(old) and (new is None or leaving(new)):
            self.check_deletion(old)

    def check_creation(self, pod: Document) -> None:
        """A node gets a pod when it is to have one and has none; while surging, one beside a former template's."""
        node = target(pod)
        assert self.should_run(node)
        ours = self.world.pods(self.found()["metadata"]["uid"])
        there = [each for each in ours if target(each) == node and each["status"]["phase"] not in ENDED]
        staying = [each for each in there if not leaving(each)]
        if self.surge() == 0:
            assert not there, "two pods on a node"
        else:
            assert len(staying) <= 1, "three pods on a node"
            hash_ = pod["metadata"]["labels"][HASH]
            assert all(each["metadata"]["labels"][HASH] != hash_ for each in staying), "twice the same"

    def check_deletion(self, document: Document) -> None:
        """A pod that serves goes when its node is not to have it, or has a better one, or enough others serve."""
        seen, name, node = self.seen(), document["metadata"]["name"], target(document)
        pod = self.driver.seen(PODS, name)
        if is_finished(pod) or is_finished(self.present(name)) or not self.serves(pod) or not self.should_run(node):
            return
        others = [each for each in self.staying() if each.metadata.name != name]
        if any(target_of(each) == node for each in others):
            if self.surge() and pod.metadata.labels[HASH] != others[0].metadata.labels.get(HASH):
                beside = [each for each in others if target_of(each) == node]
                assert any(map(self.serves, beside)), "the new one does not serve yet"
            return
        assert seen.spec.update_strategy.type == "RollingUpdate"
        assert not self.surge()
        nodes = [each.name for each in self.driver.process.informers.of(NODES).items() if self.should_run(each.name)]
        served = {target_of(each) for each in others if self.serves(each)} & set(nodes)
        assert len(served) >= len(nodes) - bounds(seen, len(nodes)).unavailable, "too few are left"

    def staying(self) -> list[Pod]:
        """Return the pods that the process knows and has not deleted."""
        known = [self.driver.seen(PODS, each["metadata"]["name"]) for each in self.world.pods() if not leaving(each)]
        return [each for each in known if each is not None]

    def serves(self, pod: Pod) -> bool:
        available = available_in(pod, self.seen().spec.min_ready_seconds, self.world.clock.now()) == 0
        return available and not pod.metadata.deletion_timestamp

    def surge(self) -> int:
        return bounds(self.seen(), 4).surge if self.seen().spec.update_strategy.type == "RollingUpdate" else 0

    def should_run(self, node: str) -> bool:
        found = self.driver.seen(NODES, node)
        if found is None or found.spec.taints:
            return False
        picky = b"nodeSelector" in bytes(self.seen().spec.template.spec)
        return not picky or found.metadata.labels["disk"] == "ssd"

    # -- how it is done ------------------------------------------------------------------------------------------

    def present(self, name: str) -> Pod:
        found = self.world.find(PODS, name)
        assert found is not None
        return msgspec.convert(found, Pod)

    def seen(self) -> DaemonSet:
        found = self.driver.seen(DAEMON_SETS, "agent")
        assert found is not None
        return found

    def found(self) -> Document:
        found = self.world.find(DAEMON_SETS, "agent")
        assert found is not None
        return found

    def spec(self) -> Document:
        return self.found()["spec"]

    def change(self, fields: Document) -> None:
        def change(document: Document) -> None:
            document["spec"].update(fields)

        self.world.change(DAEMON_SETS, "agent", change)

    def live(self, *pods: Document) -> None:
        """Do what comes next in the life of pods, or of all; what is bound to a node that is gone is collected."""
        for pod in pods or self.world.pods():
            if self.world.find(NODES, target(pod)) is not None:
                self.world.live(pod, target(pod))
            elif pod["spec"].get("nodeName"):
                self.world.stop(pod)

    def finish(self) -> None:
        """From wherever it is, when nothing more goes wrong, every node has the pod that it should have; then quiet."""
        for _ in range(80):
            if self.driver.writes() == 0 and self.is_there():
                break
            self.live()
            self.driver.pass_time(1000)
        else:
            raise AssertionError([self.found(), self.world.pods(), self.driver.failures[-3:]])
        assert self.driver.writes() == 0, "it is not quiet"
        hashes = {pod["metadata"]["labels"][HASH] for pod in self.world.pods()}
        old = [each for each in self.world.all(CONTROLLER_REVISIONS) if each["metadata"]["labels"][HASH] not in hashes]
        assert len(old) <= 2, "the present one, and one of the past"

    def is_there(self) -> bool:
        found, pods = self.found(), self.world.pods()
        wanted = sorted(name for name in NAMES if self.should_run(name))
        may_stay = {name for name in NAMES if self.driver.seen(NODES, name) is not None} - set(wanted)
        there = sorted(name for name in map(target, pods) if name not in may_stay)
        if there != wanted or not all(map(is_ready, pods)) or any(map(leaving, pods)):
            return False
        status = found["status"]
        if self.spec()["updateStrategy"]["type"] == "RollingUpdate":
            newest = max(self.world.all(CONTROLLER_REVISIONS), key=lambda each: each["revision"])
            current = newest["metadata"]["labels"][HASH]
            if any(pod["metadata"]["labels"][HASH] != current for pod in pods if target(pod) in wanted):
                return False
            assert status.get("updatedNumberScheduled", 0) == len(wanted)
        assert status["observedGeneration"] == found["metadata"]["generation"]
        names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable")
        return [status.get(name, 0) for name in names] == [len(wanted)] * 4 and "numberUnavailable" not in status


def target(pod: Document) -> str:
    return target_of(msgspec.convert(pod, Pod))


TestDaemonSets = DaemonSetMachine.TestCase
TestDaemonSets.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
