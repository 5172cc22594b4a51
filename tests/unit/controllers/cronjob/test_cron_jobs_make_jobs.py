from __future__ import annotations

from typing import Any

import pytest
from lagging_world import Crash, Process, Ticking

from orch.objects.batch import CronJob, Job
from orch.objects.scheme import CRON_JOBS, JOBS
from orch.runtime.reconcile import Key
from orch_controllers.cronjob.reconciler import CronJobReconciler

ENDS = {
    "Complete": [("SuccessCriteriaMet", "True"), ("Complete", "True")],
    "Failed": [("FailureTarget", "True"), ("Failed", "True")],
}


def cron_job(schedule: str = "* * * * *", **spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
    job = {"metadata": {"labels": {"of": "cron"}}, "spec": {"suspend": True, "template": {"spec": pod}}}
    return {"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "jobTemplate": job, **spec}}


@pytest.fixture
def cron() -> Ticking:
    return Ticking([CRON_JOBS, JOBS], CronJobReconciler, Key("default", "tick"))


async def create(cron: Ticking, schedule: str = "* * * * *", **spec: Any) -> None:
    await cron.client.create(CRON_JOBS, "default", cron_job(schedule, **spec))
    await cron.settled()


async def jobs(cron: Ticking) -> list[Job]:
    return sorted(await cron.client.list(JOBS, "default"), key=lambda job: job.metadata.name)


async def found(cron: Ticking) -> CronJob:
    return await cron.client.get(CRON_JOBS, "default", "tick")


async def finish(cron: Ticking, job: Job, how: str = "Complete") -> None:
    now = cron.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": kind, "status": status, "lastTransitionTime": now} for kind, status in ENDS[how]]
    status = {"startTime": now, "conditions": conditions, "completionTime": now if how == "Complete" else None}
    await cron.client.patch(JOBS, "default", job.metadata.name, {"status": status}, subresource="status")
    await cron.settled()


async def test_a_job_is_made_for_each_minute_and_remembered(cron: Ticking) -> None:
    await create(cron, successfulJobsHistoryLimit=1)
    await cron.pass_time(58)
    assert await jobs(cron) == []
    await cron.pass_time(3)
    (job,) = await jobs(cron)
    minute = 29_453_761  # of 2026-01-01T00:01:00Z
    assert job.metadata.name == f"tick-{minute}"
    assert job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T00:01:00Z"
    assert job.metadata.labels["of"] == "cron"
    assert job.metadata.controller is not None
    assert job.metadata.controller.name == "tick"
    status = (await found(cron)).status
    assert [each.name for each in status.active] == [job.metadata.name]
    assert status.active[0].uid == job.metadata.uid
    assert status.last_schedule_time == "2026-01-01T00:01:00Z"
    await finish(cron, job)
    status = (await found(cron)).status
    assert status.active == ()
    assert status.last_successful_time
    await cron.pass_time(60)
    assert [each.metadata.name for each in await jobs(cron)] == [f"tick-{minute}", f"tick-{minute + 1}"]
    await finish(cron, (await jobs(cron))[1])
    assert [each.metadata.name for each in await jobs(cron)] == [f"tick-{minute + 1}"], "one is kept"
    told = cron.told()
    assert told["SuccessfulCreate"].startswith("Created job tick-")
    assert told["SawCompletedJob"].endswith(", condition: Complete")
    assert told["SuccessfulDelete"] == f"Deleted job tick-{minute}"


async def test_forbid_waits_for_the_one_that_runs_and_replace_does_not(cron: Ticking) -> None:
    await create(cron, concurrencyPolicy="Forbid")
    await cron.pass_time(130)
    (first,) = await jobs(cron)
    assert "JobAlreadyActive" in cron.told()
    await cron.client.patch(CRON_JOBS, "default", "tick", {"spec": {"concurrencyPolicy": "Replace"}})
    await cron.pass_time(60)
    (second,) = await jobs(cron)
    assert second.metadata.name > first.metadata.name
    assert [each.uid for each in (await found(cron)).status.active] == [second.metadata.uid]


async def test_allow_lets_them_run_side_by_side(cron: Ticking) -> None:
    await create(cron)
    await cron.pass_time(130)
    assert len(await jobs(cron)) == 2
    assert len((await found(cron)).status.active) == 2


async def test_of_what_was_missed_the_last_is_made_up_for(cron: Ticking) -> None:
    await create(cron, suspend=True)
    await cron.pass_time(60 * 5)
    assert await jobs(cron) == []
    await cron.client.patch(CRON_JOBS, "default", "tick", {"spec": {"suspend": False}})
    await cron.settled()
    (job,) = await jobs(cron)
    assert job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T00:05:00Z"
    assert "TooManyMissedTimes" not in cron.told()


async def test_people_are_warned_of_very_many_missed_times(cron: Ticking) -> None:
    await create(cron, suspend=True)
    cron.clock._now = cron.clock.now().replace(year=2027)
    await cron.client.patch(CRON_JOBS, "default", "tick", {"spec": {"suspend": False}})
    await cron.settled()
    assert len(await jobs(cron)) == 1
    expected = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
    assert cron.told()["TooManyMissedTimes"] == expected


async def test_what_is_too_late_is_not_begun(cron: Ticking) -> None:
    await create(cron, "0 * * * *", suspend=True, startingDeadlineSeconds=30)
    await cron.pass_time(3600 + 40)
    await cron.client.patch(CRON_JOBS, "default", "tick", {"spec": {"suspend": False}})
    await cron.settled()
    assert await jobs(cron) == []


async def test_the_clock_of_a_zone(cron: Ticking) -> None:
    await create(cron, "2 9 * * *", timeZone="Asia/Tokyo")
    await cron.pass_time(125)
    (job,) = await jobs(cron)
    stamp = "batch.kubernetes.io/cronjob-scheduled-timestamp"
    assert job.metadata.annotations[stamp] == "2026-01-01T09:02:00+09:00"


async def test_a_schedule_whose_time_never_comes_is_told(cron: Ticking) -> None:
    await create(cron, "59 23 31 2 *")
    expected = "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second"
    assert cron.told()["InvalidSchedule"] == expected


async def test_a_job_that_vanished_is_missed(cron: Ticking) -> None:
    await create(cron)
    await cron.pass_time(61)
    (job,) = await jobs(cron)
    await cron.client.delete(JOBS, "default", job.metadata.name, propagation="Background")
    await cron.settled()
    assert (await found(cron)).status.active == ()
    assert cron.told()["MissingJob"] == f"Active job went missing: {job.metadata.name}"


async def test_a_zone_that_is_unknown_is_told(cron: Ticking) -> None:
    await create(cron, timeZone="Mars/Olympus")
    assert cron.told()["UnknownTimeZone"] == 'invalid timeZone: "Mars/Olympus": unknown time zone Mars/Olympus'
    assert await jobs(cron) == []


async def test_a_schedule_that_cannot_be_read_is_told(cron: Ticking) -> None:
    await create(cron, "every now and then")
    expected = "expected exactly 5 fields, found 4: [every now and then]"
    assert cron.told()["UnparseableSchedule"] == f'unparseable schedule: "every now and then" : {expected}'


async def test_it_sleeps_until_the_next_moment(cron: Ticking) -> None:
    await create(cron, "30 1 * * *")
    assert cron.result.requeue_after == pytest.approx(90 * 60 + 0.1)
    writes = cron.client.writes
    await cron.settled()
    assert cron.client.writes == writes


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2])
async def test_a_crash_between_any_two_writes_makes_no_second_job(cron: Ticking, write: int, *, after: bool) -> None:
    await create(cron)
    await cron.clock.advance(61)
    cron.client.fail(write, Crash(), after=after)
    with pytest.raises(Crash):
        await cron.settled()
    fresh = Process(cron.world, [CRON_JOBS, JOBS])
    cron.process, cron.client, cron.reconciler = fresh, fresh.client, CronJobReconciler(fresh.context)
    await cron.settled()
    (job,) = await jobs(cron)
    status = (await found(cron)).status
    assert [each.uid for each in status.active] == [job.metadata.uid]
    assert status.last_schedule_time == "2026-01-01T00:01:00Z"
