from __future__ import annotations

from typing import Any

from orch.bus.subjects import RECOMMENDATIONS, recommendation_subject
from orch_pb.v1.autoscaling_pb2 import ContainerRecommendation, WorkloadRecommendation


async def newest(scene: Any) -> ContainerRecommendation | None:
    subject = recommendation_subject("default", "Deployment", "web")
    found: ContainerRecommendation | None = None
    async for message in scene.cluster.api.bus("orch:admin").follow(RECOMMENDATIONS.name, [subject]):
        if hasattr(message, "data"):
            (found,) = WorkloadRecommendation.FromString(message.data).containers
        elif message.value == "synced":
            return found
    return None


async def test_what_was_learned_goes_on(scene: Any) -> None:
    await scene.deploy(replicas=2)

    await scene.cluster.pass_time(40)
    before = await newest(scene)
    assert before is not None
    assert before.container == "main"
    assert 100 <= before.target_cpu <= 135, "a tenth of a processor, a bucket and 15 %"
    assert before.lower_cpu <= before.target_cpu <= before.upper_cpu
    _, task = scene.cluster.processes[0]
    task.cancel()
    second = await scene.cluster.controllers("second")
    await scene.cluster.eventually(lambda: second.acting, 60)
    await scene.cluster.pass_time(80)
    after = await newest(scene)
    assert after is not None
    assert after.first == before.first
    assert after.samples > before.samples
