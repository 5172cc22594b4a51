import pytest

from orch_api.kinds.job_status import status_change

START, END = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


def true(*kinds):
    return [{"type": kind, "status": "True"} for kind in kinds]


COMPLETE = {"startTime": START, "completionTime": END, "conditions": true("SuccessCriteriaMet", "Complete")}
FAILED = {"startTime": START, "conditions": true("FailureTarget", "Failed")}


def change(new, old=None, **spec):
    causes = status_change({"spec": spec, "status": new}, {"spec": spec, "status": old or {}})
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize("status", [COMPLETE, FAILED, {"active": 2, "ready": 1, "startTime": START}])
def test_what_a_controller_writes(status):
    assert change(status, {"startTime": START}) == []


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"active": -1}, {}, "status.active: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"uncountedTerminatedPods": {"succeeded": ["a", "a"]}},
            {},
            'status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"',
        ),
        (
            {"uncountedTerminatedPods": {"failed": [""]}},
            {},
            'status.uncountedTerminatedPods.failed[0]: Invalid value: "": must not be empty',
        ),
        (
            {"startTime": START, "completionTime": END},
            {},
            (
                f'status.completionTime: Invalid value: "{END}": cannot set completionTime when there is no '
                "Complete=True condition"
            ),
        ),
        (
            {"startTime": START, "conditions": true("Complete")},
            {},
            "status.completionTime: Required value: completionTime is required for Complete jobs",
        ),
        (
            COMPLETE | {"startTime": END, "completionTime": START},
            {},
            f'status.completionTime: Invalid value: "{START}": completionTime cannot be set before startTime',
        ),
        (
            COMPLETE | {"completionTime": "2026-01-01T02:00:00Z"},
            COMPLETE,
            'status.completionTime: Invalid value: "2026-01-01T02:00:00Z": completionTime cannot be mutated',
        ),
        (
            {},
            {"startTime": START},
            "status.startTime: Required value: startTime cannot be removed for unsuspended job",
        ),
        (
            {"conditions": true("Failed")},
            {},
            "status.startTime: Required value: startTime is required for finished job",
        ),
        (FAILED | {"active": 1}, {}, "status.active: Invalid value: 1: active>0 is invalid for finished job"),
        (
            FAILED | {"uncountedTerminatedPods": {"failed": ["a"]}},
            {},
            (
                'status.uncountedTerminatedPods: Invalid value: {"failed":["a"]}: uncountedTerminatedPods needs to be '
                "empty for finished job"
            ),
        ),
        (
            {"startTime": START, "completionTime": END, "conditions": true("Complete", "Failed")},
            {},
            "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions",
        ),
        (
            {"conditions": true("SuccessCriteriaMet", "FailureTarget")},
            {},
            "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            {"startTime": START, "conditions": true("FailureTarget")},
            FAILED,
            "status.conditions: Invalid value: cannot disable the terminal Failed=True condition",
        ),
        (
            {"conditions": []},
            {"conditions": true("SuccessCriteriaMet")},
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        ),
        (
            {"failed": 1},
            {"failed": 2},
            "status.failed: Invalid value: 1: cannot decrease the failed counter",
        ),
        (
            {"completedIndexes": "0"},
            {},
            (
                'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed '
                "completion mode"
            ),
        ),
        (
            {"failedIndexes": ""},
            {},
            (
                'status.failedIndexes: Invalid value: "": cannot set non-null failedIndexes when backoffLimitPerIndex '
                "is null"
            ),
        ),
    ],
)
def test_what_a_status_may_not_say(new, old, expected):
    assert change(new, old) == [expected]


def test_indexes_of_a_job():
    spec = {"completionMode": "Indexed", "completions": 5, "parallelism": 2, "backoffLimitPerIndex": 1}
    assert change({"completedIndexes": "0-1,4", "failedIndexes": "2"}, **spec) == []
    assert change({"completedIndexes": "0-2", "failedIndexes": "2,4"}, **spec) == [
        'status.failedIndexes: Invalid value: "2,4": failedIndexes and completedIndexes overlap at index: 2'
    ]
    assert change({"completedIndexes": "9"}, **spec) == [
        'status.completedIndexes: Invalid value: "9": error parsing completedIndexes: too large index: "9"'
    ]


def test_fewer_may_have_succeeded_when_fewer_are_wanted():
    elastic = {"completionMode": "Indexed", "completions": 2, "parallelism": 2}
    assert change({"succeeded": 1}, {"succeeded": 2}, **elastic) == []
    assert change({"succeeded": 1}, {"succeeded": 2}) == [
        "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"
    ]


def test_a_status_that_was_wrong_before_may_change_elsewhere():
    wrong = {"conditions": true("Complete", "Failed"), "active": 1, "failedIndexes": "x"}
    assert change(wrong | {"ready": 1}, wrong) == []


def test_with_a_success_policy_completion_follows_success():
    status = COMPLETE | {"conditions": true("Complete")}
    assert change(status, successPolicy={"rules": []}) == [
        (
            "status.conditions: Invalid value: cannot set Complete=True for Job with SuccessPolicy unless "
            "SuccessCriteriaMet=True"
        )
    ]


def test_a_suspended_job_forgets_when_it_started():
    assert change({}, {"startTime": START}, suspend=True) == []
