from typing import Any

import pytest

from orch_api.kinds.pod_defaults import pull_policy


def test_a_pod_gets_what_kubernetes_gives_it(created, pod):
    spec = created("pods", pod())["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["schedulerName"] == "default-scheduler"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["securityContext"] == {}
    assert spec["enableServiceLinks"] is True
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert spec["containers"][0] == {
        "name": "web",
        "image": "nginx:1.27",
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "resources": {},
    }


def test_what_was_chosen_stays(created, pod):
    chosen: dict[str, Any] = {
        "restartPolicy": "Never",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
        "serviceAccountName": "robot",
        "schedulerName": "mine",
    }
    spec = created("pods", pod(**chosen))["spec"]
    assert {name: spec[name] for name in chosen} == chosen
    assert spec["serviceAccount"] == "robot"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "0" * 64, "Always"),
        ("", "IfNotPresent"),
    ],
)
def test_the_tag_decides_how_an_image_is_pulled(image, policy):
    assert pull_policy(image) == policy


def test_limits_become_requests_in_pods_but_not_in_templates(created, pod, deployment):
    container = {
        "name": "a",
        "image": "b",
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
    }
    made = created("pods", pod(containers=[container | {"resources": {**container["resources"]}}]))
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    template = deployment()
    template["spec"]["template"]["spec"]["containers"] = [
        {"name": "a", "image": "b", "resources": {"limits": {"cpu": "1"}}}
    ]
    made = created("deployments", template)
    assert made["spec"]["template"]["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_quantities_become_canonical_and_are_rounded_up_to_thousandths(created, pod):
    container = {
        "name": "a",
        "image": "b",
        "resources": {"requests": {"cpu": "0.1", "memory": "1024Mi", "example.com/x": 2}},
    }
    container["resources"]["limits"] = {"cpu": "1000100u"}
    made = created("pods", pod(containers=[container]))["spec"]["containers"][0]["resources"]
    assert made["requests"] == {"cpu": "100m", "memory": "1Gi", "example.com/x": "2"}
    assert made["limits"] == {"cpu": "1001m"}


def test_probes_ports_and_references(created, pod):
    container = {
        "name": "a",
        "image": "b",
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
        "readinessProbe": {"grpc": {"port": 1}},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
    }
    made = created("pods", pod(containers=[container]))["spec"]["containers"][0]
    assert made["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert made["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "periodSeconds": 5,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert made["readinessProbe"]["grpc"] == {"port": 1, "service": ""}
    assert made["lifecycle"]["preStop"]["httpGet"]["path"] == "/"
    assert made["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert made["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"


def test_volumes(created, pod):
    volumes = [
        {"name": "none"},
        {"name": "config", "configMap": {"name": "x"}},
        {"name": "secret", "secret": {"secretName": "x", "defaultMode": 0}},
        {"name": "host", "hostPath": {"path": "/"}},
        {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    ]
    made = {volume.pop("name"): volume for volume in created("pods", pod(volumes=volumes))["spec"]["volumes"]}
    assert made == {
        "none": {"emptyDir": {}},
        "config": {"configMap": {"name": "x", "defaultMode": 420}},
        "secret": {"secret": {"secretName": "x", "defaultMode": 0}},
        "host": {"hostPath": {"path": "/", "type": ""}},
        "all": {
            "projected": {
                "defaultMode": 420,
                "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
            }
        },
    }


def test_host_network_publishes_the_containers_ports(created, pod):
    made = created(
        "pods", pod(hostNetwork=True, containers=[{"name": "a", "image": "b", "ports": [{"containerPort": 80}]}])
    )
    assert made["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


def test_defaulting_twice_changes_nothing(created, pod):
    once = created("pods", pod(volumes=[{"name": "a"}], hostNetwork=True))
    again = created("pods", {**once, "spec": {**once["spec"]}})
    assert again["spec"] == once["spec"]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{}, {"limits": {"cpu": "1", "memory": "1Gi"}}], "Burstable"),
        ([{"limits": {"example.com/gpu": "1"}}], "BestEffort"),
    ],
)
def test_the_class_of_service_is_computed_once(created, pod, resources, expected):
    containers = [{"name": f"c{index}", "image": "b", "resources": one} for index, one in enumerate(resources)]
    made = created("pods", pod(containers=containers) | {"status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": expected}
    assert made["metadata"]["generation"] == 1


def test_a_gated_pod_says_so(created, pod):
    status = created("pods", pod(schedulingGates=[{"name": "example.com/gate"}]))["status"]
    assert [(one["type"], one["reason"]) for one in status["conditions"]] == [("PodScheduled", "SchedulingGated")]


def test_system_priorities(created, pod):
    assert created("pods", pod(priorityClassName="system-node-critical"))["spec"]["priority"] == 2_000_001_000
