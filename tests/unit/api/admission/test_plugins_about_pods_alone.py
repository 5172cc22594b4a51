"""Plugins that need to know nothing but the pod, the node or the service that is written."""

import copy
from typing import Any

import pytest

from orch_api.admission import UPDATE
from orch_api.admission.anti_affinity import LimitPodHardAntiAffinityTopology
from orch_api.admission.default_tolerations import DefaultTolerationSeconds
from orch_api.admission.extended_tolerations import ExtendedResourceToleration
from orch_api.admission.external_ips import DenyServiceExternalIPs
from orch_api.admission.node_taints import TaintNodesByCondition
from orch_api.admission.pull_images import AlwaysPullImages
from orch_api.admission.storage_protection import StorageObjectInUseProtection


def pod(**spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "nginx", "imagePullPolicy": "IfNotPresent"}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}


def apart(key: str) -> dict[str, Any]:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key}]}}


async def test_required_anti_affinity_is_about_nodes(ask, tell):
    plugin = LimitPodHardAntiAffinityTopology()
    assert await tell(plugin, ask("pods", pod(affinity=apart("kubernetes.io/hostname")))) == ""
    assert await tell(plugin, ask("pods", pod(affinity=apart("zone")))) == (
        'pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key '
        "kubernetes.io/hostname is allowed"
    )


@pytest.mark.parametrize(
    ("node", "taints"),
    [
        ({}, [("node.kubernetes.io/not-ready", "NoSchedule")]),
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, []),
        (
            {"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}},
            [("node.kubernetes.io/not-ready", "NoSchedule")],
        ),
        (
            {"spec": {"taints": [{"key": "own", "effect": "NoExecute"}]}, "status": {"conditions": None}},
            [("own", "NoExecute"), ("node.kubernetes.io/not-ready", "NoSchedule")],
        ),
    ],
)
async def test_new_nodes_are_tainted_until_they_are_ready(ask, tell, node, taints):
    document = {"metadata": {"name": "n"}, **node}
    assert await tell(TaintNodesByCondition(), ask("nodes", document)) == ""
    found = document.get("spec", {}).get("taints", [])
    assert [(one["key"], one["effect"]) for one in found] == taints


async def test_all_images_are_asked_for(ask, tell):
    plugin, document = AlwaysPullImages(), pod(volumes=[{"name": "v", "image": {"reference": "r"}}])
    assert await tell(plugin, ask("pods", document)) == ""
    assert document["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert document["spec"]["volumes"][0]["image"]["pullPolicy"] == "Always"
    document["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    with pytest.raises(Exception, match=r"spec.containers\[0\].imagePullPolicy: Unsupported value: \"Never\""):
        await plugin.validate(ask("pods", document))
    assert await tell(plugin, ask("pods", document, copy.deepcopy(document), operation=UPDATE)) == ""
    assert document["spec"]["containers"][0]["imagePullPolicy"] == "Never"  # the image is not a new one


async def test_pods_leave_a_lost_node_after_a_while_unless_they_say_otherwise(ask, tell):
    async def tolerations(plugin: Any, *own: Any) -> list[Any]:
        document = pod(tolerations=list(own))
        await tell(plugin, ask("pods", document))
        return [(one.get("key", "")[19:], one.get("tolerationSeconds")) for one in document["spec"]["tolerations"]]

    three = DefaultTolerationSeconds()
    assert await tolerations(three) == [("not-ready", 3), ("unreachable", 3)]
    own = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "tolerationSeconds": 60}
    assert await tolerations(three, own) == [("unreachable", 60), ("not-ready", 3)]
    assert await tolerations(three, {"operator": "Exists"}) == [("", None)]
    assert await tolerations(DefaultTolerationSeconds(300, 10)) == [("not-ready", 300), ("unreachable", 10)]


async def test_devices_are_tolerated(ask, tell):
    document = pod()
    document["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1", "z.com/b": "1", "a.com/gpu": "1"}}
    document["spec"]["tolerations"] = [{"key": "z.com/b", "operator": "Exists"}]
    await tell(ExtendedResourceToleration(), ask("pods", document))
    assert document["spec"]["tolerations"][1:] == [{"key": "a.com/gpu", "operator": "Exists"}]


async def test_external_addresses_are_only_ever_given_up(ask, tell):
    def service(*addresses: str) -> dict[str, Any]:
        return {"metadata": {"name": "s"}, "spec": {"externalIPs": list(addresses)}}

    plugin = DenyServiceExternalIPs()
    assert await tell(plugin, ask("services", service())) == ""
    denied = 'services "s" is forbidden: Use of external IPs is denied by admission control'
    assert await tell(plugin, ask("services", service("1.1.1.1"))) == denied
    two = service("1.1.1.1", "1.1.1.2")
    assert await tell(plugin, ask("services", service("1.1.1.1"), two, operation=UPDATE)) == ""
    assert await tell(plugin, ask("services", two, service("1.1.1.1"), operation=UPDATE)) == denied


@pytest.mark.parametrize(
    ("plural", "finalizer"),
    [
        ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
        ("persistentvolumes", "kubernetes.io/pv-protection"),
        ("volumeattributesclasses.storage.k8s.io", "kubernetes.io/vac-protection"),
    ],
)
async def test_storage_in_use_is_protected(ask, tell, plural, finalizer):
    document = {"metadata": {"name": "s", "finalizers": ["own/one"]}}
    for _ in range(2):
        await tell(StorageObjectInUseProtection(), ask(plural, document))
    assert document["metadata"]["finalizers"] == ["own/one", finalizer]
