"""The official Python client: typed and dynamic, its watches, its streams, its errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from local_cluster import LocalCluster, run

STREAMS = Path(__file__).parents[1] / "support/clients/streams.py"


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


@pytest.fixture
def connection(simulated: LocalCluster) -> Iterator[Any]:
    with config.new_client_from_config(str(simulated.layout.kubeconfig)) as made:
        yield made


def deployment(replicas: int) -> Any:
    container = client.V1Container(name="main", image="web:1", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container])
    )
    selector = client.V1LabelSelector(match_labels={"app": "web"})
    spec = client.V1DeploymentSpec(replicas=replicas, selector=selector, template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)


def test_typed_objects_live_their_lives(connection: Any, space: str) -> None:
    apps, core = client.AppsV1Api(connection), client.CoreV1Api(connection)
    made = apps.create_namespaced_deployment(space, deployment(2))
    assert made.status.ready_replicas is None
    events = watch.Watch()
    for event in events.stream(apps.list_namespaced_deployment, space, timeout_seconds=30):
        if event["object"].status.ready_replicas == 2:
            events.stop()
    patched = apps.patch_namespaced_deployment("web", space, {"spec": {"replicas": 1}})
    assert patched.spec.replicas == 1
    scale = apps.read_namespaced_deployment_scale("web", space)
    assert scale.spec.replicas == 1
    pods = core.list_namespaced_pod(space, label_selector="app=web").items
    assert {pod.spec.containers[0].image for pod in pods} == {"web:1"}
    with pytest.raises(ApiException) as conflict:
        apps.create_namespaced_deployment(space, deployment(2))
    assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")
    apps.delete_namespaced_deployment("web", space)
    with pytest.raises(ApiException) as missing:
        apps.read_namespaced_deployment("web", space)
    assert missing.value.status == 404


def test_streams_of_a_pod(connection: Any, simulated: LocalCluster, space: str) -> None:
    core = client.CoreV1Api(connection)
    container = client.V1Container(name="main", image="web:1", ports=[client.V1ContainerPort(container_port=80)])
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name="web"), spec=client.V1PodSpec(containers=[container]))
    core.create_namespaced_pod(space, pod)
    simulated.wait(lambda: core.read_namespaced_pod("web", space).status.phase == "Running")
    assert "main started" in core.read_namespaced_pod_log("web", space)
    said = run(sys.executable, STREAMS, space, "web", environ=simulated.environ)
    assert said.startswith("hello\n")
    assert "HTTP/1.1 200" in said


def test_the_dynamic_client_finds_its_way(connection: Any, space: str) -> None:
    found = dynamic.DynamicClient(connection)
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    maps.create(body={"metadata": {"name": "settings"}, "data": {"a": "1"}}, namespace=space)
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"b": "2"}}
    merged = maps.server_side_apply(body=applied, namespace=space, field_manager="python")
    assert merged.data.to_dict() == {"a": "1", "b": "2"}
    maps.delete(name="settings", namespace=space)
    jobs = found.resources.get(api_version="batch/v1", kind="Job")
    assert (jobs.namespaced, jobs.short_names) == (True, None)


def test_every_typed_list_can_be_read(connection: Any) -> None:
    """Typed clients refuse what lacks a field that must be there: what is in a cluster from its start is complete."""
    lists = {
        client.CoreV1Api: (
            "list_node",
            "list_namespace",
            "list_service_for_all_namespaces",
            "list_pod_for_all_namespaces",
        ),
        client.AppsV1Api: ("list_deployment_for_all_namespaces", "list_replica_set_for_all_namespaces"),
        client.FlowcontrolApiserverV1Api: ("list_flow_schema", "list_priority_level_configuration"),
        client.SchedulingV1Api: ("list_priority_class",),
        client.CoordinationV1Api: ("list_lease_for_all_namespaces",),
    }
    for kind, names in lists.items():
        api = kind(connection)
        for name in names:
            assert getattr(api, name)().metadata.resource_version


def test_tokens_and_questions(connection: Any, simulated: LocalCluster, space: str) -> None:
    core = client.CoreV1Api(connection)
    simulated.wait(lambda: simulated.get("-n", space, "serviceaccounts"))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    token = core.create_namespaced_service_account_token("default", space, request).status.token
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))
    status = client.AuthenticationV1Api(connection).create_token_review(review).status
    assert status.authenticated
    assert status.user.username == f"system:serviceaccount:{space}:default"
    attributes = client.V1ResourceAttributes(verb="get", resource="pods", namespace=space)
    access = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    assert client.AuthorizationV1Api(connection).create_self_subject_access_review(access).status.allowed
