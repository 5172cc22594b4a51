"""Stateful sets against random changes, failing and lost pods, late, repeated and lost events, crashes anywhere."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from lagging_world import Document
from workload_world import ENDED, Driver, LaggingMachine, controllers, is_ready, leaving

from orch.objects.apps import StatefulSet
from orch.objects.pods import Pod
from orch.objects.scheme import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS, Kind
from orch.runtime.reconcile import Key
from orch_api.kinds.stateful_sets import StatefulSetStrategy
from orch_controllers.pod_state import available_in, is_finished
from orch_controllers.statefulset.identity import REVISION, in_range, parse
from orch_controllers.statefulset.reconciler import StatefulSetReconciler

KINDS: list[Kind[Any]] = [STATEFUL_SETS, PODS, CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS]
LABELS = {"app": "web"}


def template(image: int) -> Document:
    containers = [{"name": "main", "image": f"web:{image}"}]
    return {"metadata": {"labels": LABELS}, "spec": {"containers": containers}}


class StatefulSetMachine(LaggingMachine):
    """One stateful set in a world in which everything that may happen does."""

    kinds = KINDS

    @initialize(
        replicas=st.integers(0, 4),
        policy=st.sampled_from(["OrderedReady", "Parallel"]),
        strategy=st.sampled_from(["RollingUpdate", "RollingUpdate", "OnDelete"]),
        claims=st.booleans(),
        ready=st.sampled_from([0, 0, 10]),
    )
    def create(self, replicas: int, policy: str, strategy: str, ready: int, *, claims: bool) -> None:
        rolling = {"rollingUpdate": {"partition": 0, "maxUnavailable": 1}} if strategy == "RollingUpdate" else {}
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
        spec: Document = {
            "replicas": replicas,
            "serviceName": "web",
            "selector": {"matchLabels": LABELS},
            "podManagementPolicy": policy,
            "updateStrategy": {"type": strategy, **rolling},
            "minReadySeconds": ready,
            "revisionHistoryLimit": 1,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": template(0),
            "volumeClaimTemplates": [claim] if claims else [],
        }
        self.world.create(STATEFUL_SETS, "default", {"metadata": {"name": "web"}, "spec": spec, "status": {}})
        self.driver = Driver(self.world, KINDS, StatefulSetReconciler, Key("default", "web"))

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 3))
    def all_is_well_for_a_while(self, times: int) -> None:
        for _ in range(times):
            self.driver.process.catch_up()
            self.driver.reconcile()
            for pod in self.world.pods():
                self.world.live(pod, "node-1")

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 9), happens=st.sampled_from(["lives", "fails", "stumbles", "succeeds", "is deleted"]))
    def pod(self, which: int, happens: str) -> None:
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        if happens == "lives":
            self.world.live(pod, "node-1")
        elif happens == "is deleted":
            self.world.delete(PODS, pod["metadata"]["name"])
        elif pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED:
            phase = {"fails": "Failed", "succeeds": "Succeeded", "stumbles": "Running"}[happens]
            self.world.report(pod, phase, ready=False)

    @rule(replicas=st.integers(0, 4), start=st.sampled_from([0, 0, 1]))
    def resize(self, replicas: int, start: int) -> None:
        self.change({"replicas": replicas, "ordinals": {"start": start}})

    @rule(image=st.integers(0, 2))
    def update(self, image: int) -> None:
        self.change({"template": template(image)})

    @rule(partition=st.integers(0, 3), share=st.sampled_from([1, 2, "50%"]))
    def change_strategy(self, partition: int, share: int | str) -> None:
        if self.spec()["updateStrategy"]["type"] == "RollingUpdate":
            rolling = {"partition": partition, "maxUnavailable": share}
            self.change({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})

    @rule(deleted=st.sampled_from(["Retain", "Delete"]), scaled=st.sampled_from(["Retain", "Delete"]))
    def change_retention(self, deleted: str, scaled: str) -> None:
        self.change({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}})

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
        if kind == STATEFUL_SETS and old is not None and new is not None:
            assert new["spec"] == old["spec"]
            assert StatefulSetStrategy().validate_status(new, old) == [], "the api refuses the status"
        elif kind == PERSISTENT_VOLUME_CLAIMS:
            assert new is not None, "claims go with their owners, nothing else"
        elif kind == PODS and old is None and new is not None:
            self.check_creation(new)
        elif kind == PODS and old is not None and not leaving(old) and (new is None or leaving(new)):
            self.check_deletion(old)

    def check_creation(self, pod: Document) -> None:
        """In order, the pods before one serve; each is made of the revision that its number calls for."""
        seen = self.seen()
        ordinal = parse(pod["metadata"]["name"])[1]
        assert in_range(seen, ordinal)
        if seen.spec.pod_management_policy == "OrderedReady":
            for before in range(seen.spec.ordinals.start, ordinal):
                former = self.driver.seen(PODS, f"web-{before}")
                assert former is not None
                assert self.serves(seen, former) or self.serves(seen, self.present(f"web-{before}"))

    def check_deletion(self, document: Document) -> None:
        """Which pod may go: one that has ended, that is not wanted, or of a former revision while enough serve."""
        seen, pod = self.seen(), self.driver.seen(PODS, document["metadata"]["name"])
        ordinal = parse(pod.metadata.name)[1]
        if is_finished(pod) or is_finished(self.present(pod.metadata.name)):  # of those adopted it has read the latest
            return
        ours = [self.driver.seen(PODS, each["metadata"]["name"]) for each in self.world.pods() if not leaving(each)]
        if not in_range(seen, ordinal):
            if seen.spec.pod_management_policy == "OrderedReady":
                higher = [each for each in ours if each is not None and parse(each.metadata.name)[1] > ordinal]
                assert all(in_range(seen, parse(each.metadata.name)[1]) for each in higher), "the highest goes first"
            return
        strategy = seen.spec.update_strategy
        assert strategy.type == "RollingUpdate", "pods that are wanted go by other hands only"
        assert strategy.rolling_update is not None
        assert ordinal >= seen.spec.ordinals.start + strategy.rolling_update.partition
        if not self.serves(seen, pod):
            assert seen.spec.pod_management_policy == "Parallel"
            return
        replicas = seen.spec.replicas or 0
        share = strategy.rolling_update.max_unavailable
        most = max(replicas // 2, 1) if share == "50%" else share
        serving = [
            each
            for each in ours
            if each is not None and in_range(seen, parse(each.metadata.name)[1]) and self.serves(seen, each)
        ]
        assert isinstance(most, int)
        assert len(serving) - 1 >= replicas - most, "too few are left"

    def serves(self, owner: StatefulSet, pod: Pod) -> bool:
        available = available_in(pod, owner.spec.min_ready_seconds, self.world.clock.now()) == 0
        return available and not pod.metadata.deletion_timestamp

    def present(self, name: str) -> Pod:
        found = self.world.find(PODS, name)
        assert found is not None
        return msgspec.convert(found, Pod)

    # -- how it is done ------------------------------------------------------------------------------------------

    def seen(self) -> StatefulSet:
        found = self.driver.seen(STATEFUL_SETS, "web")
        assert found is not None
        return found

    def found(self) -> Document:
        found = self.world.find(STATEFUL_SETS, "web")
        assert found is not None
        return found

    def spec(self) -> Document:
        return self.found()["spec"]

    def change(self, fields: Document) -> None:
        self.world.change(STATEFUL_SETS, "web", lambda document: document["spec"].update(fields))

    def collect(self) -> None:
        """Do what the garbage collector does with claims."""
        uids = {each["metadata"]["uid"] for each in self.world.objects.values()}
        for claim in self.world.all(PERSISTENT_VOLUME_CLAIMS):
            owners = controllers(claim)
            if owners and not uids & set(owners):
                self.world.delete(PERSISTENT_VOLUME_CLAIMS, claim["metadata"]["name"])

    def finish(self) -> None:
        """From wherever it is, when nothing more goes wrong, it comes to what was asked for, and is quiet."""
        for _ in range(80):
            if self.driver.writes() == 0 and self.is_there():
                break
            for pod in self.world.pods():
                self.world.live(pod, "node-1")
            self.collect()
            self.driver.pass_time(11)
        else:
            raise AssertionError([self.found(), self.world.pods(), self.driver.failures[-3:]])
        assert self.driver.writes() == 0, "it is not quiet"
        self.check_claims()
        revisions = self.world.all(CONTROLLER_REVISIONS)
        live = {pod["metadata"]["labels"][REVISION] for pod in self.world.pods()}
        live |= {self.found()["status"]["currentRevision"], self.found()["status"]["updateRevision"]}
        assert len([each for each in revisions if each["metadata"]["name"] not in live]) <= 1

    def is_there(self) -> bool:
        found, spec = self.found(), self.spec()
        status, start, replicas = found["status"], spec.get("ordinals", {}).get("start", 0), spec["replicas"]
        pods = self.world.pods()
        names = {f"web-{ordinal}" for ordinal in range(start, start + replicas)}
        if {pod["metadata"]["name"] for pod in pods} != names or not all(map(is_ready, pods)):
            return False
        if spec["updateStrategy"]["type"] == "RollingUpdate":
            first = start + spec["updateStrategy"]["rollingUpdate"]["partition"]
            for pod in pods:
                updated = pod["metadata"]["labels"][REVISION] == status["updateRevision"]
                if parse(pod["metadata"]["name"])[1] >= first and not updated:
                    return False
        assert status["observedGeneration"] == found["metadata"]["generation"]
        ready = (status["replicas"], status.get("readyReplicas", 0))
        return ready == (replicas, replicas) and status["availableReplicas"] == replicas

    def check_claims(self) -> None:
        """Every pod has its claim, and each claim the owner that the policy says."""
        if not self.spec()["volumeClaimTemplates"]:
            return
        owner = self.found()["metadata"]["uid"]
        keeps = self.spec()["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
        for pod in self.world.pods():
            claim = self.world.find(PERSISTENT_VOLUME_CLAIMS, f"data-{pod['metadata']['name']}")
            assert claim is not None
            assert controllers(claim) == ([] if keeps else [owner])


TestStatefulSets = StatefulSetMachine.TestCase
TestStatefulSets.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
