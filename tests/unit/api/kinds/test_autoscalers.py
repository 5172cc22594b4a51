import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch_api.kinds.autoscaling import AutoscalerStrategy
from orch_api.kinds.autoscaling_v1 import as_v1, as_v2

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
PREFIX = "autoscaling.alpha.kubernetes.io"
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}


def autoscaler(**spec):
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"scaleTargetRef": dict(TARGET), "maxReplicas": 3, **copy.deepcopy(spec)},
    }


def test_defaults(created):
    spec = created("horizontalpodautoscalers", autoscaler())["spec"]
    assert (spec["minReplicas"], spec["metrics"]) == (1, [CPU])
    assert "behavior" not in spec


def test_a_behavior_is_filled_in(created):
    spec = created("horizontalpodautoscalers", autoscaler(behavior={"scaleDown": {"selectPolicy": "Disabled"}}))["spec"]
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    assert spec["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent],
        },
        "scaleDown": {"selectPolicy": "Disabled", "policies": [percent]},
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        (
            {"minReplicas": 0},
            [
                (
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling "
                    "to zero replicas"
                ),
            ],
        ),
        (
            {"minReplicas": -1},
            ["spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            {"maxReplicas": 0},
            [
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            {"scaleTargetRef": {"kind": "a/b"}},
            [
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
                "spec.scaleTargetRef.name: Required value",
                'spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group',
            ],
        ),
        ({"scaleTargetRef": {"kind": "ReplicationController", "name": "a", "apiVersion": "v1"}}, []),
        (
            {"scaleTargetRef": TARGET | {"apiVersion": "a/b/c"}},
            ['spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'],
        ),
        (
            {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "policies": []}}},
            [
                (
                    "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal "
                    "to 3600"
                ),
                "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            ],
        ),
        (
            {"behavior": {"scaleDown": {"selectPolicy": "Any", "policies": [{"type": "Most", "periodSeconds": 1801}]}}},
            [
                (
                    'spec.behavior.scaleDown.selectPolicy: Unsupported value: "Any": supported values: "Disabled", '
                    '"Max", "Min"'
                ),
                (
                    'spec.behavior.scaleDown.policies[0].type: Unsupported value: "Most": supported values: "Percent", '
                    '"Pods"'
                ),
                "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
                (
                    "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or "
                    "equal to 1800"
                ),
            ],
        ),
    ],
)
def test_rules(problems, spec, expected):
    assert problems("horizontalpodautoscalers", autoscaler(**spec)) == expected


AT = "spec.metrics[0]"
SOURCES = '"ContainerResource", "External", "Object", "Pods", "Resource"'


def average(value="1"):
    return {"type": "AverageValue", "averageValue": value}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (
            {},
            [
                f"{AT}.type: Required value: must specify a metric source type",
                f'{AT}.type: Unsupported value: "": supported values: {SOURCES}',
            ],
        ),
        (
            {"type": "Pods"},
            [f"{AT}.pods: Required value: must populate information for the given metric source"],
        ),
        (
            {"type": "Resource", "resource": CPU["resource"], "pods": {}},
            [
                f"{AT}.pods.metric.name: Required value: must specify a metric name",
                f"{AT}.pods.target.type: Required value: must specify a metric target type",
                f'{AT}.pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue',
                f"{AT}.pods.target.averageValue: Required value: must specify a positive target averageValue",
                f"{AT}.pods: Forbidden: must populate the given metric source only",
            ],
        ),
        (
            {"type": "Pods", "pods": {"metric": {"name": "a"}, "target": average("-1")}},
            [
                f'{AT}.pods.target.averageValue: Invalid value: "-1": must be positive',
                f"{AT}.pods.target.averageValue: Required value: must specify a positive target averageValue",
            ],
        ),
        (
            {"type": "Resource", "resource": {"target": {"type": "Utilization"}}},
            [
                f"{AT}.resource.name: Required value: must specify a resource name",
                (
                    f"{AT}.resource.target.averageUtilization: Required value: must set either a target raw value or a "
                    "target utilization"
                ),
            ],
        ),
        (
            {"type": "Resource", "resource": {"name": "cpu", "target": average() | {"averageUtilization": 0}}},
            [
                f"{AT}.resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                (
                    f"{AT}.resource.target.averageValue: Forbidden: may not set both a target raw value and a target "
                    "utilization"
                ),
            ],
        ),
        (
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "target": average()}},
            [f"{AT}.containerResource.container: Required value: must specify a container"],
        ),
        (
            {"type": "External", "external": {"metric": {"name": "a/b"}, "target": average() | {"value": "1"}}},
            [
                f"{AT}.external.metric.name: Invalid value: \"a/b\": may not contain '/'",
                (
                    f"{AT}.external.target.value: Forbidden: may not set both a target value for metric and a per-pod "
                    "target"
                ),
            ],
        ),
        (
            {
                "type": "Object",
                "object": {
                    "describedObject": {"kind": "Service", "name": "a"},
                    "metric": {"name": "a"},
                    "target": {"type": "Value"},
                },
            },
            [f"{AT}.object.target.averageValue: Required value: must set either a target value or averageValue"],
        ),
    ],
)
def test_metrics(problems, metric, expected):
    assert problems("horizontalpodautoscalers", autoscaler(metrics=[metric])) == expected


def test_a_status():
    causes = AutoscalerStrategy().validate_status({"status": {"desiredReplicas": -1}}, {})
    assert [cause.field for cause in causes] == ["status.desiredReplicas"]


def test_v1_knows_the_utilization_of_the_cpu():
    stored = autoscaler(minReplicas=1, metrics=[CPU])
    stored["status"] = {"currentReplicas": 2, "desiredReplicas": 2}
    served = as_v1(stored)
    assert served["apiVersion"] == "autoscaling/v1"
    assert served["spec"] == {
        "scaleTargetRef": TARGET,
        "maxReplicas": 3,
        "minReplicas": 1,
        "targetCPUUtilizationPercentage": 80,
    }
    assert "annotations" not in served["metadata"]
    assert as_v2(served) == stored


METRICS = [
    {"type": "Resource", "resource": {"name": "memory", "target": average("100Mi")}},
    {"type": "Pods", "pods": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}}, "target": average()}},
    {
        "type": "Object",
        "object": {
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "metric": {"name": "hits"},
            "target": {"type": "Value", "value": "10k"},
        },
    },
    {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "30"}}},
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "app",
            "target": {"type": "Utilization", "averageUtilization": 60},
        },
    },
]


def test_other_metrics_travel_in_annotations():
    served = as_v1(autoscaler(metrics=[*METRICS, CPU]))
    assert json.loads(served["metadata"]["annotations"][f"{PREFIX}/metrics"]) == [
        {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "100Mi"}},
        {
            "type": "Pods",
            "pods": {"metricName": "q", "targetAverageValue": "1", "selector": {"matchLabels": {"a": "b"}}},
        },
        {
            "type": "Object",
            "object": {
                "target": {"kind": "Service", "name": "s", "apiVersion": "v1"},
                "metricName": "hits",
                "targetValue": "10k",
            },
        },
        {"type": "External", "external": {"metricName": "queue", "targetValue": "30"}},
        {
            "type": "ContainerResource",
            "containerResource": {"name": "cpu", "targetAverageUtilization": 60, "container": "app"},
        },
    ]
    assert served["spec"]["targetCPUUtilizationPercentage"] == 80


def test_what_was_measured_travels_in_annotations():
    stored = autoscaler(metrics=[CPU])
    current = {"name": "cpu", "current": {"averageUtilization": 10, "averageValue": "5m"}}
    condition = {
        "type": "AbleToScale",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Ready",
    }
    metrics = [{"type": "Resource", "resource": current}]
    stored["status"] = {"desiredReplicas": 0, "currentMetrics": metrics, "conditions": [condition]}
    served = as_v1(stored)
    annotations = served["metadata"]["annotations"]
    assert served["status"] == {
        "currentReplicas": 0,
        "desiredReplicas": 0,
        "currentCPUUtilizationPercentage": 10,
    }
    assert annotations[f"{PREFIX}/current-metrics"] == (
        '[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":10,"currentAverageValue":"5m"}}]'
    )
    assert json.loads(annotations[f"{PREFIX}/conditions"]) == [condition]
    assert as_v2(served) == stored


def test_a_behavior_travels_with_capital_letters_and_is_read_in_any_case():
    rules = {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}
    served = as_v1(autoscaler(metrics=[CPU], behavior={"scaleUp": rules}))
    name = f"{PREFIX}/behavior"
    assert served["metadata"]["annotations"][name] == (
        '{"ScaleUp":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,'
        '"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}'
    )
    assert as_v2(served)["spec"]["behavior"] == {"scaleUp": rules}
    served["metadata"]["annotations"][name] = '{"scaleDown":{"tolerance":"10e-3"}}'
    assert as_v2(served)["spec"]["behavior"] == {"scaleDown": {"tolerance": "10e-3"}}


@pytest.mark.parametrize("part", ["metrics", "behavior", "current-metrics", "conditions"])
@pytest.mark.parametrize("text", ["", "{", "5", "[5]", '{"scaleUp":7}', '[{"type":{}}]', "null"])
def test_annotations_that_cannot_be_read_are_dropped(part, text):
    served = as_v1(autoscaler(metrics=[CPU]))
    served["metadata"]["annotations"] = {"mine": "kept", f"{PREFIX}/{part}": text}
    stored = as_v2(served)
    assert stored["metadata"]["annotations"] == {"mine": "kept"}
    assert stored["spec"] == autoscaler(metrics=[CPU])["spec"]


def test_v2_never_carries_the_annotations(created):
    document = autoscaler()
    document["metadata"]["annotations"] = {f"{PREFIX}/metrics": "[]", "mine": "kept"}
    assert created("horizontalpodautoscalers", document)["metadata"]["annotations"] == {"mine": "kept"}


@given(st.lists(st.sampled_from([*METRICS, CPU]), max_size=8), st.booleans())
def test_nothing_is_lost_between_the_versions(metrics, ready):
    stored = autoscaler(metrics=metrics) if metrics else autoscaler()
    if ready:
        condition = {"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        stored["status"] = {"desiredReplicas": 0, "conditions": [condition]}
    again = as_v2(as_v1(copy.deepcopy(stored)))
    unique = [metric for metric in metrics if metric != CPU] + [CPU] * (CPU in metrics)
    assert again["spec"].get("metrics", []) == unique
    assert again.get("status") == stored.get("status")


async def test_both_versions_are_one_object(driver):
    registry = driver.core.registry
    v1, v2 = (registry.find("autoscaling", version, "horizontalpodautoscalers") for version in ("v1", "v2"))
    assert (v1.storage, v2.storage) == (v2, v2)
