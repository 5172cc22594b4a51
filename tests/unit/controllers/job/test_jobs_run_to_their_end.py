"""What jobs do, told by one reconciler in a world in which time costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
from lagging_world import Ticking

from orch.errors import ForbiddenError
from orch.objects.batch import Job
from orch.objects.scheme import JOBS, PODS
from orch.runtime.reconcile import Key
from orch_controllers.job.pods import FINALIZER
from orch_controllers.job.reconciler import JobReconciler

INDEX = "batch.kubernetes.io/job-completion-index"
ENDED = {"Succeeded", "Failed"}


@pytest.fixture
def job() -> Ticking:
    return Ticking([JOBS, PODS], JobReconciler, Key("default", "work"))


async def create(job: Ticking, **spec: Any) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "env": [{"name": "A", "value": "b"}]}]}
    template = {"metadata": {"labels": {"job": "work"}}, "spec": pod}
    defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "podReplacementPolicy": "TerminatingOrFailed"}
    selector = {"matchLabels": {"job": "work"}}
    body = {"metadata": {"name": "work"}, "spec": {**defaults, "selector": selector, "template": template, **spec}}
    await job.client.create(JOBS, "default", {**body, "status": {}})
    await job.settled()


def active(job: Ticking) -> list[dict[str, Any]]:
    pods = (pod for pod in job.world.all(PODS) if pod["status"]["phase"] not in ENDED)
    return sorted((pod for pod in pods if "deletionTimestamp" not in pod["metadata"]), key=index_of)


def index_of(pod: dict[str, Any]) -> str:
    return pod["metadata"].get("annotations", {}).get(INDEX, "")


async def end(job: Ticking, pod: dict[str, Any], code: int = 0, *conditions: dict[str, str]) -> None:
    """End a pod, and look what the job makes of it within a second."""

    def change(document: dict[str, Any]) -> None:
        ended = {"terminated": {"exitCode": code, "finishedAt": job.world.now()}}
        document["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "conditions": list(conditions),
            "containerStatuses": [{"name": "main", "state": ended}],
        }

    job.world.change(PODS, pod["metadata"]["name"], change)
    await job.pass_time(1)


async def stop(job: Ticking) -> None:
    """End the pods that have been deleted."""
    for pod in job.world.all(PODS):
        if "deletionTimestamp" in pod["metadata"]:
            await end(job, pod, 137)


async def found(job: Ticking) -> Job:
    return await job.client.get(JOBS, "default", "work")


async def conditions(job: Ticking) -> list[tuple[str, str]]:
    return [(each.type, each.reason) for each in (await found(job)).status.conditions if each.status == "True"]


FAILED = "Job has reached the specified backoff limit"
REACHED = [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]


async def test_a_job_of_one_pod(job: Ticking) -> None:
    await create(job)
    (pod,) = active(job)
    assert pod["metadata"]["generateName"] == "work-"
    assert pod["metadata"]["finalizers"] == [FINALIZER]
    status = (await found(job)).status
    assert (status.active, status.ready, status.terminating) == (1, 0, 0)
    assert status.start_time
    await end(job, pod)
    done = (await found(job)).status
    assert (done.active, done.succeeded, done.completion_time) == (0, 1, job.world.now().replace("01Z", "00Z"))
    assert await conditions(job) == REACHED
    assert job.told()["Completed"] == "Job completed"
    assert not job.world.all(PODS)[0]["metadata"]["finalizers"]


async def test_many_pods_never_more_than_wanted(job: Ticking) -> None:
    await create(job, parallelism=3, completions=5)
    assert len(active(job)) == 3
    for left in (3, 3, 2, 1, 0):
        await end(job, active(job)[0])
        assert len(active(job)) == left
    assert (await found(job)).status.succeeded == 5
    assert len(job.world.all(PODS)) == 5


async def test_a_work_queue_ends_when_one_has_succeeded_and_all_have_ended(job: Ticking) -> None:
    await create(job, parallelism=3, completions=None)
    await end(job, active(job)[0])
    assert len(active(job)) == 2
    assert await conditions(job) == []
    await end(job, active(job)[0], 1)
    await end(job, active(job)[0])
    assert await conditions(job) == REACHED
    assert (await found(job)).status.succeeded == 2


async def test_failed_pods_are_replaced_after_ever_longer_waits_until_there_are_too_many(job: Ticking) -> None:
    await create(job, backoffLimit=3)
    for wait in (10, 20, 40):
        await end(job, active(job)[0], 1)
        assert not active(job)
        await job.pass_time(wait - 3)
        assert not active(job), "it waits"
        await job.pass_time(3)
        assert len(active(job)) == 1
    await end(job, active(job)[0], 1)
    assert await conditions(job) == [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]
    assert (await found(job)).status.failed == 4
    assert job.told()["BackoffLimitExceeded"] == FAILED


async def test_waits_are_remembered_by_the_next_leader(job: Ticking) -> None:
    await create(job)
    for wait in (11, 0):
        await end(job, active(job)[0], 1)
        await job.pass_time(wait)
    job.reconciler = JobReconciler(job.process.context)
    await job.pass_time(15)
    assert not active(job)
    await job.pass_time(5)
    assert len(active(job)) == 1


async def test_a_job_that_fails_takes_its_pods_along_and_counts_them(job: Ticking) -> None:
    await create(job, parallelism=3, completions=3, backoffLimit=0)
    await end(job, active(job)[0], 1)
    assert not active(job)
    status = (await found(job)).status
    assert (status.failed, status.terminating) == (3, 2)
    assert await conditions(job) == [("FailureTarget", "BackoffLimitExceeded")], "two pods have yet to end"
    await stop(job)
    assert (await conditions(job))[1] == ("Failed", "BackoffLimitExceeded")
    assert (await found(job)).status.failed == 3


async def test_restarts_of_containers_count_where_pods_restart_them(job: Ticking) -> None:
    template = {"metadata": {"labels": {"job": "work"}}, "spec": {"restartPolicy": "OnFailure", "containers": []}}
    await create(job, backoffLimit=2, template=template)
    for restarts, expected in ((1, []), (2, [("FailureTarget", "BackoffLimitExceeded")])):
        status = {"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": restarts}]}
        job.world.change(PODS, active(job)[0]["metadata"]["name"], lambda pod, to=status: pod.update(status=to))
        await job.pass_time(1)
        assert await conditions(job) == expected


async def test_the_deadline_ends_it(job: Ticking) -> None:
    await create(job, activeDeadlineSeconds=30)
    await job.pass_time(28)
    assert await conditions(job) == []
    await job.pass_time(3)
    assert (await conditions(job))[0] == ("FailureTarget", "DeadlineExceeded")
    assert (await found(job)).status.failed == 1


async def test_a_suspended_job_has_no_pods_and_its_deadline_does_not_run(job: Ticking) -> None:
    await create(job, activeDeadlineSeconds=30, parallelism=2, completions=2)
    job.world.change(JOBS, "work", lambda document: document["spec"].update(suspend=True))
    await job.settled()
    assert not active(job)
    status = (await found(job)).status
    assert (status.active, status.failed) == (0, 0)
    assert await conditions(job) == [("Suspended", "JobSuspended")]
    await stop(job)
    await job.pass_time(100)
    job.world.change(JOBS, "work", lambda document: document["spec"].update(suspend=False))
    await job.settled()
    assert len(active(job)) == 2
    resumed = (await found(job)).status
    assert resumed.start_time == job.world.now()
    assert [(each.type, each.status, each.reason) for each in resumed.conditions] == [
        ("Suspended", "False", "JobResumed")
    ]
    assert {"Suspended", "Resumed"} <= job.told().keys()
    assert resumed.failed == 0, "whom the user stopped has not failed"


async def test_created_suspended_it_has_not_started(job: Ticking) -> None:
    await create(job, suspend=True)
    assert (await found(job)).status.start_time == ""
    assert not job.world.all(PODS)


async def test_indexes(job: Ticking) -> None:
    await create(job, completionMode="Indexed", parallelism=3, completions=5)
    pods = active(job)
    assert [index_of(pod) for pod in pods] == ["0", "1", "2"]
    pod = pods[1]
    assert pod["metadata"]["labels"][INDEX] == "1"
    assert pod["metadata"]["generateName"] == "work-1-"
    assert pod["spec"]["hostname"] == "work-1"
    reference = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    assert pod["spec"]["containers"][0]["env"] == [
        {"name": "A", "value": "b"},
        {"name": "JOB_COMPLETION_INDEX", "valueFrom": reference},
    ]
    await end(job, pods[2])
    await end(job, pods[0], 1)
    assert [index_of(pod) for pod in active(job)] == ["1", "3"]
    await job.pass_time(10)
    assert [index_of(pod) for pod in active(job)] == ["0", "1", "3"]
    for index in ("1", "3", "0", "4"):
        assert (await found(job)).status.finished is None
        await end(job, next(pod for pod in active(job) if index_of(pod) == index))
    status = (await found(job)).status
    assert (status.completed_indexes, status.succeeded, status.failed) == ("0-4", 5, 1)


async def test_an_elastic_job_grows_and_shrinks(job: Ticking) -> None:
    await create(job, completionMode="Indexed", parallelism=2, completions=2)
    await end(job, active(job)[1])
    for size, left in ((4, ["0", "2", "3"]), (1, ["0"])):
        job.world.change(
            JOBS, "work", lambda document, to=size: document["spec"].update(parallelism=to, completions=to)
        )
        await job.settled()
        assert [index_of(pod) for pod in active(job)] == left
    assert (await found(job)).status.completed_indexes == ""
    await end(job, active(job)[0])
    assert (await found(job)).status.completed_indexes == "0"
    await stop(job)
    assert (await conditions(job))[-1][0] == "Complete"


async def test_each_index_has_its_own_limit(job: Ticking) -> None:
    spec = {"completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": 2**31 - 1}
    await create(job, parallelism=2, completions=2, **spec)
    first, second = active(job)
    await end(job, second)
    await end(job, first, 1)
    assert job.world.find(PODS, first["metadata"]["name"])["metadata"]["finalizers"] == [FINALIZER], (
        "its count is needed"
    )
    await job.pass_time(10)
    (again,) = active(job)
    assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    await end(job, again, 1)
    status = (await found(job)).status
    assert (status.completed_indexes, status.failed_indexes, status.failed) == ("1", "0", 2)
    assert await conditions(job) == [("FailureTarget", "FailedIndexes"), ("Failed", "FailedIndexes")]


async def test_too_many_failed_indexes(job: Ticking) -> None:
    spec = {"completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "backoffLimit": 2**31 - 1}
    await create(job, parallelism=3, completions=3, **spec)
    await end(job, active(job)[0], 1)
    assert await conditions(job) == []
    await end(job, active(job)[0], 1)
    assert (await conditions(job))[0] == ("FailureTarget", "MaxFailedIndexesExceeded")
    assert (await found(job)).status.failed_indexes == "0,1"


def rules(*rules_: dict[str, Any]) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": list(rules_)}, "podReplacementPolicy": "Failed"}


EXIT = {"operator": "In", "values": [42]}
TARGET = {"type": "DisruptionTarget", "status": "True"}


@pytest.mark.parametrize(
    ("rule", "code", "expected"),
    [
        ({"action": "FailJob", "onExitCodes": EXIT}, 42, "failed with exit code 42 matching FailJob rule at index 0"),
        ({"action": "FailJob", "onExitCodes": EXIT}, 41, ""),
        (
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [42]}},
            41,
            "failed with exit code 41 matching FailJob rule at index 0",
        ),
        ({"action": "FailJob", "onExitCodes": {**EXIT, "containerName": "other"}}, 42, ""),
        (
            {"action": "FailJob", "onPodConditions": [TARGET]},
            1,
            "has condition DisruptionTarget matching FailJob rule at index 0",
        ),
        ({"action": "Count", "onExitCodes": EXIT}, 42, ""),
    ],
)
async def test_a_failure_policy_may_fail_the_job(job: Ticking, rule: dict[str, Any], code: int, expected: str) -> None:
    await create(job, **rules(rule))
    await end(job, active(job)[0], code, TARGET)
    told = job.told().get("PodFailurePolicy", "")
    assert told.endswith(expected) if expected else not told
    assert bool(expected) == (("Failed", "PodFailurePolicy") in await conditions(job))
    assert (await found(job)).status.failed == 1


async def test_a_failure_policy_may_ignore_failures_and_fail_an_index(job: Ticking) -> None:
    ignore, fail = {"action": "Ignore", "onPodConditions": [TARGET]}, {"action": "FailIndex", "onExitCodes": EXIT}
    spec = {"completionMode": "Indexed", "backoffLimitPerIndex": 5, "backoffLimit": 2**31 - 1}
    await create(job, parallelism=2, completions=2, **spec, **rules(ignore, fail))
    await end(job, active(job)[0], 1, TARGET)
    assert (await found(job)).status.failed == 0
    await job.pass_time(10)
    again = active(job)[0]
    assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "0"
    assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-ignored-failure-count"] == "1"
    await end(job, again, 42)
    status = (await found(job)).status
    assert (status.failed, status.failed_indexes) == (1, "0")
    assert [index_of(pod) for pod in active(job)] == ["1"]


@pytest.mark.parametrize(
    ("rule", "enough"),
    [
        ({"succeededCount": 2}, 2),
        ({"succeededIndexes": "0,2"}, 3),
        ({"succeededIndexes": "1-3", "succeededCount": 1}, 2),
    ],
)
async def test_a_success_policy(job: Ticking, rule: dict[str, Any], enough: int) -> None:
    await create(job, completionMode="Indexed", parallelism=4, completions=4, successPolicy={"rules": [rule]})
    for number in range(enough):
        assert await conditions(job) == []
        await end(job, active(job)[0])
        assert len(active(job)) == (0 if number == enough - 1 else 3 - number)
    assert await conditions(job) == [("SuccessCriteriaMet", "SuccessPolicy")], "the others have yet to end"
    await stop(job)
    assert (await conditions(job))[1] == ("Complete", "SuccessPolicy")
    status = (await found(job)).status
    assert (status.succeeded, status.failed) == (enough, 0)


@pytest.mark.parametrize(("policy", "at_once"), [("TerminatingOrFailed", 1), ("Failed", 0)])
async def test_when_a_pod_that_is_being_deleted_is_replaced(job: Ticking, policy: str, at_once: int) -> None:
    await create(job, podReplacementPolicy=policy)
    (pod,) = active(job)
    job.world.delete(PODS, pod["metadata"]["name"])
    await job.pass_time(11)
    assert len(active(job)) == at_once
    left = job.world.find(PODS, pod["metadata"]["name"])
    if left is not None and not at_once:
        await end(job, left, 137)
        await job.pass_time(11)
    assert len(active(job)) == 1
    assert (await found(job)).status.failed == 1


async def test_jobs_of_others_are_left_alone(job: Ticking) -> None:
    await create(job, managedBy="example.com/manager")
    assert not job.world.all(PODS)
    assert (await found(job)).status.start_time == ""


async def test_pods_that_are_refused_are_told_and_tried_again(job: Ticking) -> None:
    create_pod = job.client.create

    async def refuse(kind: Any, namespace: str, body: Any) -> Any:
        if kind is PODS:
            raise ForbiddenError('pods "work-" is forbidden: exceeded quota')
        return await create_pod(kind, namespace, body)

    job.client.create = refuse  # type: ignore[method-assign]
    with pytest.raises(ForbiddenError):
        await create(job)
    assert job.told()["FailedCreate"] == 'Error creating: pods "work-" is forbidden: exceeded quota'
    assert (await found(job)).status.active == 0
    job.client.create = create_pod  # type: ignore[method-assign]
    await job.settled()
    assert len(active(job)) == 1


async def test_an_orphan_that_matches_is_adopted_with_the_finalizer(job: Ticking) -> None:
    await job.client.create(PODS, "default", {"metadata": {"name": "mine", "labels": {"job": "work"}}, "spec": {}})
    await create(job)
    (pod,) = active(job)
    assert pod["metadata"]["name"] == "mine"
    assert pod["metadata"]["finalizers"] == [FINALIZER]
    job.world.change(PODS, "mine", lambda document: document["metadata"]["labels"].clear())
    await job.settled()
    released = job.world.find(PODS, "mine")
    assert released is not None
    assert not released["metadata"]["finalizers"]
    assert not released["metadata"]["ownerReferences"]
    assert len(active(job)) == 2, "it has a pod of its own again"


async def test_what_only_keeps_up_with_pods_is_written_once_a_second(job: Ticking) -> None:
    await create(job, parallelism=5, completions=5)
    before = job.client.writes
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    for pod in active(job):
        job.world.change(PODS, pod["metadata"]["name"], lambda document: document.update(status=ready))
        await job.settled()
    assert job.client.writes == before
    await job.pass_time(1)
    assert job.client.writes == before + 1
    assert (await found(job)).status.ready == 5
