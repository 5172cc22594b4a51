from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Cluster

from orch.objects.policy import DisruptionBudget
from orch.objects.scheme import DISRUPTION_BUDGETS, JOBS, PODS


async def create(cluster: Cluster, **spec: Any) -> None:
    body = {"metadata": {"name": "budget"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}
    await cluster.client.create(DISRUPTION_BUDGETS, "default", body)


async def until(cluster: Cluster, **status: object) -> DisruptionBudget:
    """Wait until the budget's status has these fields; return it."""
    found: list[DisruptionBudget] = []

    async def holds() -> bool:
        found[:] = [await cluster.client.get(DISRUPTION_BUDGETS, "default", "budget")]
        return all(getattr(found[0].status, name) == value for name, value in status.items())

    await cluster.eventually(holds, 20)
    return found[0]


def condition(budget: DisruptionBudget) -> tuple[str, str, str]:
    (found,) = budget.status.conditions
    return found.type, found.status, found.reason


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 3}, (4, 3, 1)),
        ({"minAvailable": 5}, (4, 5, 0)),
        ({"minAvailable": "60%"}, (4, 3, 1)),
        ({"maxUnavailable": 1}, (4, 3, 1)),
        ({"maxUnavailable": "30%"}, (4, 2, 2)),
        ({"maxUnavailable": "0%"}, (4, 4, 0)),
        ({"maxUnavailable": 9}, (4, 0, 4)),
    ],
)
async def test_counts_over_a_deployment(cluster: Cluster, spec: dict[str, Any], expected: tuple[int, ...]) -> None:
    await cluster.deploy(replicas=4)
    await cluster.eventually(cluster.is_rolled_out)
    await create(cluster, **spec)
    pods, desired, allowed = expected
    budget = await until(
        cluster, expected_pods=pods, desired_healthy=desired, disruptions_allowed=allowed, current_healthy=4
    )
    assert budget.status.observed_generation == 1
    enough = ("DisruptionAllowed", "True", "SufficientPods")
    assert condition(budget) == (enough if allowed else ("DisruptionAllowed", "False", "InsufficientPods"))


async def test_it_follows_pods_and_scale_and_is_quiet_when_nothing_changes(cluster: Cluster) -> None:
    await create(cluster, maxUnavailable=1)
    await until(cluster, expected_pods=0, disruptions_allowed=0, observed_generation=1)
    await cluster.deploy(replicas=3)
    await until(cluster, expected_pods=3, current_healthy=3, disruptions_allowed=1)
    await cluster.change(replicas=5)
    await until(cluster, expected_pods=5, current_healthy=5, desired_healthy=4)
    pod = cluster.active()[0]
    cluster.becomes_ready = lambda each: each.metadata.uid != pod.metadata.uid
    await cluster.report(pod, ready=False)
    budget = await until(cluster, current_healthy=4, disruptions_allowed=0)
    await cluster.settled(3)
    assert (await until(cluster)).metadata.resource_version == budget.metadata.resource_version


async def test_pods_of_a_controller_without_a_scale_are_told(cluster: Cluster) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template}}
    await cluster.client.create(JOBS, "default", body)
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    await create(cluster, maxUnavailable=1)

    async def failed() -> bool:
        budget = await cluster.client.get(DISRUPTION_BUDGETS, "default", "budget")
        return [each.reason for each in budget.status.conditions] == ["SyncFailed"]

    await cluster.eventually(failed, 20)
    budget = await until(cluster)
    assert budget.status.conditions[0].message == "jobs.batch does not implement the scale subresource"
    assert budget.status.disruptions_allowed == 0


async def test_pods_without_a_controller_count_for_a_number_only(cluster: Cluster) -> None:
    containers = [{"name": "main", "image": "busybox"}]
    for name in ("one", "two"):
        body = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": containers}}
        await cluster.client.create(PODS, "default", body)
    await create(cluster, minAvailable=1)
    await until(cluster, expected_pods=2, current_healthy=2, disruptions_allowed=1)
    await cluster.client.patch(DISRUPTION_BUDGETS, "default", "budget", {"spec": {"minAvailable": "50%"}})
    await until(cluster, expected_pods=0, disruptions_allowed=0, observed_generation=2)
    await cluster.told("UnmanagedPods")
