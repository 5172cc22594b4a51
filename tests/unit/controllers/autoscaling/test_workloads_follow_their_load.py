from __future__ import annotations

from typing import Any

from orch.autoscaling.recommend import replays
from orch.objects.scheme import DEPLOYMENTS

QUICK = {"scaleDown": {"stabilizationWindowSeconds": 20}}


async def test_a_step_of_load_is_answered_within_five_seconds(scene: Any) -> None:
    await scene.deploy()
    await scene.autoscale()

    async def settled() -> bool:
        return await scene.reason("ScalingActive") == "ValidMetricFound"

    await scene.cluster.eventually(settled, 60)
    status = (await scene.hpa()).status
    assert (status.current_replicas, status.desired_replicas) == (1, 1)
    assert status.current_metrics[0].current.average_utilization == 50
    conditions = await scene.conditions()
    assert conditions["AbleToScale"] == ("True", "ReadyForNewScale", "recommended size matches current size")
    assert conditions["ScalingLimited"][:2] == ("False", "DesiredWithinRange")

    await scene.cluster.pass_time(20)
    scene.load = lambda _: 300
    took = await scene.until_replicas(3)
    assert took < 5
    conditions = await scene.conditions()
    assert conditions["AbleToScale"][2] == "the HPA controller was able to update the target scale to 3"
    assert conditions["ScaledToZero"][:2] == ("False", "NotScaledToZero")
    assert (await scene.hpa()).status.last_scale_time
    events = {one.reason: one.message for one in await scene.cluster.told("SuccessfulRescale")}
    assert events["SuccessfulRescale"] == (
        "New size: 3; reason: cpu resource utilization (percentage of request) above target"
    )


async def test_one_noisy_second_changes_nothing(scene: Any) -> None:
    await scene.deploy(replicas=2)
    await scene.autoscale()
    await scene.cluster.pass_time(40)
    scene.load = lambda _: 1000
    await scene.cluster.pass_time(1)
    scene.load = lambda _: 100
    await scene.cluster.pass_time(20)
    assert await scene.replicas() == 2


async def test_pods_go_when_the_load_went_and_the_window_is_over(scene: Any) -> None:
    await scene.deploy(replicas=4)
    await scene.autoscale(behavior=QUICK)
    await scene.cluster.pass_time(40)
    scene.load = lambda _: 25
    took = await scene.until_replicas(1)
    assert 20 <= took < 30
    conditions = await scene.conditions()
    assert conditions["AbleToScale"][1] == "SucceededRescale"


async def test_nothing_is_written_while_nothing_moves(scene: Any) -> None:
    await scene.deploy(replicas=2)
    await scene.autoscale()
    await scene.cluster.pass_time(40)
    before = (await scene.hpa()).metadata.resource_version
    scene.load = lambda _: 103
    await scene.cluster.pass_time(35)
    assert (await scene.hpa()).metadata.resource_version == before


async def test_bounds_come_before_metrics(scene: Any) -> None:
    await scene.deploy(replicas=1)
    await scene.autoscale(minReplicas=3)
    await scene.until_replicas(3)
    assert any(
        one.message == "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
        for one in await scene.cluster.told("SuccessfulRescale")
    )
    await scene.cluster.client.patch(DEPLOYMENTS, "default", "web", {"spec": {"replicas": 0}})

    async def disabled() -> bool:
        return await scene.reason("ScalingActive") == "ScalingDisabled"

    await scene.cluster.eventually(disabled)
    assert await scene.replicas() == 0


async def test_every_decision_can_be_computed_again(scene: Any) -> None:
    await scene.deploy()
    await scene.autoscale()
    await scene.cluster.pass_time(30)
    scene.load = lambda _: 300
    await scene.until_replicas(3)
    await scene.cluster.settled()
    decision = await scene.decision()
    assert decision is not None
    assert decision.target == "Deployment/web"
    changes = [(one.before, one.after) for one in decision.changes]
    assert changes[0][0] == 1
    assert changes[-1][1] == decision.outcome.replicas >= 3
    assert decision.inputs.pods[0].name.startswith("web-")
    assert replays(decision)
    decision.inputs.max_replicas = 2
    assert not replays(decision)
