import copy

import pytest

from orch_api.kinds.disruption_budgets import DisruptionBudgetStrategy
from orch_api.kinds.pod_template_objects import PodTemplateStrategy
from orch_api.kinds.replication_controllers import ReplicationControllerStrategy

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


def shown(causes):
    return [f"{cause.field}: {cause.message}" for cause in causes]


def controller(**spec):
    body = {"template": copy.deepcopy(TEMPLATE), **spec}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": body}


def budget(**spec):
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


def revision(**fields):
    return {"metadata": {"name": "web-1", "namespace": "default"}, "data": {"spec": {}}, "revision": 1, **fields}


def test_replication_controllers_take_the_templates_labels(created):
    made = created("replicationcontrollers", controller())
    assert made["spec"]["replicas"] == 1
    assert made["spec"]["selector"] == made["metadata"]["labels"] == {"app": "web"}
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Always"


def test_replication_controller_rules(problems):
    assert problems("replicationcontrollers", controller(template=None)) == [
        "spec.selector: Required value",
        "spec.template: Required value",
    ]
    assert problems("replicationcontrollers", controller(selector={"app": "x"}, replicas=-1)) == [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`',
    ]
    document = controller()
    document["spec"]["template"]["spec"] |= {"restartPolicy": "Never", "activeDeadlineSeconds": 1}
    assert problems("replicationcontrollers", document) == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        (
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is "
            "not Supported"
        ),
    ]


def test_a_replication_controllers_selector_may_change(update_problems):
    assert update_problems("replicationcontrollers", controller(selector={}), controller()) == []
    assert ReplicationControllerStrategy().default_propagation() == "Orphan"


def test_a_replication_controllers_status():
    status = {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2, "fullyLabeledReplicas": 3}
    assert shown(ReplicationControllerStrategy().validate_status({"status": status}, {})) == [
        "status.fullyLabeledReplicas: Invalid value: 3: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
    ]


def test_pod_templates(created, problems):
    document = {"metadata": {"name": "web", "namespace": "default"}, "template": copy.deepcopy(TEMPLATE)}
    made = created("podtemplates", copy.deepcopy(document))
    assert (made["metadata"]["generation"], made["template"]["spec"]["dnsPolicy"]) == (1, "ClusterFirst")
    new = copy.deepcopy(made)
    new["template"]["spec"]["hostname"] = "a"
    PodTemplateStrategy().prepare_update(new, made)
    assert new["metadata"]["generation"] == 2
    document["template"]["spec"]["containers"][0]["image"] = ""
    assert problems("podtemplates", document) == ["template.spec.containers[0].image: Required value"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"data": None}, ["data: Required value: data is mandatory"]),
        ({"data": [1]}, ["data: Required value: data must be a valid JSON object"]),
        ({"revision": -1}, ["revision: Invalid value: -1: must be greater than or equal to 0"]),
    ],
)
def test_controller_revisions(problems, fields, expected):
    assert problems("controllerrevisions", revision(**fields)) == expected


def test_a_state_that_was_kept_stays(update_problems):
    assert update_problems("controllerrevisions", revision(revision=2), revision()) == []
    assert update_problems("controllerrevisions", revision(data={"a": 1}), revision()) == [
        'data: Invalid value: {"a":1}: field is immutable'
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"minAvailable": "50%", "selector": {}}, []),
        (
            {"minAvailable": 1, "maxUnavailable": 0},
            [
                (
                    'spec: Invalid value: {"maxUnavailable":0,"minAvailable":1}: minAvailable and maxUnavailable '
                    "cannot be both set"
                ),
            ],
        ),
        ({"minAvailable": -1}, ["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {"maxUnavailable": "101%"},
            ['spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%'],
        ),
        (
            {"unhealthyPodEvictionPolicy": "Sometimes"},
            [
                (
                    'spec.unhealthyPodEvictionPolicy: Unsupported value: "Sometimes": supported values: "AlwaysAllow", '
                    '"IfHealthyBudget"'
                ),
            ],
        ),
    ],
)
def test_budgets(problems, spec, expected):
    assert problems("poddisruptionbudgets", budget(**spec)) == expected


def test_a_budget_may_have_any_name_and_may_change(problems, update_problems):
    document = budget(minAvailable=1)
    document["metadata"]["name"] = "My_Budget"
    assert problems("poddisruptionbudgets", document) == []
    assert update_problems("poddisruptionbudgets", budget(maxUnavailable=1), budget(minAvailable=1)) == []


def test_a_budgets_status():
    condition = {"type": "A", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"conditions": [condition, condition], "expectedPods": -1}
    assert shown(DisruptionBudgetStrategy().validate_status({"status": status}, {})) == [
        'status.conditions[1]: Duplicate value: "A"',
        "status.expectedPods: Invalid value: -1: must be greater than or equal to 0",
    ]
