"""A cron job, its jobs and their pods, against late and lost events, crashes and lost answers, as time goes by."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from lagging_world import Document
from registry_world import RegistryMachine, is_leaving, topic
from workload_world import ENDED

from orch.objects.scheme import CRON_JOBS, JOBS, PODS, Kind


class CronMachine(RegistryMachine):
    """One cron job that runs every other minute, in a world in which everything that may happen does."""

    kinds = [CRON_JOBS, JOBS, PODS]
    topics = (topic("job"), topic("garbage"))

    def prepare(self) -> None:
        self.policy = "Allow"

    @initialize(policy=st.sampled_from(["Allow", "Forbid", "Replace"]), stays=st.sampled_from([None, 0, 30]))
    def create(self, policy: str, stays: int | None) -> None:
        self.policy = policy
        pod = {"containers": [{"name": "main", "image": "work"}], "restartPolicy": "Never"}
        job: Document = {"parallelism": 1, "completions": 1, "backoffLimit": 2, "completionMode": "NonIndexed"}
        job |= {"selector": {"matchLabels": {"app": "work"}}, "manualSelector": True}
        job["template"] = {"metadata": {"labels": {"app": "work"}}, "spec": pod}
        if stays is not None:
            job["ttlSecondsAfterFinished"] = stays
        spec = {
            "schedule": "*/2 * * * *",
            "concurrencyPolicy": policy,
            "successfulJobsHistoryLimit": 2,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": job},
        }
        self.world.create(CRON_JOBS, "default", {"metadata": {"name": "work"}, "spec": spec, "status": {}})

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(suspend=st.booleans())
    def suspend(self, *, suspend: bool) -> None:
        if self.world.find(CRON_JOBS, "work") is not None:
            self.world.change(CRON_JOBS, "work", lambda found: found["spec"].update(suspend=suspend))

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 4), phase=st.sampled_from(["", "", "Succeeded", "Failed"]))
    def change_pod(self, which: int, phase: str) -> None:
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        if phase and pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED:
            self.world.report(pod, phase, ready=False)
        else:
            self.world.live(pod, "node-1")

    @precondition(lambda self: self.world.all(JOBS))
    @rule(which=st.integers(0, 4), how=st.sampled_from(["Background", "Foreground"]))
    def delete_job(self, which: int, how: str) -> None:
        jobs = self.world.all(JOBS)
        self.world.delete(JOBS, jobs[which % len(jobs)]["metadata"]["name"], propagation=how)

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if kind.qualified != JOBS.qualified or old is not None or new is None:
            return
        others = [each for each in self.world.all(JOBS) if not is_over(each) and not is_leaving(each)]
        assert self.policy == "Allow" or not others, "two at a time"

    def live(self) -> None:
        for pod in self.world.pods():
            if pod["status"]["phase"] == "Running":
                self.world.report(pod, "Succeeded", ready=False)
            else:
                self.world.live(pod, "node-1")

    def finish(self) -> None:
        if self.world.find(CRON_JOBS, "work") is not None:
            self.suspend(suspend=True)
        super().finish()

    def has_converged(self) -> bool:
        found = self.world.find(CRON_JOBS, "work")
        if found is None:
            return True
        jobs = self.world.all(JOBS)
        failed = [each for each in jobs if condition_of(each) == "Failed"]
        done = all(map(is_over, jobs)) and not found["status"].get("active")
        return done and len(failed) <= 1 and len(jobs) - len(failed) <= 2


def condition_of(job: Document) -> str:
    conditions = job.get("status", {}).get("conditions") or ()
    return next((each["type"] for each in conditions if each["type"] in {"Complete", "Failed"}), "")


def is_over(job: Document) -> bool:
    return bool(condition_of(job))


TestCronJobs = CronMachine.TestCase
TestCronJobs.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
