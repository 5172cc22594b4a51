import pytest

from orch.errors import ApiError, ConflictError, ForbiddenError, NotFoundError
from orch.store.protocol import Compare
from orch_api.auth.identity import Caller
from orch_pb.v1.preemption_pb2 import Preempted
from orch_pb.v1.rpc_pb2 import Binding

SCHEDULER = Caller("system:kube-scheduler", ("system:authenticated",))


def victim(name, uid=""):
    return Preempted(namespace="default", name=name, uid=uid, message=f"room is made of {name}")


@pytest.fixture
def make_bound(driver, make_pod):
    async def make(name, **metadata):
        pod = make_pod(name)
        pod["metadata"].update(metadata)
        pod["spec"]["terminationGracePeriodSeconds"] = 7
        made = await driver.create("pods", pod)
        await driver.core.pipeline.bind(SCHEDULER, [Binding(namespace="default", name=name, node="n")], None)
        return made["metadata"]["uid"]

    return make


async def preempt(driver, *victims, caller=SCHEDULER, fence=None):
    replies = await driver.core.pipeline.preempt(caller, victims, "kube-scheduler", fence)
    return [ApiError.decode(reply.status) if reply.status else None for reply in replies]


async def test_a_pod_is_told_why_and_marked_in_one_write(driver, make_bound):
    uid = await make_bound("a")
    await driver.core.cache.catch_up()
    before = await driver.core.store.revision()
    assert await preempt(driver, victim("a", uid)) == [None]
    assert await driver.core.store.revision() == before + 1
    pod = await driver.get("pods", "a")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 7
    (told,) = [one for one in pod["status"]["conditions"] if one["type"] == "DisruptionTarget"]
    assert told == {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "room is made of a",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


async def test_a_pod_that_goes_at_once_says_why_before(driver, make_pod):
    await driver.create("pods", make_pod("a"))  # nobody runs it yet
    await driver.core.cache.catch_up()
    before = await driver.core.store.revision()
    assert await preempt(driver, victim("a")) == [None]
    await driver.core.cache.catch_up()
    with pytest.raises(NotFoundError):
        await driver.get("pods", "a")
    assert await driver.core.store.revision() >= before + 2


async def test_each_pod_goes_or_stays_alone(driver, make_bound):
    await make_bound("a")
    uid = await make_bound("b")
    absent, other, good = await preempt(driver, victim("nobody"), victim("a", "other"), victim("b", uid))
    assert isinstance(absent, NotFoundError)
    assert isinstance(other, ConflictError)
    assert good is None
    assert "deletionTimestamp" not in (await driver.get("pods", "a"))["metadata"]
    assert "deletionTimestamp" in (await driver.get("pods", "b"))["metadata"]


async def test_a_pod_that_leaves_already_is_told_why(driver, make_bound):
    await make_bound("a", finalizers=["example.com/hold"])
    await driver.delete("pods", "a")
    marked = (await driver.get("pods", "a"))["metadata"]["deletionTimestamp"]
    assert await preempt(driver, victim("a")) == [None]
    pod = await driver.get("pods", "a")
    assert pod["metadata"]["deletionTimestamp"] == marked
    assert [one["type"] for one in pod["status"]["conditions"]].count("DisruptionTarget") == 1


async def test_a_deposed_scheduler_makes_nobody_go(driver, make_bound):
    await make_bound("a")
    (lost,) = await preempt(driver, victim("a"), fence=Compare(b"/orch/leaders/scheduler", 3))
    assert isinstance(lost, ConflictError)
    assert "deletionTimestamp" not in (await driver.get("pods", "a"))["metadata"]


async def test_whoever_may_not_delete_pods_may_not_preempt_them(driver, make_bound):
    await make_bound("a")
    with pytest.raises(ForbiddenError):
        await preempt(driver, victim("a"), caller=Caller("jane", ("system:authenticated",)))
