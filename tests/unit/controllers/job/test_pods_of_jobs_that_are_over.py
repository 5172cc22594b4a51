from __future__ import annotations

from typing import Any

import pytest
from lagging_world import Ticking

from orch.objects.scheme import JOBS, PODS
from orch.runtime.reconcile import Key
from orch_controllers.job.orphans import JobOrphanReconciler
from orch_controllers.job.pods import FINALIZER
from orch_controllers.job.reconciler import JobReconciler


async def pod_of(ticking: Ticking, uid: str, kind: str = "Job") -> None:
    owner = {"apiVersion": "batch/v1", "kind": kind, "name": "work", "uid": uid, "controller": True}
    meta = {"name": "pod", "finalizers": [FINALIZER], "ownerReferences": [owner], "labels": {"job": "work"}}
    await ticking.client.create(PODS, "default", {"metadata": meta, "spec": {}})
    await ticking.settled()


def is_held(ticking: Ticking) -> bool:
    pod = ticking.world.find(PODS, "pod")
    assert pod is not None
    return FINALIZER in pod["metadata"]["finalizers"]


def job(**status: Any) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"job": "work"}}, "suspend": True}
    return {"metadata": {"name": "work"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("exists", "kind", "same", "held"),
    [(False, "Job", True, False), (True, "Job", False, False), (True, "Job", True, True), (False, "Other", True, True)],
)
async def test_the_pod_of_a_job_that_is_gone_is_let_go(*, exists: bool, kind: str, same: bool, held: bool) -> None:
    ticking = Ticking([JOBS, PODS], JobOrphanReconciler, Key("default", "pod"))
    uid = "gone"
    if exists:
        made = await ticking.client.create(JOBS, "default", job())
        uid = made.metadata.uid if same else "another"
    await pod_of(ticking, uid, kind)
    assert is_held(ticking) == held


async def test_a_job_that_the_informer_does_not_know_yet_is_asked_for() -> None:
    ticking = Ticking([JOBS, PODS], JobOrphanReconciler, Key("default", "pod"))
    made = await ticking.client.create(JOBS, "default", job())
    informer = ticking.process.informers.of(JOBS)
    informer.get = lambda namespace, name: None  # type: ignore[method-assign]
    await pod_of(ticking, made.metadata.uid)
    assert is_held(ticking)


async def test_a_pod_that_turns_up_after_the_end_is_let_go() -> None:
    ticking = Ticking([JOBS, PODS], JobReconciler, Key("default", "work"))
    complete = [{"type": "Complete", "status": "True"}]
    made = await ticking.client.create(JOBS, "default", job(conditions=complete, succeeded=1))
    await pod_of(ticking, made.metadata.uid)
    assert not is_held(ticking)
    assert (await ticking.client.get(JOBS, "default", "work")).status.succeeded == 1
