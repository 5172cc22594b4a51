import copy

import pytest

from orch_api.kinds.cron_jobs import CronJobStrategy
from orch_api.kinds.cron_schedules import schedule_problem


@pytest.fixture
def cron_job():
    def make(job=None, **spec):
        template = {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "nginx"}]}}
        body = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template, **(job or {})}}, **spec}
        return {"metadata": {"name": "tick", "namespace": "default"}, "spec": body}

    return make


def test_defaults(created, cron_job):
    made = created("cronjobs", cron_job())
    spec = {name: value for name, value in made["spec"].items() if name != "jobTemplate"}
    assert spec == {
        "schedule": "* * * * *",
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    job = made["spec"]["jobTemplate"]["spec"]
    assert set(job) == {"template"}, "a job's own defaults come when the job is made"
    assert job["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert created("cronjobs", cron_job(failedJobsHistoryLimit=0))["spec"]["failedJobsHistoryLimit"] == 0


TZ = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"schedule": ""}, ["spec.schedule: Required value"]),
        (
            {"schedule": "* * * *"},
            ['spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]'],
        ),
        ({"schedule": "TZ=UTC 0 * * * *"}, [f'spec.schedule: Invalid value: "TZ=UTC 0 * * * *": {TZ}']),
        (
            {"schedule": "CRON_TZ=Nowhere/Land 0 * * * *"},
            [
                (
                    'spec.schedule: Invalid value: "CRON_TZ=Nowhere/Land 0 * * * *": provided bad location '
                    "Nowhere/Land: unknown time zone Nowhere/Land"
                ),
                f'spec.schedule: Invalid value: "CRON_TZ=Nowhere/Land 0 * * * *": {TZ}',
            ],
        ),
        ({"timeZone": "Europe/Berlin"}, []),
        ({"timeZone": "Etc/UTC"}, []),
        ({"timeZone": ""}, ['spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string']),
        (
            {"timeZone": "local"},
            [
                (
                    'spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in '
                    "https://www.iana.org/time-zones"
                )
            ],
        ),
        *(
            ({"timeZone": zone}, [f'spec.timeZone: Invalid value: "{zone}": unknown time zone {zone}'])
            for zone in ("Nowhere/Land", "Europe", "../../etc/passwd", "Europe/-x", "a b", "/etc/passwd")
        ),
        (
            {"startingDeadlineSeconds": -1},
            ["spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            {"concurrencyPolicy": "Queue"},
            [
                'spec.concurrencyPolicy: Unsupported value: "Queue": supported values: "Allow", "Forbid", "Replace"',
            ],
        ),
        (
            {"job": {"selector": {}, "manualSelector": True}},
            [
                "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
                'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"',
            ],
        ),
        (
            {"job": {"backoffLimit": -1}},
            ["spec.jobTemplate.spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"],
        ),
    ],
)
def test_rules(problems, cron_job, spec, expected):
    assert problems("cronjobs", cron_job(**spec)) == expected


def test_jobs_must_be_able_to_be_called_after_it(problems, cron_job):
    document = cron_job()
    document["metadata"]["name"] = "x" * 52
    assert problems("cronjobs", copy.deepcopy(document)) == []
    document["metadata"]["name"] = name = "x" * 53
    assert problems("cronjobs", document) == [
        f'metadata.name: Invalid value: "{name}": must be no more than 52 characters'
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/5 0-6,12 1,15 jan-MAR sun",
        "5/15 ? * * 1-5",
        "0 0 31 12 6",
        "@hourly",
        "@midnight",
        "@every 1h30m",
        "@every 1.5s",
        "  0   0 * * *  ",
    ],
)
def test_schedules(schedule):
    assert schedule_problem(schedule) == ""


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("", "empty spec string"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/2/3 * * * *", "too many slashes: */2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        ("* * * jam *", 'failed to parse int from jam: strconv.Atoi: parsing "jam": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
    ],
)
def test_what_is_no_schedule(schedule, problem):
    assert schedule_problem(schedule) == problem


def test_generation_counts_changes_of_the_spec(created, cron_job):
    old = created("cronjobs", cron_job())
    new = copy.deepcopy(old)
    new["spec"]["suspend"] = True
    CronJobStrategy().prepare_update(new, old)
    assert new["metadata"]["generation"] == 2
    assert CronJobStrategy().default_propagation() == "Background"
