import json

import pytest

from orch.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InternalError,
    InvalidError,
    NotFoundError,
    TooManyRequestsError,
)
from orch.errors import TimeoutError as ApiTimeoutError
from orch_api.auth.identity import Caller
from orch_api.pipeline import WriteOptions
from orch_api.pipeline.disruptions import take
from orch_api.pipeline.eviction import RETRIES

ADMIN = Caller("orch:admin", ("system:masters",))
LABELS = {"app": "web"}
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."


def eviction(name="web", version="policy/v1", **options):
    document = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": name}}
    return document | ({"deleteOptions": options} if options else {})


async def evict(driver, document=None, *, name="web", caller=ADMIN, **options):
    outcome = await driver.core.pipeline.create(
        caller,
        driver.resource("pods"),
        "default",
        json.dumps(document or eviction(name)).encode(),
        WriteOptions(**options),
        subresource="eviction",
        name=name,
    )
    return json.loads(outcome.json)


async def refused(driver, **options):
    with pytest.raises(TooManyRequestsError) as caught:
        await evict(driver, **options)
    error = caught.value
    assert error.message == VIOLATES
    (cause,) = error.details.causes
    assert cause.reason == "DisruptionBudget"
    return cause.message, error.details.retry_after_seconds


@pytest.fixture
def running(driver, make_pod):
    """A pod with a status; a ready one by default."""

    async def make(name="web", *, node="n", status=None, **metadata):
        document = make_pod(name, nodeName=node) if node else make_pod(name)
        document["metadata"] |= {"labels": LABELS, **metadata}
        made = await driver.create("pods", document)
        made["status"] |= READY if status is None else status
        return await driver.update("pods", made, subresource="status")

    return make


@pytest.fixture
def budget(driver):
    """A budget whose status says what a controller would say."""
    resource = driver.resource("poddisruptionbudgets", "policy")

    async def make(name="web", *, spec=None, **status):
        body = {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": LABELS}, **(spec or {})}}
        call = driver.core.pipeline
        outcome = await call.create(ADMIN, resource, "default", json.dumps(body).encode(), WriteOptions())
        made = json.loads(outcome.json)
        made["status"] = {"observedGeneration": 1, "disruptionsAllowed": 0, **status}
        body = json.dumps(made).encode()
        await call.update(ADMIN, resource, "default", name, body, WriteOptions(), subresource="status")

    return make


async def read_budget(driver, name="web"):
    resource = driver.resource("poddisruptionbudgets", "policy")
    return json.loads((await driver.core.reader.get(resource, "default", name)).json)["status"]


async def test_a_pod_without_a_budget_is_deleted_and_says_why(driver, running):
    await running()
    answer = await evict(driver)
    assert answer == {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    pod = await driver.get("pods", "web")
    assert pod["metadata"]["deletionTimestamp"]
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 30
    assert pod["status"]["conditions"][-1] == {
        "type": "DisruptionTarget",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }


async def test_how_it_is_deleted_is_the_callers_choice(driver, running):
    await running()
    await evict(driver, eviction(gracePeriodSeconds=0))
    assert not await driver.exists("pods", "web")


@pytest.mark.parametrize("version", ["policy/v1", "policy/v1beta1"])
async def test_clients_of_old_are_understood(driver, running, version):
    await running()
    await evict(driver, eviction(version=version))
    assert (await driver.get("pods", "web"))["metadata"]["deletionTimestamp"]


async def test_the_document_must_be_an_eviction_of_this_pod(driver, running):
    await running()
    with pytest.raises(BadRequestError, match="name in URL does not match name in Eviction object"):
        await evict(driver, eviction("other"))
    with pytest.raises(BadRequestError, match=r"does not match the expected API version \(policy/v1\)"):
        await evict(driver, eviction(version="v1"))
    with pytest.raises(InvalidError, match="propagationPolicy"):
        await evict(driver, eviction(propagationPolicy="Sideways"))
    with pytest.raises(NotFoundError):
        await evict(driver, name="gone")


async def test_it_takes_the_right_to_evict(driver, running):
    await running()
    with pytest.raises(ForbiddenError, match="pods/eviction"):
        await evict(driver, caller=Caller("somebody", ("system:authenticated",)))


async def test_a_disruption_is_taken_from_the_budget(driver, running, budget):
    await running()
    await budget(disruptionsAllowed=2)
    await evict(driver)
    assert await read_budget(driver) == {
        "observedGeneration": 1,
        "disruptionsAllowed": 1,
        "disruptedPods": {"web": "2026-01-01T00:00:00Z"},
    }
    assert (await driver.get("pods", "web"))["metadata"]["deletionTimestamp"]


async def test_the_last_disruption_changes_the_condition(driver, running, budget):
    await running()
    await budget(disruptionsAllowed=1)
    await evict(driver)
    status = await read_budget(driver)
    assert status["disruptionsAllowed"] == 0
    assert status["conditions"] == [
        {
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ]


async def test_without_disruptions_left_the_pod_stays(driver, running, budget):
    await running()
    await budget(desiredHealthy=2, currentHealthy=2)
    assert await refused(driver) == ("The disruption budget web needs 2 healthy pods and has 2 currently", 0)
    pod = await driver.get("pods", "web")
    assert "deletionTimestamp" not in pod["metadata"]
    assert len(pod["status"]["conditions"]) == 1


async def test_a_budget_that_failed_to_sync_says_so(driver, running, budget):
    await running()
    condition = {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale"}
    await budget(conditions=[condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}])
    message, _ = await refused(driver)
    assert message.endswith("does not allow evicting pods currently because it failed sync: no scale")


async def test_a_budget_that_was_not_looked_at_yet_asks_for_patience(driver, running, budget):
    await running()
    await budget(observedGeneration=0, disruptionsAllowed=5)
    assert await refused(driver) == ("The disruption budget web is still being processed by the server.", 10)


async def test_more_than_one_budget_is_not_supported(driver, running, budget):
    await running()
    await budget("one", disruptionsAllowed=1)
    await budget("two", disruptionsAllowed=1)
    with pytest.raises(InternalError, match=r"^This pod has more than one PodDisruptionBudget, which the eviction"):
        await evict(driver)


@pytest.mark.parametrize("spec", [{"selector": {"matchLabels": {"app": "other"}}}, {"selector": None}])
async def test_a_budget_of_other_pods_does_not_count(driver, running, budget, spec):
    await running()
    await budget(spec=spec)
    await evict(driver)
    assert (await driver.get("pods", "web"))["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Pending"])
async def test_pods_that_do_not_run_need_no_budget(driver, running, budget, phase):
    await running(status={"phase": phase})
    await budget()
    await evict(driver, eviction(gracePeriodSeconds=0))
    assert not await driver.exists("pods", "web")


async def test_a_pod_that_is_going_needs_no_budget(driver, running, budget):
    await running()
    await budget()
    await driver.delete("pods", "web")
    await evict(driver, eviction(gracePeriodSeconds=0))
    assert not await driver.exists("pods", "web")


@pytest.mark.parametrize(
    ("spec", "status", "goes"),
    [
        ({}, {"desiredHealthy": 2, "currentHealthy": 2}, True),
        ({}, {"desiredHealthy": 2, "currentHealthy": 1}, False),
        ({}, {"desiredHealthy": 0, "currentHealthy": 0}, False),
        ({"unhealthyPodEvictionPolicy": "IfHealthyBudget"}, {"desiredHealthy": 2, "currentHealthy": 1}, False),
        ({"unhealthyPodEvictionPolicy": "AlwaysAllow"}, {"desiredHealthy": 2, "currentHealthy": 1}, True),
    ],
)
async def test_pods_that_are_not_ready(driver, running, budget, spec, status, goes):
    await running(status={"phase": "Running"})
    await budget(spec=spec, **status)
    if goes:
        await evict(driver)
        assert (await read_budget(driver))["disruptionsAllowed"] == 0
        assert "disruptedPods" not in await read_budget(driver)
    else:
        await refused(driver)
    assert ("deletionTimestamp" in (await driver.get("pods", "web"))["metadata"]) is goes


async def test_a_dry_run_changes_nothing(driver, running, budget):
    pod = await running()
    await budget(disruptionsAllowed=1)
    for document, options in ((eviction(dryRun=["All"]), {}), (eviction(), {"dry_run": True})):
        assert (await evict(driver, document, **options))["status"] == "Success"
    assert (await read_budget(driver))["disruptionsAllowed"] == 1
    assert await driver.get("pods", "web") == pod


async def test_only_the_pod_that_was_meant_goes(driver, running):
    pod = await running()
    with pytest.raises(ConflictError, match=r'Pod "web": the UID in the precondition \(x\) does not match the UID'):
        await evict(driver, eviction(preconditions={"uid": "x"}))
    with pytest.raises(ConflictError, match=r"the ResourceVersion in the precondition \(1\) does not match the"):
        await evict(driver, eviction(preconditions={"resourceVersion": "1"}))
    meant = {"uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"]}
    await evict(driver, eviction(preconditions=meant))
    assert (await driver.get("pods", "web"))["metadata"]["deletionTimestamp"]


async def test_a_budget_that_others_keep_writing_is_given_up_in_time(driver, running, budget, monkeypatch):
    await running()
    await budget(disruptionsAllowed=1)
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    async def change(*args, **kwargs):
        raise ConflictError.of("poddisruptionbudgets", "policy", "web")

    parts = driver.core.pipeline._eviction._parts
    before = RETRIES.labels("poddisruptionbudget")._value.get()
    monkeypatch.setattr(driver.clock, "sleep", sleep)
    monkeypatch.setattr(parts.committer, "change", change)
    with pytest.raises(ApiTimeoutError, match='couldn\'t update PodDisruptionBudget "web" due to conflicts'):
        await evict(driver)
    assert len(waits) == 19
    assert max(waits) <= 0.55
    assert RETRIES.labels("poddisruptionbudget")._value.get() == before + 19


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({"disruptionsAllowed": -1}, "pdb disruptions allowed is negative"),
        (
            {"disruptionsAllowed": 1, "disruptedPods": dict.fromkeys(map(str, range(2001)), "t")},
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ),
    ],
)
def test_a_status_that_cannot_be_is_not_built_on(status, problem):
    with pytest.raises(ForbiddenError, match=problem):
        take({"metadata": {"name": "web"}, "status": status}, "pod", "now")
