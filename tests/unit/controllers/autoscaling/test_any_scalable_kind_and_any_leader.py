from __future__ import annotations

from typing import Any

import pytest

from orch.autoscaling.recommend import replays
from orch.objects.meta import Object
from orch.objects.scheme import Kind
from orch_api.foreign_metrics.endpoint import MetricsEndpoint
from orch_pb.v1.autoscaling_pb2 import MetricsRequest, MetricValue

QUEUE = {
    "type": "External",
    "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}},
}
AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}}
DEFINITIONS: Kind[Any] = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False, Object
)
FLEETS: Kind[Any] = Kind("example.com", "v1", "fleets", "Fleet", True, Object)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The length of a queue that the api knows of."""
    lengths = {"queue": 0}

    async def find(_self: Any, _caller: Any, request: MetricsRequest) -> list[MetricValue]:
        return [MetricValue(value=lengths[request.metric] * 1000)]

    monkeypatch.setattr(MetricsEndpoint, "_find", find)
    return lengths


async def test_an_idle_workload_sleeps_and_wakes(scene: Any, queue: dict[str, int]) -> None:
    queue["queue"] = 5
    await scene.deploy()
    await scene.autoscale(metrics=[QUEUE], behavior=AT_ONCE, minReplicas=0)
    await scene.cluster.pass_time(10)
    assert await scene.replicas() == 1
    queue["queue"] = 0
    await scene.until_replicas(0)
    await scene.cluster.settled()
    assert (await scene.conditions())["ScaledToZero"] == (
        "True",
        "ScaledToZero",
        "the HPA controller scaled the workload to zero",
    )
    await scene.cluster.pass_time(20)
    assert await scene.replicas() == 0
    queue["queue"] = 25
    await scene.until_replicas(3)
    await scene.cluster.settled()
    assert await scene.reason("ScaledToZero") == "NotScaledToZero"
    metric = (await scene.hpa()).status.current_metrics[0]
    assert metric.type == "External"


async def test_a_kind_that_users_defined_is_scaled_through_its_scale(scene: Any, queue: dict[str, int]) -> None:
    queue["queue"] = 35
    client = scene.cluster.client
    scale = {
        "specReplicasPath": ".spec.ships",
        "statusReplicasPath": ".status.ships",
        "labelSelectorPath": ".status.selector",
    }
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"scale": scale},
    }
    names = {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await client.create(DEFINITIONS, "", body)

    async def made() -> bool:
        try:
            fleet = {"metadata": {"name": "f"}, "spec": {"ships": 2}, "status": {"ships": 2, "selector": "app=f"}}
            await client.create(FLEETS, "default", {"apiVersion": "example.com/v1", "kind": "Fleet", **fleet})
        except Exception:  # noqa: BLE001 - until it is served
            return False
        return True

    await scene.cluster.eventually(made)
    target = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f"}
    await scene.autoscale(scaleTargetRef=target, metrics=[QUEUE])

    async def grown() -> bool:
        (fleet,) = await client.list(FLEETS.with_view(Fleet), "default")
        return fleet.spec["ships"] == 4

    await scene.cluster.eventually(grown, 60)


class Fleet(Object, frozen=True):
    spec: dict[str, int] = {}


async def test_a_new_leader_remembers_what_was_recommended(scene: Any) -> None:
    """Without the history of the leader before it, it would scale down at once."""
    window = {"scaleDown": {"stabilizationWindowSeconds": 120}}
    await scene.deploy(replicas=4)
    await scene.autoscale(behavior=window)
    await scene.cluster.pass_time(30)
    scene.load = lambda _: 10
    await scene.cluster.pass_time(10)
    assert await scene.reason("AbleToScale") == "ScaleDownStabilized"
    _, task = scene.cluster.processes[0]
    task.cancel()
    second = await scene.cluster.controllers("second")
    await scene.cluster.eventually(lambda: second.acting, 60)
    await scene.cluster.pass_time(30)
    assert await scene.replicas() == 4
    took = await scene.until_replicas(1, 200)
    assert took > 20
    decision = await scene.decision()
    assert decision is not None
    assert replays(decision)
