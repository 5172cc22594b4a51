import asyncio
import json

import pytest

from orch.bus import subjects
from orch.errors import UnavailableError
from orch.store.keys import ObjectKey
from orch_api.auth.identity import APISERVER
from orch_pb.v1.node_pb2 import NodeReport, PodReport
from orch_pb.v1.object_pb2 import TraceContext
from orch_pb.v1.rpc_pb2 import Binding


@pytest.fixture
def report(driver):
    """Send a pod's report as its node does."""

    async def send(pod, node="n", *, phase="Running", sequence=1, boot="b", status=None, uid=None, **more):
        metadata = pod["metadata"]
        message = PodReport(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"] if uid is None else uid,
            status=json.dumps({"phase": phase} if status is None else status).encode(),
            sequence=sequence,
            boot_id=boot,
            **more,
        )
        subject = subjects.report_subject(node, "pods")
        await driver.api.bus(f"system:node:{node}").append(subject, message.SerializeToString())

    return send


@pytest.fixture
def report_node(driver):
    async def send(document, node="n", name=None):
        message = NodeReport(node=name or node, object=json.dumps(document).encode())
        subject = subjects.report_subject(node, "node")
        await driver.api.bus(f"system:node:{node}").append(subject, message.SerializeToString())

    return send


@pytest.fixture
def settled(driver):
    """Wait until the queue of reports is empty."""

    async def wait():
        reports = driver.api.broker.streams["REPORTS"]
        async with asyncio.timeout(10):
            while reports.last() is not None:  # noqa: ASYNC110 - the bus's twin tells nobody that a queue is empty
                await asyncio.sleep(0)

    return wait


@pytest.fixture
async def bound(driver, make_pod):
    return await driver.create("pods", make_pod("p", nodeName="n"))


async def test_a_pod_s_status_is_what_its_node_reports(driver, bound, report, settled):
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions}
    await report(bound, status=status)
    await settled()
    now = (await driver.get("pods", "p"))["status"]
    assert now["phase"] == "Running"
    assert now["podIP"] == "10.0.0.1"
    assert now["qosClass"] == bound["status"]["qosClass"]


async def test_conditions_of_others_stay(driver, make_pod, report, settled):
    await driver.create("nodes", {"metadata": {"name": "n"}})
    made = await driver.create("pods", make_pod("p"))
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2025-05-05T05:05:05Z"}
    patch = {"status": {"conditions": [scheduled]}}
    await driver.patch("pods", "p", patch, subresource="status")
    await bind(driver, "p")
    first = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await report(made, status={"phase": "Running", "conditions": [first]})
    await settled()
    again = first | {"lastTransitionTime": "2026-02-02T00:00:00Z", "reason": "Waiting"}
    await report(made, status={"phase": "Running", "conditions": [again]}, sequence=2)
    await settled()
    conditions = {one["type"]: one for one in (await driver.get("pods", "p"))["status"]["conditions"]}
    assert set(conditions) == {"PodScheduled", "Ready"}
    assert conditions["Ready"]["lastTransitionTime"] == "2026-01-01T00:00:00Z", "the status did not change"
    assert conditions["Ready"]["reason"] == "Waiting"


async def test_conditions_that_only_a_node_sets_go_when_it_tells_them_no_more(driver, bound, report, settled):
    pending = {"type": "PodResizePending", "status": "True", "reason": "Deferred"}
    await report(bound, status={"phase": "Running", "conditions": [pending]})
    await settled()
    assert [one["type"] for one in (await driver.get("pods", "p"))["status"]["conditions"]][-1] == "PodResizePending"
    await report(bound, status={"phase": "Running", "conditions": []}, sequence=2)
    await settled()
    found = (await driver.get("pods", "p"))["status"].get("conditions") or []
    assert "PodResizePending" not in {one["type"] for one in found}


async def test_a_report_that_says_nothing_new_writes_nothing(driver, bound, report, settled):
    await report(bound)
    await settled()
    before = await driver.core.store.revision()
    await report(bound, sequence=2)
    await settled()
    assert await driver.core.store.revision() == before


async def test_a_node_cannot_speak_for_another_s_pod(driver, bound, report, settled):
    await report(bound, "m", phase="Failed")
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Pending"


async def test_a_report_about_an_earlier_pod_of_that_name_is_dropped(driver, bound, report, settled):
    await report(bound, uid="another")
    await report(bound | {"metadata": {**bound["metadata"], "name": "nobody"}})
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Pending"


async def test_an_older_report_never_overwrites_a_newer_one(driver, bound, report, settled):
    await report(bound, phase="Running", sequence=5)
    await settled()
    await report(bound, phase="Pending", sequence=4)
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Running"
    await report(bound, phase="Failed", sequence=1, boot="after the agent's restart")
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Failed"


async def test_of_many_reports_the_newest_counts(driver, bound, report, settled):
    await asyncio.gather(
        *(report(bound, status={"phase": "Running", "message": str(n)}, sequence=n) for n in range(1, 60))
    )
    await settled()
    assert (await driver.get("pods", "p"))["status"]["message"] == "59"


async def test_a_status_of_the_wrong_type_is_refused(driver, bound, report, settled):
    await report(bound, status={"phase": 5})
    await report(bound, status=[], sequence=2)
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Pending"


async def test_what_is_no_report_is_dropped(driver, bound, report, settled):
    subject = subjects.report_subject("n", "pods")
    await driver.api.bus("system:node:n").append(subject, b"\xff\xff\xff")
    await report(bound)
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Running"


async def test_a_report_that_trips_the_api_does_not_stop_the_others(driver, bound, report, settled, monkeypatch):
    consumer = driver.core.reports
    decode = consumer._pod_status

    def trip(message, old):
        if message.sequence == 2:
            raise ZeroDivisionError("a bug")
        return decode(message, old)

    monkeypatch.setattr(consumer, "_pod_status", trip)
    await asyncio.gather(report(bound, sequence=2, boot="x"), report(bound, sequence=1, boot="y"))
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Running"


async def test_another_node_s_reports_do_not_hide_the_right_one_s(driver, bound, report, settled):
    await asyncio.gather(report(bound, sequence=1), report(bound, "m", phase="Failed", sequence=9))
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Running"
    await report(bound, phase="Succeeded", sequence=2)
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Succeeded"


async def test_conditions_without_a_type_are_no_reason_to_stop(driver, bound, report, settled):
    await report(bound, status={"phase": "Running", "conditions": [{"status": "True"}]})
    await report(bound, status={"phase": "Failed"}, sequence=2)
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Failed"


async def test_a_terminated_pod_that_is_being_deleted_is_removed(driver, bound, report, settled):
    await driver.delete("pods", "p")
    await report(bound, phase="Succeeded", terminated=True)
    await settled()
    assert not await driver.exists("pods", "p")


async def test_a_terminated_pod_that_nobody_deleted_stays(driver, bound, report, settled):
    await report(bound, phase="Failed", terminated=True)
    await settled()
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Failed"


async def test_finalizers_hold_a_terminated_pod(driver, bound, report, settled):
    await driver.patch("pods", "p", {"metadata": {"finalizers": ["example.com/hold"]}})
    await driver.delete("pods", "p")
    await report(bound, phase="Succeeded", terminated=True)
    await settled()
    pod = await driver.get("pods", "p")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 0
    await driver.patch("pods", "p", {"metadata": {"finalizers": None}})
    assert not await driver.exists("pods", "p")


async def test_the_trace_goes_on_with_the_report(driver, bound, report, settled):
    await report(bound, trace=TraceContext(traceparent="00-a-b-01"))
    await settled()
    await driver.core.cache.catch_up()
    item = driver.core.cache.get(ObjectKey("", "pods", "default", "p"))
    assert TraceContext.FromString(item.trace).traceparent == "00-a-b-01"


async def test_reports_wait_for_the_store(driver, bound, report, settled, monkeypatch):
    from_store = driver.core.store.write_all
    failures = iter([True])

    async def fail_once(writes):
        if next(failures, False):
            raise UnavailableError("etcd is away")
        return await from_store(writes)

    monkeypatch.setattr(driver.core.store, "write_all", fail_once)
    await report(bound)
    async with asyncio.timeout(10):
        while driver.api.broker.streams["REPORTS"].last() is not None:
            await driver.clock.advance(1)
    assert (await driver.get("pods", "p"))["status"]["phase"] == "Running"


REPORTED = {
    "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux", "zone": "a"}},
    "spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "x", "effect": "NoSchedule"}]},
    "status": {
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    },
}


async def test_an_unknown_node_is_registered(driver, report_node, settled):
    await report_node(REPORTED)
    await settled()
    node = await driver.get("nodes", "n")
    assert node["metadata"]["labels"]["kubernetes.io/os"] == "linux"
    assert node["metadata"]["uid"]
    assert node["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert node["spec"]["podCIDR"] == "10.1.0.0/24"
    assert node["spec"]["taints"] == [{"key": "x", "effect": "NoSchedule"}]
    assert node["status"]["capacity"]["cpu"] == "4"
    assert node["status"]["allocatable"]["cpu"] == "4"


async def test_what_users_set_on_a_node_stays(driver, report_node, settled):
    await report_node(REPORTED)
    await settled()
    change = {"metadata": {"labels": {"zone": "b", "mine": "x"}}, "spec": {"unschedulable": True, "taints": None}}
    await driver.patch("nodes", "n", change)
    unknown = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-03-03T00:00:00Z"}
    pressure = {"type": "NetworkUnavailable", "status": "False", "lastTransitionTime": "2026-03-03T00:00:00Z"}
    await driver.patch("nodes", "n", {"status": {"conditions": [unknown, pressure]}}, subresource="status")
    later = json.loads(json.dumps(REPORTED))
    later["status"]["capacity"]["cpu"] = "8"
    later["status"]["conditions"][0]["lastTransitionTime"] = "2026-04-04T00:00:00Z"
    await report_node(later)
    await settled()
    node = await driver.get("nodes", "n")
    assert node["metadata"]["labels"] == {"kubernetes.io/os": "linux", "zone": "b", "mine": "x"}
    assert node["spec"]["unschedulable"] is True
    assert "taints" not in node["spec"]
    assert node["status"]["capacity"]["cpu"] == "8"
    conditions = {one["type"]: one for one in node["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["Ready"]["lastTransitionTime"] == "2026-04-04T00:00:00Z"
    assert "NetworkUnavailable" in conditions


async def test_a_node_reports_for_itself_only(driver, report_node, settled):
    await report_node(REPORTED, node="m")
    await report_node({"metadata": {}}, node="m", name="n")
    await settled()
    assert not await driver.exists("nodes", "n")
    assert not await driver.exists("nodes", "m")


async def test_a_node_with_nonsense_is_refused(driver, report_node, settled):
    await report_node({**REPORTED, "status": {"capacity": {"cpu": "-1"}}})
    await report_node({**REPORTED, "status": 5})
    await settled()
    assert not await driver.exists("nodes", "n")


async def bind(driver, name):
    await driver.core.cache.catch_up()
    bindings = [Binding(namespace="default", name=name, node="n")]
    (reply,) = await driver.core.pipeline.bind(APISERVER, bindings, None)
    assert not reply.status
