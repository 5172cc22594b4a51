from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.batch import Job
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS, PODS


def job(name: str = "work", **spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
    return {"metadata": {"name": name}, "spec": {"template": {"spec": pod}, **spec}}


async def ended(cluster: Cluster, name: str = "work") -> Job:
    """Wait for the job's last condition, and return the job."""
    found: list[Job] = []

    async def look() -> bool:
        found[:] = [await cluster.client.get(JOBS, "default", name)]
        return found[0].status.finished is not None

    await cluster.eventually(look)
    return found[0]


async def end(cluster: Cluster, pod: Pod, code: int = 0) -> None:
    """Report the end of a pod as its agent would."""
    terminated = {"exitCode": code, "finishedAt": cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")}
    status = {
        "phase": "Failed" if code else "Succeeded",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "name": "main",
                "image": "busybox",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ],
    }
    patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
    await cluster.client.patch(PODS, "default", pod.metadata.name, patch, subresource="status", strategic=True)


def running(cluster: Cluster) -> list[Pod]:
    return [pod for pod in cluster.active() if pod.status.phase == "Running"]


async def test_a_job_of_one_pod(cluster: Cluster) -> None:
    await cluster.client.create(JOBS, "default", job())
    await cluster.eventually(lambda: running(cluster))
    (pod,) = running(cluster)
    await end(cluster, pod)
    done = await ended(cluster)
    assert done.status.succeeded == 1
