from __future__ import annotations

from typing import Any

import pytest


async def said(scene: Any, kind: str, reason: str, name: str = "web", text: str = "") -> str:
    """Wait for a condition with a message that has this text; return the message."""

    async def there() -> bool:
        _, found, message = (await scene.conditions(name)).get(kind, ("", "", ""))
        return found == reason and text in message

    await scene.cluster.eventually(there, 60)
    status, _, message = (await scene.conditions(name))[kind]
    assert status == "False"
    return message


async def warned(scene: Any, reason: str) -> list[str]:
    async def there() -> bool:
        return any(one.reason == reason for one in await scene.cluster.events())

    await scene.cluster.eventually(there, 10)
    return [one.message for one in await scene.cluster.events() if one.reason == reason]


async def test_a_target_that_is_not_there(scene: Any) -> None:
    await scene.autoscale(target="nothing")
    message = await said(scene, "AbleToScale", "FailedGetScale")
    problem = 'deployments.apps "nothing" not found'
    assert message == f"the HPA controller was unable to get the target's current scale: {problem}"
    assert await warned(scene, "FailedGetScale") == [problem]


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ({"apiVersion": "example.com/v1", "kind": "Web"}, 'no matches for kind "Web" in group "example.com"'),
        ({"apiVersion": "apps/v1", "kind": "DaemonSet"}, "the server could not find the requested resource"),
    ],
)
async def test_targets_without_a_scale(scene: Any, reference: dict[str, str], problem: str) -> None:
    await scene.autoscale(scaleTargetRef={**reference, "name": "web"})
    assert (await said(scene, "AbleToScale", "FailedGetScale")).endswith(problem)


async def test_pods_without_requests(scene: Any) -> None:
    await scene.deploy(cpu="")
    await scene.autoscale()
    problem = "failed to get cpu utilization: missing request for cpu in container main of Pod web-"
    message = await said(scene, "ScalingActive", "FailedGetResourceMetric", text="missing request")
    assert message.startswith(f"the HPA was unable to compute the replica count: {problem}")
    first = "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value"
    events = await warned(scene, "FailedComputeMetricsReplicas")
    assert any(text.startswith(f"{first}: {problem}") for text in events)


async def test_pods_that_two_autoscalers_select(scene: Any) -> None:
    await scene.deploy(replicas=2)
    await scene.autoscale("one")
    await scene.autoscale("other")
    message = await said(scene, "ScalingActive", "AmbiguousSelector", "other")
    assert message == "pods by selector app=web are controlled by multiple HPAs: [{one default} {other default}]"
    assert await said(scene, "ScalingActive", "AmbiguousSelector", "one") == message
    assert await warned(scene, "AmbiguousSelector") == [message] * 2


async def test_a_metric_that_nobody_serves(scene: Any) -> None:
    await scene.deploy()
    target = {"type": "AverageValue", "averageValue": "10"}
    await scene.autoscale(metrics=[{"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}])
    message = await said(scene, "ScalingActive", "FailedGetExternalMetric")
    assert "unable to fetch metrics from external metrics API" in message


async def test_a_container_that_is_not_there(scene: Any) -> None:
    await scene.deploy()
    target = {"type": "Utilization", "averageUtilization": 50}
    source = {"name": "cpu", "container": "side", "target": target}
    await scene.autoscale(metrics=[{"type": "ContainerResource", "containerResource": source}])
    message = await said(scene, "ScalingActive", "FailedGetContainerResourceMetric", text="container side")
    start = "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for"
    assert message.startswith(f"{start} resource cpu: container side not present in metrics for pod default/web-")
