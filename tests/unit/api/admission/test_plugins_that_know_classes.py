"""Plugins that look at classes of storage, ingress and runtime, at nodes' labels, and at how often events come."""

import json
from typing import Any

import pytest

from orch.errors import ApiError, ConfigError, ForbiddenError
from orch_api.admission import UPDATE
from orch_api.admission.configuration import Given
from orch_api.admission.event_rates import EventRateLimit
from orch_api.auth.identity import Caller
from orch_api.pipeline import WriteOptions

ADMIN = Caller("orch:admin", ("system:masters",))


async def make(driver: Any, group: str, plural: str, document: dict[str, Any]) -> dict[str, Any]:
    resource = driver.resource(plural, group)
    where = "default" if resource.namespaced else ""
    made = await driver.core.pipeline.create(ADMIN, resource, where, json.dumps(document).encode(), WriteOptions())
    return json.loads(made.json)


async def storage_class(driver: Any, name: str, *, default: bool = False, **more: Any) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    document = {"metadata": {"name": name, "annotations": annotations}, "provisioner": "p", **more}
    await make(driver, "storage.k8s.io", "storageclasses", document)
    await driver.core.cache.catch_up()


def claim(name: str = "c", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"storage": size}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec}}


async def test_a_claim_gets_the_newest_default_class(driver, clock):
    assert "storageClassName" not in (await driver.create("persistentvolumeclaims", claim("none")))["spec"]
    await storage_class(driver, "a", default=True)
    await storage_class(driver, "b", default=True)
    assert (await driver.create("persistentvolumeclaims", claim("first")))["spec"]["storageClassName"] == "a"
    await clock.advance(5)
    await storage_class(driver, "z", default=True)
    assert (await driver.create("persistentvolumeclaims", claim("newest")))["spec"]["storageClassName"] == "z"
    assert (await driver.create("persistentvolumeclaims", claim("own", storageClassName="")))["spec"][
        "storageClassName"
    ] == ""


async def test_an_ingress_gets_the_default_class(driver):
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    ours = {"metadata": {"name": "ours", "annotations": annotations}, "spec": {"controller": "x.com/y"}}
    await make(driver, "networking.k8s.io", "ingressclasses", ours)
    await driver.core.cache.catch_up()
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    made = await make(driver, "networking.k8s.io", "ingresses", {"metadata": {"name": "i"}, "spec": backend})
    assert made["spec"]["ingressClassName"] == "ours"
    old = {"name": "old", "annotations": {"kubernetes.io/ingress.class": "theirs"}}
    made = await make(driver, "networking.k8s.io", "ingresses", {"metadata": old, "spec": backend})
    assert "ingressClassName" not in made["spec"]


async def test_a_claim_grows_when_it_is_bound_and_its_class_allows_it(driver):
    await storage_class(driver, "fixed")
    await storage_class(driver, "growing", allowVolumeExpansion=True)
    for name in ("fixed", "growing"):
        await driver.create("persistentvolumeclaims", claim(name, storageClassName=name, volumeName="v"))
        await driver.core.cache.catch_up()
        grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        with pytest.raises(ApiError, match=r"can be expanded|immutable"):
            await driver.patch("persistentvolumeclaims", name, grown)
        bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
        await driver.patch("persistentvolumeclaims", name, bound, subresource="status")
        await driver.core.cache.catch_up()
    await driver.patch("persistentvolumeclaims", "growing", grown)
    with pytest.raises(ForbiddenError, match="the storageclass that provisions the pvc must support resize"):
        await driver.patch("persistentvolumeclaims", "fixed", grown)


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def test_a_runtime_class_costs_and_places(driver):
    toleration = {"key": "vm", "operator": "Exists"}
    rule = {"nodeSelector": {"kvm": "yes"}, "tolerations": [toleration]}
    overhead = {"podFixed": {"cpu": "250m"}}
    kind = {"metadata": {"name": "vm"}, "handler": "vm", "overhead": overhead, "scheduling": rule}
    await make(driver, "node.k8s.io", "runtimeclasses", kind)
    made = (await driver.create("pods", pod(runtimeClassName="vm", nodeSelector={"zone": "a"})))["spec"]
    assert (made["overhead"], made["nodeSelector"]) == ({"cpu": "250m"}, {"zone": "a", "kvm": "yes"})
    assert toleration in made["tolerations"]
    cases = [
        (pod(runtimeClassName="absent"), 'pod rejected: RuntimeClass "absent" not found'),
        (pod(overhead={"cpu": "1"}), "pod rejected: Pod Overhead set without corresponding RuntimeClass defined"),
        (pod(runtimeClassName="vm", overhead={"cpu": "1"}), "Pod's Overhead doesn't match RuntimeClass's defined"),
        (pod(runtimeClassName="vm", nodeSelector={"kvm": "no"}), "conflict: runtimeClass.scheduling.nodeSelector.kvm."),
    ]
    for refused, problem in cases:
        with pytest.raises(ForbiddenError, match=problem):
            await driver.create("pods", refused)


async def test_a_pod_learns_where_it_runs(driver):
    labels = {"topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "r", "kubernetes.io/os": "linux"}
    await driver.create("nodes", {"metadata": {"name": "n", "labels": labels}}, namespace="")
    await driver.create("pods", pod() | {"metadata": {"name": "p", "labels": {"own": "x"}}})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    resource = driver.resource("pods")
    body = json.dumps(binding).encode()
    await driver.core.cache.catch_up()
    await driver.core.pipeline.create(ADMIN, resource, "default", body, WriteOptions(), subresource="binding", name="p")
    await driver.core.cache.catch_up()
    found = (await driver.get("pods", "p"))["metadata"]["labels"]
    assert found == {"own": "x", "topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "r"}


def limits(*listed: dict[str, Any]) -> Given:
    kind = {"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration"}
    return Given({**kind, "limits": list(listed)}, "file")


async def test_events_come_as_often_as_they_may(ask, tell, clock):
    by_namespace = {"type": "Namespace", "qps": 1, "burst": 2, "cacheSize": 10}
    plugin = EventRateLimit(limits(by_namespace, {"type": "User", "qps": 1, "burst": 3}), clock)

    def event(namespace: str = "a") -> Any:
        return ask("events", {"metadata": {"name": "e"}}, namespace=namespace)

    assert [await tell(plugin, event()) for _ in range(2)] == ["", ""]
    assert await tell(plugin, event()) == "Too many requests: limit reached on type Namespace for key a"
    await clock.advance(1)
    assert await tell(plugin, event()) == ""
    told = "Too many requests: [limit reached on type Namespace for key a, limit reached on type User for key alice]"
    assert await tell(plugin, event()) == told
    updated = ask("events", {"metadata": {"name": "e"}}, {"metadata": {"name": "e"}}, operation=UPDATE, dry_run=True)
    assert await tell(plugin, updated) == ""


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (Given(), "admission_control_config_file: EventRateLimit is on and has no configuration there"),
        (limits(), "file: limits: must not be empty"),
        (limits({"type": "Pod", "qps": 1, "burst": 1}), "file: limits[0].type: invalid enum value 'Pod'"),
        (limits({"type": "User", "qps": 0, "burst": 1}), "file: limits[0].qps: expected `int` >= 1"),
        (limits({"type": "User", "qps": 1}), "file: limits[0].burst: is required"),
    ],
)
def test_limits_that_cannot_be(given, problem, clock):
    with pytest.raises(ConfigError) as refused:
        EventRateLimit(given, clock)
    assert problem in str(refused.value)
