from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.scheme import JOBS, PODS


def pod(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}


async def test_pods_that_have_ended_beyond_the_threshold_go_evicted_and_old_ones_first(cluster: Cluster) -> None:
    _, task = cluster.processes[0]
    task.cancel()
    await cluster.controllers("strict", terminated_pod_threshold=2)
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    for number, reason in enumerate(["", "", "Evicted", ""]):
        await cluster.client.create(PODS, "default", pod(f"pod-{number}"))
        await cluster.eventually(lambda: len(cluster.ready()) == 1)
        patch = {"status": {"phase": "Failed", "reason": reason}}
        await cluster.client.patch(PODS, "default", f"pod-{number}", patch, subresource="status", strategic=True)
        await cluster.pass_time(2)
    await cluster.eventually(lambda: len(cluster.pods.items("default")) == 2)
    assert {item.name for item in cluster.pods.items("default")} == {"pod-1", "pod-3"}


async def test_a_pod_without_a_node_fails_when_it_is_deleted_and_something_holds_it(cluster: Cluster) -> None:
    cluster.nodes.clear()
    await cluster.client.create(PODS, "default", pod("held", finalizers=["example.com/hold"]))
    await cluster.settled(0.5)
    await cluster.client.delete(PODS, "default", "held")

    async def failed() -> bool:
        return (await cluster.client.get(PODS, "default", "held")).status.phase == "Failed"

    await cluster.eventually(failed)


async def test_a_finished_job_goes_when_its_time_to_stay_is_over(cluster: Cluster) -> None:
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
    job = {"template": {"spec": spec}, "ttlSecondsAfterFinished": 30}
    await cluster.client.create(JOBS, "default", {"metadata": {"name": "short"}, "spec": job})
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    (running,) = cluster.active()
    patch = {"status": {"phase": "Succeeded"}}
    await cluster.client.patch(PODS, "default", running.metadata.name, patch, subresource="status", strategic=True)
    await cluster.pass_time(28)
    assert await cluster.exists(JOBS, "default", "short")
    await cluster.pass_time(6)
    assert not await cluster.exists(JOBS, "default", "short")
    assert not cluster.pods.items("default")
