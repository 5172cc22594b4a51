from __future__ import annotations

from typing import Any

from lagging_world import Ticking

from orch.objects.scheme import DISRUPTION_BUDGETS, PODS
from orch.runtime.reconcile import Key
from orch_controllers.disruption.reconciler import DisruptionReconciler
from orch_controllers.disruption.stale import StaleDisruptionReconciler

READY = {"type": "Ready", "status": "True"}


async def create_pod(ticking: Ticking, name: str, *conditions: dict[str, str]) -> None:
    body: dict[str, Any] = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {}}
    await ticking.client.create(PODS, "default", body)
    patch = {"status": {"conditions": [READY, *conditions]}}
    await ticking.client.patch(PODS, "default", name, patch)


async def test_a_pod_that_was_allowed_to_go_counts_as_gone_for_two_minutes() -> None:
    ticking = Ticking([DISRUPTION_BUDGETS, PODS], DisruptionReconciler, Key("default", "budget"))
    for name in ("one", "two", "three"):
        await create_pod(ticking, name)
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}
    await ticking.client.create(DISRUPTION_BUDGETS, "default", {"metadata": {"name": "budget"}, "spec": spec})
    await ticking.settled()

    async def counts() -> tuple[int, int]:
        status = (await ticking.client.get(DISRUPTION_BUDGETS, "default", "budget")).status
        return status.current_healthy, status.disruptions_allowed

    assert await counts() == (3, 1)
    taken = {"status": {"disruptionsAllowed": 0, "disruptedPods": {"one": ticking.world.now()}}}
    await ticking.client.patch(DISRUPTION_BUDGETS, "default", "budget", taken)
    await ticking.settled()
    assert await counts() == (2, 0)
    await ticking.pass_time(110)
    assert await counts() == (2, 0)
    await ticking.pass_time(15)
    assert await counts() == (3, 1)
    expected = "Pod was expected by PDB default/budget to be deleted but it wasn't"
    assert ticking.told()["NotDeleted"] == expected


async def test_what_was_said_of_a_pod_that_stayed_is_taken_back() -> None:
    ticking = Ticking([PODS], StaleDisruptionReconciler, Key("default", "one"))
    since = ticking.world.now()
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    await create_pod(ticking, "one", {**target, "lastTransitionTime": since})
    await ticking.pass_time(110)
    assert await stated(ticking) == "True"
    await ticking.pass_time(15)
    assert await stated(ticking) == "False"


async def test_what_its_node_said_stands() -> None:
    ticking = Ticking([PODS], StaleDisruptionReconciler, Key("default", "one"))
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    await create_pod(ticking, "one", {**target, "lastTransitionTime": ticking.world.now()})
    await ticking.pass_time(300)
    assert await stated(ticking) == "True"


async def stated(ticking: Ticking) -> str:
    pod = await ticking.client.get(PODS, "default", "one")
    return pod.status.condition("DisruptionTarget").status
