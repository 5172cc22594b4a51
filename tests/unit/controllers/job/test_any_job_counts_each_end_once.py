"""Jobs against random ends of pods, deletions, lagging and repeated events, lost answers, and crashes anywhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lagging_world import Crash, Document, Process, World, run, unanswered

from orch.errors import ConflictError, UnavailableError
from orch.objects.scheme import JOBS, PODS, Kind
from orch.runtime.reconcile import Key
from orch_api.kinds.job_status import status_change
from orch_controllers.job.indexes import Indexes
from orch_controllers.job.pods import FINALIZER
from orch_controllers.job.reconciler import JobReconciler

KEY = Key("default", "work")
INDEX = "batch.kubernetes.io/job-completion-index"
ENDED = {"Succeeded", "Failed"}


def is_active(pod: Document) -> bool:
    return pod["status"]["phase"] not in ENDED and "deletionTimestamp" not in pod["metadata"]


class JobMachine(RuleBasedStateMachine):
    """One job in a world in which everything that may happen does."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.world.check = self.check
        self.noted: set[str] = set()
        self.ended: dict[str, str] = {}
        self.indexed = False

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.loop.close()

    @initialize(
        parallelism=st.integers(1, 4),
        completions=st.integers(1, 5),
        mode=st.sampled_from(["NonIndexed", "Indexed", "PerIndex", "Work queue"]),
        limit=st.integers(0, 8),
        replacement=st.sampled_from(["TerminatingOrFailed", "Failed"]),
        ignoring=st.booleans(),
    )
    def create(
        self, parallelism: int, completions: int, mode: str, limit: int, replacement: str, *, ignoring: bool
    ) -> None:
        spec: Document = {
            "parallelism": parallelism,
            "completions": None if mode == "Work queue" else completions,
            "backoffLimit": limit,
            "podReplacementPolicy": replacement,
            "selector": {"matchLabels": {"job": "work"}},
            "template": {"metadata": {"labels": {"job": "work"}}, "spec": {"restartPolicy": "Never"}},
        }
        self.indexed = mode in {"Indexed", "PerIndex"}
        if self.indexed:
            spec["completionMode"] = "Indexed"
        if mode == "PerIndex":
            spec |= {"backoffLimitPerIndex": limit // 3, "backoffLimit": 2**31 - 1}
        if ignoring:
            rule_ = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
            spec |= {"podFailurePolicy": {"rules": [rule_]}, "podReplacementPolicy": "Failed"}
        self.world.create(JOBS, "default", {"metadata": {"name": "work"}, "spec": spec, "status": {}})
        self.start()

    def start(self) -> None:
        self.process = Process(self.world, [JOBS, PODS])
        self.reconciler = JobReconciler(self.process.context)

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from([PODS, JOBS]), how=st.sampled_from(["next", "all", "again", "lost"]))
    def deliver(self, kind: Kind[Any], how: str) -> None:
        if how == "again":
            self.process.again(kind)
        elif how == "lost":
            self.process.relist(kind)
        else:
            self.process.deliver(kind, 1 if how == "next" else 1000)

    @rule(
        fresh=st.booleans(),
        ends=st.lists(st.sampled_from(["Succeeded", "Failed", "Disrupted", "Deleted"]), max_size=2),
        fault=st.sampled_from(["", "lost answer", "crash"]),
        writes=st.integers(1, 4),
        after=st.booleans(),
    )
    def pods_end_and_the_job_is_reconciled(
        self, ends: list[str], fault: str, writes: int, *, fresh: bool, after: bool
    ) -> None:
        for how in ends:
            self.end_any(how)
        if fresh:
            self.wait(1)
        if fault:
            self.process.client.fail(writes, Crash() if fault == "crash" else unanswered(), after=after)
        try:
            self.turn()
        except Crash:
            self.start()
        self.process.client.failure = None

    @rule(seconds=st.sampled_from([1, 10, 700]))
    def wait(self, seconds: int) -> None:
        self.process.catch_up()  # expectations are given up after five minutes, as client-go's
        self.loop.run_until_complete(self.world.clock.advance(seconds))

    @rule()
    def stop_deleted_pods(self) -> None:
        for pod in self.world.all(PODS):
            if "deletionTimestamp" in pod["metadata"] and pod["status"]["phase"] not in ENDED:
                self.end(pod, "Failed")

    @rule(suspend=st.booleans())
    def suspend(self, *, suspend: bool) -> None:
        if not self.finished():
            self.world.change(JOBS, "work", lambda job: job["spec"].update(suspend=suspend))

    @rule(parallelism=st.integers(0, 4))
    def resize(self, parallelism: int) -> None:
        self.world.change(JOBS, "work", lambda job: job["spec"].update(parallelism=parallelism))

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if kind == JOBS and old is not None and new is not None:
            self.check_job(old, new)
        elif kind == PODS and old is None:
            active = sum(map(is_active, self.world.all(PODS))) + 1
            assert active <= self.allowed(), "more pods than were asked for"
        elif kind == PODS and old is not None:
            self.check_release(old, new)

    def allowed(self) -> int:
        """Return the largest parallelism that the process may believe in."""
        item = self.process.informers.of(JOBS).get("default", "work")
        assert item is not None
        job = self.world.find(JOBS, "work")
        assert job is not None
        return max(item.object.spec.parallelism or 0, job["spec"]["parallelism"])

    def check_job(self, old: Document, new: Document) -> None:
        assert status_change(new, old) == [], "the api refuses the status"
        before, after = self.uncounted(old), self.uncounted(new)
        assert not (after - before) & self.noted, "a pod is noted once more"
        self.noted |= after
        counts = [document["status"].get("failed", 0) for document in (old, new)]
        gone = before - after
        if not self.indexed:
            counts = [
                document["status"].get("succeeded", 0) + count
                for document, count in zip((old, new), counts, strict=True)
            ]
            assert counts[1] - counts[0] == len(gone), "a pod that left the notes is not counted, or twice"
        else:
            assert counts[1] - counts[0] == len(gone)
            done = Indexes.parse(new["status"].get("completedIndexes", ""), 100)
            assert set(Indexes.parse(old["status"].get("completedIndexes", ""), 100)) <= set(done)
            assert {str(index) for index in done} <= set(self.ended.values())
        for uid in gone:
            assert not any(
                pod["metadata"]["uid"] == uid and FINALIZER in pod["metadata"].get("finalizers", ())
                for pod in self.world.all(PODS)
            ), "a pod is counted that may be counted again"

    def check_release(self, old: Document, new: Document | None) -> None:
        """A pod that succeeded is let go only when its success is in the status, or it was not wanted any more."""
        held = FINALIZER in old["metadata"].get("finalizers", ())
        still = new is not None and FINALIZER in new["metadata"].get("finalizers", ())
        if not held or still or old["status"]["phase"] != "Succeeded":
            return
        job = self.world.find(JOBS, "work")
        item = self.process.informers.of(PODS).get("default", old["metadata"]["name"])
        assert job is not None
        assert item is not None
        if item.object.status.phase not in ENDED and not item.object.metadata.deletion_timestamp:
            return  # what is deleted because it is too much may succeed in that moment
        index = old["metadata"].get("annotations", {}).get(INDEX)
        done = Indexes.parse(job["status"].get("completedIndexes", ""), 100)
        assert old["metadata"]["uid"] in self.noted or (index is not None and int(index) in done)

    @invariant()
    def counts_are_of_pods(self) -> None:
        job = self.world.find(JOBS, "work")
        if job is not None:
            status = job["status"]
            assert status.get("active", 0) >= 0
            assert status.get("ready", 0) >= 0

    # -- how it is done ------------------------------------------------------------------------------------------

    def end_any(self, how: str) -> None:
        """End the first pod that is active, or have it deleted."""
        pod = next(filter(is_active, self.world.all(PODS)), None)
        if pod is not None and how == "Deleted":
            self.world.delete(PODS, pod["metadata"]["name"])
        elif pod is not None:
            self.end(pod, how)

    def turn(self) -> None:
        with contextlib.suppress(ConflictError, UnavailableError):
            run(self.loop, self.reconciler.reconcile(KEY))

    def end(self, pod: Document, how: str) -> None:
        meta = pod["metadata"]
        if how == "Succeeded" and FINALIZER in meta.get("finalizers", ()):
            self.ended[meta["uid"]] = meta.get("annotations", {}).get(INDEX, "")

        def change(document: Document) -> None:
            terminated = {"exitCode": int(how != "Succeeded"), "finishedAt": self.world.now()}
            document["status"] = {
                "phase": "Succeeded" if how == "Succeeded" else "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": "True"}] if how == "Disrupted" else [],
                "containerStatuses": [{"name": "main", "state": {"terminated": terminated}}],
            }

        self.world.change(PODS, meta["name"], change)

    def finished(self) -> bool:
        job = self.world.find(JOBS, "work")
        conditions = job["status"].get("conditions", ()) if job is not None else ()
        return any(each["type"] in {"Complete", "Failed"} and each["status"] == "True" for each in conditions)

    def uncounted(self, job: Document) -> set[str]:
        pods = job["status"].get("uncountedTerminatedPods", {})
        return {*pods.get("succeeded", ()), *pods.get("failed", ())}

    def finish(self) -> None:
        """From wherever it is, with pods that succeed and nothing more that goes wrong, the job ends, and is quiet."""
        if self.world.find(JOBS, "work") is None:
            return
        self.process.client.failure = None
        self.world.change(JOBS, "work", lambda job: job["spec"].update(suspend=False, parallelism=2))
        for _ in range(60):
            if self.finished():
                break
            self.process.catch_up()
            self.turn()
            for pod in self.world.all(PODS):
                if is_active(pod):
                    self.end(pod, "Succeeded")
            self.stop_deleted_pods()
            self.wait(700)
        assert self.finished(), self.world.find(JOBS, "work")
        self.process.catch_up()
        self.turn()
        self.process.catch_up()
        before = self.process.client.writes
        self.turn()
        assert self.process.client.writes == before, "it is not quiet"
        assert not [pod for pod in self.world.all(PODS) if FINALIZER in pod["metadata"].get("finalizers", ())]
        assert not [pod for pod in self.world.all(PODS) if is_active(pod)]


def test_a_job_that_is_suspended_before_its_first_status_ends_with_the_pod_that_it_has() -> None:
    machine = JobMachine()
    machine.create(1, 1, "NonIndexed", 0, "TerminatingOrFailed", ignoring=False)
    machine.suspend(suspend=True)
    machine.turn()
    machine.end_any("Succeeded")
    machine.wait(1)
    machine.turn()
    assert machine.finished()
    machine.teardown()


TestJobs = JobMachine.TestCase
TestJobs.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
