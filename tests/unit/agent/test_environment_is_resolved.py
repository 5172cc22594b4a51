from __future__ import annotations

import base64
from typing import Any

import pytest

from orch_agent.pods.environment import ConfigurationError, Facts, expand, resolve

FACTS = Facts(host_ip="192.0.2.1", pod_ip="10.1.0.9", allocatable={"cpu": "4", "memory": "8Gi"})


async def variables(node: Any, *env: dict[str, Any], **more: Any) -> dict[str, str]:
    pod = node.pod({"name": "web", "env": list(env), **more}, meta={"labels": {"app": "shop"}})
    return await resolve(pod, pod.spec.containers[0], FACTS, node.objects)


def field(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "shop"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "node-1"),
        ("status.podIP", "10.1.0.9"),
        ("status.hostIP", "192.0.2.1"),
    ],
)
async def test_fields_of_the_pod(node: Any, path: str, value: str) -> None:
    assert await variables(node, field(path)) == {"X": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "0", "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.memory", "1Mi", "64"),
        ("limits.memory", "0", str(8 << 30)),
    ],
)
async def test_resources_are_rounded_up_and_default_to_what_the_node_has(
    node: Any, resource: str, divisor: str, value: str
) -> None:
    source = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    resources = {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}
    assert await variables(node, {"name": "X", "valueFrom": source}, resources=resources) == {"X": value}


async def test_config_maps_and_secrets_whole_and_by_key(node: Any) -> None:
    node.objects.held["configmaps", "default", "settings"] = {"data": {"a": "1", "1st": "2", "no=name": "3"}}
    node.objects.held["secrets", "default", "keys"] = {"data": {"token": base64.b64encode(b"s3cret").decode()}}
    found = await variables(
        node,
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        envFrom=[{"prefix": "CFG_", "configMapRef": {"name": "settings"}}],
    )
    assert found == {"CFG_a": "1", "CFG_1st": "2", "A": "1", "T": "s3cret"}


async def test_what_is_missing_is_named(node: Any) -> None:
    reference = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}
    with pytest.raises(ConfigurationError, match='configmap "settings" not found'):
        await variables(node, reference)
    node.objects.held["configmaps", "default", "settings"] = {"data": {}}
    with pytest.raises(ConfigurationError, match="couldn't find key a in ConfigMap default/settings"):
        await variables(node, reference)


async def test_a_pod_waits_for_its_config_map(node: Any) -> None:
    reference = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}
    async with node.running(node.pod({"name": "web", "env": [reference]})):
        waiting = node.told.container("web")["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
        node.objects.held["configmaps", "default", "settings"] = {"data": {"a": "1"}}
        await node.clock.advance(3)
        assert node.told.status["phase"] == "Running"


async def test_root_is_refused_where_it_must_not_be(node: Any) -> None:
    async with node.running(node.pod({"name": "web", "securityContext": {"runAsNonRoot": True}})):
        waiting = node.told.container("web")["state"]["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"
        assert waiting["message"].startswith("container has runAsNonRoot and image will run as root")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)-$(B)", "1-$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $(", "$A ${A} $("),
        ("plain", "plain"),
    ],
)
def test_references_are_expanded_as_in_kubernetes(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded
