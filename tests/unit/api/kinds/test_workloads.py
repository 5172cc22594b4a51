import copy

import pytest

from orch_api.kinds.workloads import DeploymentStrategy, ReplicaSetStrategy


def test_deployment_defaults(created, deployment):
    made = created("deployments", deployment() | {"status": {"replicas": 3}})
    spec = made["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"
    assert "tolerations" not in spec["template"]["spec"]
    assert "serviceAccountName" not in spec["template"]["spec"]
    assert "status" not in made
    assert made["metadata"]["generation"] == 1


def test_zero_is_a_choice(created, deployment):
    spec = created("deployments", deployment(replicas=0, revisionHistoryLimit=0, strategy={"type": "Recreate"}))["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["strategy"]) == (0, 0, {"type": "Recreate"})


MISMATCH = "`selector` does not match template `labels`"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {"selector": None},
            [
                "spec.selector: Required value",
                f'spec.template.metadata.labels: Invalid value: {{"app":"web"}}: {MISMATCH}',
            ],
        ),
        ({"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
        (
            {"selector": {"matchLabels": {"app": "other"}}},
            [f'spec.template.metadata.labels: Invalid value: {{"app":"web"}}: {MISMATCH}'],
        ),
        (
            {"selector": {"matchExpressions": [{"key": "app", "operator": "In"}]}},
            [
                (
                    "spec.selector.matchExpressions[0].values: Required value: must be specified "
                    "when `operator` is 'In' or 'NotIn'"
                )
            ],
        ),
        (
            {"strategy": {"type": "Magic"}},
            ['spec.strategy: Unsupported value: {"type":"Magic"}: supported values: "Recreate", "RollingUpdate"'],
        ),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}},
            ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'],
        ),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": "one"}}},
            [
                (
                    'spec.strategy.rollingUpdate.maxSurge: Invalid value: "one": a valid percent '
                    "string must be a numeric string "
                    "followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
                )
            ],
        ),
        (
            {"minReadySeconds": 600},
            ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
    ],
)
def test_deployment_rules(problems, deployment, spec, expected):
    assert problems("deployments", deployment(**spec)) == expected


def test_the_template_is_checked_at_its_own_path(problems, deployment):
    document = deployment()
    template = document["spec"]["template"]
    template["metadata"]["labels"]["x"] = "-"
    template["spec"] |= {"restartPolicy": "Never", "activeDeadlineSeconds": 5, "containers": [{"name": "web"}]}
    found = problems("deployments", document)
    assert found[0].startswith('spec.template.labels: Invalid value: "-": a valid label must be an empty string')
    assert found[1:] == [
        "spec.template.spec.containers[0].image: Required value",
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
    ]


@pytest.mark.parametrize("plural", ["deployments", "replicasets"])
def test_the_selector_is_immutable(update_problems, deployment, plural):
    new = deployment(selector={"matchLabels": {"app": "web", "tier": "front"}})
    assert update_problems(plural, new, deployment()) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"front"}}: field is immutable'
    ]
    assert update_problems(plural, deployment(replicas=3), deployment()) == []


def test_what_counts_as_another_generation(created, deployment):
    old = created("deployments", deployment())
    for strategy, annotated in ((DeploymentStrategy(), 2), (ReplicaSetStrategy(), 1)):
        new = copy.deepcopy(old)
        new["metadata"]["labels"] = {"a": "b"}
        strategy.prepare_update(new, old)
        assert new["metadata"]["generation"] == 1
        new["metadata"]["annotations"] = {"a": "b"}
        strategy.prepare_update(new, old)
        assert new["metadata"]["generation"] == annotated
        new["spec"]["replicas"] = 5
        strategy.prepare_update(new, old)
        assert new["metadata"]["generation"] == 2


def test_a_status_whose_counts_cannot_be(deployment):
    document = deployment() | {"status": {"replicas": 1, "readyReplicas": 2, "updatedReplicas": -1}}
    found = [
        f"{cause.field}: {cause.message}" for cause in DeploymentStrategy().validate_status(document, deployment())
    ]
    assert found == [
        "status.updatedReplicas: Invalid value: -1: must be greater than or equal to 0",
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
    ]
