import copy

import pytest

from orch_api.kinds.jobs import NAME_LABEL, UID_LABEL, JobStrategy

GENERATED = {"controller-uid": "u", "job-name": "sum", UID_LABEL: "u", NAME_LABEL: "sum"}
INDEXED = {"completionMode": "Indexed", "completions": 3}


def job(labels=None, template_labels=None, **spec):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx"}]}}
    if template_labels:
        template["metadata"] = {"labels": template_labels}
    metadata = {"name": "sum", "namespace": "default", "uid": "u"} | ({"labels": labels} if labels else {})
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template, **spec}}


def test_a_plain_job(created):
    made = created("jobs", job())
    template = made["spec"].pop("template")
    assert made["spec"] == {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "manualSelector": False,
        "selector": {"matchLabels": {UID_LABEL: "u"}},
    }
    assert template["metadata"]["labels"] == made["metadata"]["labels"] == GENERATED
    assert made["metadata"]["generation"] == 1


def test_defaults_that_depend(created):
    assert "completions" not in created("jobs", job(parallelism=2))["spec"]
    assert created("jobs", job(backoffLimitPerIndex=1))["spec"]["backoffLimit"] == 2**31 - 1
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    spec = created("jobs", job(podFailurePolicy={"rules": rules}))["spec"]
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["podFailurePolicy"]["rules"][0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_labels_follow_the_templates_unless_there_are_some(created):
    made = created("jobs", job(template_labels={"app": "sum"}))
    assert made["metadata"]["labels"] == {"app": "sum", **GENERATED}
    assert created("jobs", job({"my": "own"}, {"app": "sum"}))["metadata"]["labels"] == {"my": "own"}


def test_selecting_by_hand(created, problems):
    document = job(template_labels={"app": "sum"}, manualSelector=True, selector={"matchLabels": {"app": "sum"}})
    assert problems("jobs", copy.deepcopy(document)) == []
    made = created("jobs", document)
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "sum"}
    assert problems("jobs", job(manualSelector=True))[0] == "spec.selector: Required value"


def test_labels_of_others_are_refused(problems):
    found = problems("jobs", job(template_labels={"job-name": "other"}, selector={"matchLabels": {"app": "sum"}}))
    labels = '{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"sum","controller-uid":"u"'
    selector = '{"matchLabels":{"app":"sum","batch.kubernetes.io/controller-uid":"u"}}'
    assert found == [
        f'spec.template.metadata.labels[job-name]: Invalid value: {labels},"job-name":"other"}}: must be \'sum\'',
        f"spec.selector: Invalid value: {selector}: `selector` not auto-generated",
        (
            f'spec.template.metadata.labels: Invalid value: {labels},"job-name":"other"}}: '
            "`selector` does not match template `labels`"
        ),
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"backoffLimit": -1}, "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"),
        (
            INDEXED | {"maxFailedIndexes": 1},
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
        ),
        (
            {"managedBy": "me"},
            'spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")',
        ),
        ({"managedBy": f"a.io/{'x' * 63}"}, "spec.managedBy: Too long: may not be more than 63 bytes"),
        (
            {"completionMode": "Some"},
            'spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed"',
        ),
        (
            {"completionMode": "Indexed", "parallelism": 1},
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            INDEXED | {"parallelism": 100_001},
            (
                "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is "
                "Indexed"
            ),
        ),
        (
            INDEXED | {"backoffLimitPerIndex": 1, "maxFailedIndexes": 4},
            "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
        ),
        (
            INDEXED | {"completions": 100_001, "backoffLimitPerIndex": 1},
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ),
        (
            INDEXED | {"completions": 100_001, "backoffLimitPerIndex": 1, "maxFailedIndexes": 1, "parallelism": 10_001},
            (
                "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are "
                "above 100000 and used with backoff limit per index"
            ),
        ),
        (
            {"backoffLimitPerIndex": 1},
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (
            {"successPolicy": {"rules": []}},
            'spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode',
        ),
        (
            {"podReplacementPolicy": "Never"},
            'spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"',
        ),
        (
            {"podReplacementPolicy": "TerminatingOrFailed", "podFailurePolicy": {}},
            'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
        ),
    ],
)
def test_job_rules(problems, spec, expected):
    assert problems("jobs", job(**spec)) == [expected]


@pytest.mark.parametrize(
    ("policy", "spec", "expected"),
    [
        (None, {}, 'Required value: valid values: "OnFailure", "Never"'),
        ("Magic", {}, 'Unsupported value: "Magic": supported values: "OnFailure", "Never"'),
        (
            "OnFailure",
            {"podFailurePolicy": {}},
            'Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified',
        ),
    ],
)
def test_pods_of_jobs_end(problems, policy, spec, expected):
    document = job(**spec)
    document["spec"]["template"]["spec"]["restartPolicy"] = policy
    assert problems("jobs", document)[-1] == f"spec.template.spec.restartPolicy: {expected}"


def test_the_hosts_of_indexes_must_have_a_name(problems):
    document = job(**INDEXED)
    document["metadata"]["name"] = name = "x" * 62
    assert problems("jobs", document)[-1] == (
        f'metadata.name: Invalid value: "{name}": will not able to create pod with invalid DNS label: {name}-2'
    )


RULE = "spec.podFailurePolicy.rules[0]"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            {"onPodConditions": [{"type": "X"}]},
            [f'{RULE}.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'],
        ),
        (
            {"action": "FailIndex", "onPodConditions": [{"type": "X"}]},
            [f'{RULE}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'],
        ),
        (
            {"action": "Shout", "onPodConditions": [{"type": "X", "status": "Maybe"}]},
            [
                (
                    f'{RULE}.action: Unsupported value: "Shout": supported values: "Count", "FailIndex", "FailJob", '
                    '"Ignore"'
                ),
                (
                    f'{RULE}.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", '
                    '"Unknown"'
                ),
            ],
        ),
        (
            {"action": "Count"},
            [f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"],
        ),
        (
            {"action": "Count", "onPodConditions": [{"type": "X"}], "onExitCodes": {"operator": "In", "values": [1]}},
            [f"{RULE}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"],
        ),
        (
            {"action": "Count", "onExitCodes": {"operator": "In", "values": [2, 0, 2], "containerName": "x"}},
            [
                (
                    f'{RULE}.onExitCodes.containerName: Invalid value: "x": must be one of the container or '
                    "initContainer names in the pod template"
                ),
                f"{RULE}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                f"{RULE}.onExitCodes.values[2]: Duplicate value: 2",
                f"{RULE}.onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
            ],
        ),
        (
            {"action": "Count", "onExitCodes": {}},
            [
                f'{RULE}.onExitCodes.operator: Required value: valid values: ["In" "NotIn"]',
                f"{RULE}.onExitCodes.values: Invalid value: []: at least one value is required",
            ],
        ),
    ],
)
def test_failure_policies(problems, rule, expected):
    assert problems("jobs", job(podFailurePolicy={"rules": [rule]})) == expected


SUCCESS = "spec.successPolicy.rules[0]"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"succeededIndexes": "0,2", "succeededCount": 2}, []),
        ({}, [f"{SUCCESS}: Required value: at least one of succeededCount or succeededIndexes must be specified"]),
        (
            {"succeededCount": 4},
            [
                (
                    f"{SUCCESS}.succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of "
                    "specified completions)"
                )
            ],
        ),
        (
            {"succeededIndexes": "0-1", "succeededCount": 3},
            [
                (
                    f"{SUCCESS}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of "
                    "indexes in the specified succeededIndexes field)"
                )
            ],
        ),
        *(
            (
                {"succeededIndexes": text},
                [f'{SUCCESS}.succeededIndexes: Invalid value: "{text}": error parsing succeededIndexes: {problem}'],
            )
            for text, problem in (
                ("1,0", "non-increasing order, previous: 1, current: 0"),
                ("1-1", "non-increasing order, previous: 1, current: 1"),
                ("3", 'too large index: "3"'),
                ("x", 'cannot convert string to integer for index: "x"'),
                (
                    "0-1-2",
                    (
                        'the fragment "0-1-2" violates the requirement that an index interval can have at most two '
                        "parts separated by '-'"
                    ),
                ),
            )
        ),
    ],
)
def test_success_policies(problems, rule, expected):
    assert problems("jobs", job(**INDEXED, successPolicy={"rules": [rule]})) == expected


def test_a_success_policy_needs_rules(problems):
    assert problems("jobs", job(**INDEXED, successPolicy={})) == [
        (
            "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is "
            "specified"
        )
    ]


def changed(created, old_spec, new_spec, *, status=None, edit=None):
    """What is wrong with an update of a stored job."""
    old = created("jobs", job(**old_spec))
    if status is not None:
        old["status"] = status
    new = copy.deepcopy(old)
    new["spec"] |= new_spec
    if edit is not None:
        edit(new["spec"]["template"])
    return [f"{cause.field}: {cause.message}" for cause in JobStrategy().validate_update(new, old)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"parallelism": 5, "suspend": True, "backoffLimit": 1, "activeDeadlineSeconds": 9}, []),
        ({}, {"completions": 2}, ["spec.completions: Invalid value: 2: field is immutable"]),
        (
            INDEXED,
            {"completions": 2},
            ["spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"],
        ),
        (INDEXED, {"completions": 2, "parallelism": 2}, []),
        ({}, {"selector": {}}, ["spec.selector: Invalid value: {}: field is immutable"]),
        ({}, {"managedBy": "a.io/b"}, ['spec.managedBy: Invalid value: "a.io/b": field is immutable']),
        (
            INDEXED,
            {"backoffLimitPerIndex": 1},
            ["spec.backoffLimitPerIndex: Invalid value: 1: field is immutable"],
        ),
    ],
)
def test_what_of_a_job_may_change(created, old, new, expected):
    assert changed(created, old, new) == expected


def place(template):
    template["spec"]["nodeSelector"] = {"disk": "fast"}
    template["spec"]["affinity"] = {"nodeAffinity": {}}
    template["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    template["metadata"]["labels"]["more"] = "x"


def other_image(template):
    template["spec"]["containers"][0]["image"] = "other"


STARTED = {"startTime": "2026-01-01T00:00:00Z"}
RESTS = {**STARTED, "conditions": [{"type": "Suspended", "status": "True"}]}


@pytest.mark.parametrize(
    ("spec", "status", "edit", "allowed"),
    [
        ({"suspend": True}, {}, place, True),
        ({"suspend": True}, RESTS, place, True),
        ({"suspend": True}, STARTED, place, False),
        ({}, {}, place, False),
        ({"suspend": True}, {}, other_image, False),
    ],
)
def test_where_pods_run_may_change_while_the_job_rests(created, spec, status, edit, allowed):
    found = changed(created, spec, {}, status=status, edit=edit)
    assert [one.split(":")[0] for one in found] == ([] if allowed else ["spec.template"])


def test_pods_of_a_deleted_job_stay_by_default():
    assert JobStrategy().default_propagation() == "Orphan"


def test_warnings():
    many = job(completionMode="Indexed", completions=100_001, parallelism=10_001)
    many["metadata"]["name"] = "a.b"
    name, indexes = JobStrategy().warnings(many)
    assert name.startswith("metadata.name: this is used in Pod names and hostnames, which can result in surprising")
    assert indexes.startswith("In Indexed Jobs with a number of completions higher than 10^5")
