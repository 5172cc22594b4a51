"""A whole scheduler over an api in memory: what tests of the loop, of preemption and of groups stand on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from orch.bus.subjects import DECISIONS, decision_subject
from orch.objects.meta import Object
from orch.objects.scheme import EVENTS, NODES, PODS, Kind
from orch.runtime.events import EventRecorder
from orch.runtime.informer import Informers
from orch_api.memory import in_memory_api
from orch_pb.v1.decision_pb2 import SchedulingDecision
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.loop import Scheduler

USER = "system:kube-scheduler"


class Event(Object, frozen=True):
    """An event, as people read it."""

    reason: str = ""
    message: str = ""
    involved_object: dict[str, str] = {}


@pytest.fixture
async def api():
    async with in_memory_api() as api:
        yield api


@pytest.fixture
def client(api):
    return api.client()


@pytest.fixture
async def standby(api):
    """A scheduler that follows the cluster and does not lead."""
    clock, bus, client = api.core.clock, api.bus(USER), api.client(USER)
    informers, recorder = Informers(bus), EventRecorder(client, "default-scheduler", clock)
    config = SchedulerConfig(pod_initial_backoff=0.05, pod_max_backoff=0.2)
    made = Scheduler(client, bus, informers, recorder, clock, config)
    async with working(informers.run(), recorder.run()):
        await informers.wait_synced(10)
        yield made


@pytest.fixture
async def scheduler(standby):
    """A scheduler that leads."""
    async with working(standby.lead()):
        yield standby


@contextlib.asynccontextmanager
async def working(*work):
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def add_node(client):
    async def add(name, *, cpu="4", memory="8Gi", labels=None, **spec):
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}  # else it is tainted until a controller sees it
        metadata = {"name": name, "labels": labels or {}}
        await client.create(NODES, "", {"metadata": metadata, "spec": spec, "status": ready})
        amounts = {"cpu": cpu, "memory": memory, "pods": "110"}
        status = {"status": {"allocatable": amounts, "capacity": amounts}}
        await client.patch(NODES, "", name, status, subresource="status")

    return add


PRIORITY_CLASSES = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, Object)


@pytest.fixture
def class_of(client):
    """The PriorityClass of a priority and a policy: pods bring neither of their own."""
    made, one_at_a_time = set(), asyncio.Lock()

    async def named(priority, policy):
        name = f"p{priority}-{policy}".lower()
        async with one_at_a_time:
            if name not in made:
                body = {"metadata": {"name": name}, "value": priority, "preemptionPolicy": policy}
                await client.create(PRIORITY_CLASSES, "", body)
                made.add(name)
        return name

    return named


@pytest.fixture
def add_pod(client, class_of):
    async def add(name, *, cpu="100m", labels=None, priority=0, preemptionPolicy="PreemptLowerPriority", **spec):  # noqa: N803 - the field's own name
        if priority:
            spec["priorityClassName"] = await class_of(priority, preemptionPolicy)
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {"containers": [container], **spec},
        }
        return await client.create(PODS, "default", body)

    return add


@pytest.fixture
def eventually(client):
    async def wait(condition):
        async with asyncio.timeout(15):
            while True:
                found = await condition()
                if found:
                    return found
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def bound(client, eventually):
    async def wait(name):
        async def node():
            return (await client.get(PODS, "default", name)).spec.node_name

        return await eventually(node)

    return wait


@pytest.fixture
def condition(client, eventually):
    """Wait until a pod's PodScheduled condition is False with this message, or one that begins with it."""

    async def wait(name, message, *, exactly=True):
        async def told():
            found = (await client.get(PODS, "default", name)).status.condition("PodScheduled")
            if found is None or found.status != "False":
                return None
            return (found.message == message if exactly else found.message.startswith(message)) and found

        return await eventually(told)

    return wait


@pytest.fixture
def events(client):
    """Return the messages of the events of a reason, about an object of a name if one is given."""

    async def read(reason, name=""):
        found = await client.list(EVENTS.with_view(Event), "default")
        return [
            event.message
            for event in found
            if event.reason == reason and name in {"", event.involved_object.get("name", "")}
        ]

    return read


@pytest.fixture
def on_record(api, eventually):
    """Wait for what is on record of the room that was made for a pod, or at its cost."""

    async def wait(role, name):
        stream = api.broker.streams[DECISIONS.name]

        async def found():
            return stream.newest((decision_subject(role, "default", name),))

        (message,) = await eventually(found)
        return SchedulingDecision.FromString(message.data)

    return wait
