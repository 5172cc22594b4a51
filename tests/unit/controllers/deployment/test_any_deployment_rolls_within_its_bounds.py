"""Deployments and their replica sets against any changes, failing pods, late and lost events, crashes anywhere."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from lagging_world import Document
from workload_world import ENDED, Driver, LaggingMachine, controllers, is_ready, leaving

from orch.objects.scheme import DEPLOYMENTS, PODS, REPLICA_SETS, Kind
from orch.runtime.reconcile import Key, Result
from orch_controllers.deployment.reconciler import DeploymentReconciler
from orch_controllers.pod_state import is_ready as pod_is_ready
from orch_controllers.replicaset.reconciler import ReplicaSetReconciler
from orch_controllers.shares import resolve

KINDS: list[Kind[Any]] = [DEPLOYMENTS, REPLICA_SETS, PODS]
LABELS = {"app": "web"}
KEY = Key("default", "web")
SHARES = [(1, 0), (0, 1), (1, 1), (2, 1), ("50%", "25%"), ("100%", 0)]


def template(image: int) -> Document:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": f"web:{image}"}]}}


class Both:
    """The two controllers of one process."""

    def __init__(self, context: Any) -> None:
        self.deployments = DeploymentReconciler(context)
        self.sets = ReplicaSetReconciler(context)

    async def reconcile(self, key: Key) -> Result:
        return await (self.deployments if key == KEY else self.sets).reconcile(key)


class DeploymentMachine(LaggingMachine):
    """One deployment in a world in which everything that may happen does."""

    kinds = KINDS

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.fewest = 1 << 30
        self.stumbled = False
        self.recreates = False

    @initialize(
        replicas=st.integers(0, 5),
        shares=st.sampled_from(SHARES),
        recreates=st.sampled_from([False, False, False, True]),
        ready=st.sampled_from([0, 0, 10]),
    )
    def create(self, replicas: int, shares: tuple[Any, Any], ready: int, *, recreates: bool) -> None:
        self.recreates = recreates
        spec: Document = {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "minReadySeconds": ready,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "Recreate"} if recreates else rolling(shares),
            "template": template(0),
        }
        self.world.create(DEPLOYMENTS, "default", {"metadata": {"name": "web"}, "spec": spec, "status": {}})
        self.driver = Driver(self.world, KINDS, Both, KEY)
        self.note_bounds()

    def aim(self, which: int) -> None:
        keys = self.keys()
        self.driver.key = keys[which % len(keys)]

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 4))
    def all_is_well_for_a_while(self, times: int) -> None:
        for _ in range(times):
            for which in range(4):
                self.driver.process.catch_up()
                self.reconcile(which)
            for pod in self.world.pods():
                self.world.live(pod, "node-1")

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 9))
    def pod_lives(self, which: int) -> None:
        pods = self.world.pods()
        self.world.live(pods[which % len(pods)], "node-1")

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 9), happens=st.sampled_from(["fails", "stumbles", "is deleted", "is relabelled"]))
    def pod_stumbles(self, which: int, happens: str) -> None:
        self.stumbled = True
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        name = pod["metadata"]["name"]
        if happens == "is deleted":
            self.world.delete(PODS, name)
        elif happens == "is relabelled":
            self.world.change(PODS, name, lambda found: found["metadata"]["labels"].update(app="debugging"))
        elif pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED:
            self.world.report(pod, "Failed" if happens == "fails" else "Running", ready=False)

    @precondition(lambda self: self.world.all(REPLICA_SETS))
    @rule(which=st.integers(0, 3))
    def orphan_set(self, which: int) -> None:
        """Take a replica set's owner away, as somebody may: it is taken back."""
        sets = self.world.all(REPLICA_SETS)
        name = sets[which % len(sets)]["metadata"]["name"]
        self.world.change(REPLICA_SETS, name, lambda found: found["metadata"].update(ownerReferences=[]))

    @rule(replicas=st.integers(0, 5))
    def resize(self, replicas: int) -> None:
        self.change({"replicas": replicas})

    @rule(image=st.integers(0, 3))
    def update(self, image: int) -> None:
        self.change({"template": template(image)})

    @rule(shares=st.sampled_from(SHARES))
    def change_strategy(self, shares: tuple[Any, Any]) -> None:
        if not self.recreates:
            self.change({"strategy": rolling(shares)})

    @rule(paused=st.booleans())
    def pause(self, *, paused: bool) -> None:
        self.change({"paused": paused})

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if new is not None:
            assert len(controllers(new)) <= 1, "two controllers"
        if self.driver is None or not self.driver.acting:
            return
        if kind == REPLICA_SETS and old is not None and new is not None:
            shrinks = new["spec"]["replicas"] < old["spec"]["replicas"]
            self.stumbled = self.stumbled or (shrinks and self.seen_serving() < self.fewest)
        elif kind == REPLICA_SETS and new is None and old is not None:
            ours = [pod for pod in self.active() if old["metadata"]["uid"] in controllers(pod)]
            assert not ours, "its pods would go with it"
        elif kind == PODS and old is None and new is not None:
            self.check_creation(new)
        elif kind == PODS and old is not None and not leaving(old) and (new is None or leaving(new)):
            serving = [pod for pod in self.active() if is_ready(pod) and pod is not old]
            if is_ready(old) and not self.stumbled and not self.recreates:
                assert len(serving) >= self.fewest, "too few are left"

    def check_creation(self, pod: Document) -> None:
        if not self.recreates:
            assert len(self.active()) + 1 <= self.most, "too many at a time"
            return
        image = pod["spec"]["containers"][0]["image"]
        others = {each["spec"]["containers"][0]["image"] for each in self.world.pods() if not self.is_stray(each)}
        assert self.stumbled or others <= {image}, "two kinds at a time"

    def active(self) -> list[Document]:
        """Return the pods that count: neither on their way out, nor ended, nor taken out by their labels."""
        return [
            pod
            for pod in self.world.pods()
            if not leaving(pod) and pod["status"]["phase"] not in ENDED and not self.is_stray(pod)
        ]

    def is_stray(self, pod: Document) -> bool:
        return pod["metadata"]["labels"]["app"] != "web"

    def seen_serving(self) -> int:
        """Return how many pods the process knows to serve: who knows of too few cannot tell what it may spare."""
        pods = [item.object for item in self.driver.process.informers.of(PODS).items("default")]
        return sum(not pod.metadata.deletion_timestamp and pod_is_ready(pod) for pod in pods)

    def note_bounds(self) -> None:
        """Remember the widest bounds that were asked for: what was begun under them may still be under way."""
        spec = self.spec()
        strategy = spec["strategy"].get("rollingUpdate", {})
        surge = resolve(strategy.get("maxSurge"), spec["replicas"], 0, up=True)
        unavailable = resolve(strategy.get("maxUnavailable"), spec["replicas"], 0, up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        self.most = max(self.most, spec["replicas"] + surge)
        self.fewest = min(self.fewest, max(spec["replicas"] - unavailable, 0))

    # -- how it is done ------------------------------------------------------------------------------------------

    def found(self) -> Document:
        found = self.world.find(DEPLOYMENTS, "web")
        assert found is not None
        return found

    def spec(self) -> Document:
        return self.found()["spec"]

    def change(self, fields: Document) -> None:
        self.world.change(DEPLOYMENTS, "web", lambda document: document["spec"].update(fields))
        self.note_bounds()

    def keys(self) -> list[Key]:
        return [KEY, *(Key("default", each["metadata"]["name"]) for each in self.world.all(REPLICA_SETS))]

    def writes(self) -> int:
        """Return how many writes one more look at everything makes."""
        total = 0
        for key in self.keys():
            self.driver.key = key
            total += self.driver.writes()
        return total

    def finish(self) -> None:
        """From wherever it is, when nothing more goes wrong, it is rolled out, and quiet."""
        self.change({"paused": False})
        for _ in range(80):
            if self.writes() == 0 and self.is_rolled_out():
                break
            for pod in self.world.pods():
                self.world.live(pod, "node-1")
            self.driver.pass_time(11)
        else:
            raise AssertionError([self.found(), self.world.all(REPLICA_SETS), self.driver.failures[-3:]])
        old = [each for each in self.world.all(REPLICA_SETS) if each["spec"]["replicas"] == 0]
        assert len(old) <= (1 if self.spec()["replicas"] else 2), "revisions past the limit"

    def is_rolled_out(self) -> bool:
        found, replicas = self.found(), self.spec()["replicas"]
        status, active = found["status"], self.active()
        image = self.spec()["template"]["spec"]["containers"][0]["image"]
        if [each["spec"]["containers"][0]["image"] for each in active] != [image] * replicas:
            return False
        assert status["observedGeneration"] == found["metadata"]["generation"]
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        progressing = next(each for each in status["conditions"] if each["type"] == "Progressing")
        return counts == [replicas] * 3 and progressing["reason"] == "NewReplicaSetAvailable"


def rolling(shares: tuple[Any, Any]) -> Document:
    update = {"maxSurge": shares[0], "maxUnavailable": shares[1]}
    return {"type": "RollingUpdate", "rollingUpdate": update}


TestDeployments = DeploymentMachine.TestCase
TestDeployments.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
