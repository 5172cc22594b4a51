from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from orch.bus import rpc
from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Bus
from orch.errors import BusError, ConflictError, NotFoundError, UnavailableError
from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod
from orch.objects.scheme import DEPLOYMENTS, NODES, PODS
from orch.runtime.client import BusClient
from orch.telemetry import TraceContext, span
from orch_pb.v1 import rpc_pb2

TRACE = TraceContext(traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
POD = b'{"metadata":{"namespace":"ns","name":"a"},"spec":{"nodeName":"n1"}}'

REQUESTS: dict[str, type[Message]] = {
    "get": rpc_pb2.GetRequest,
    "list": rpc_pb2.ListRequest,
    "write": rpc_pb2.WriteRequest,
    "bind": rpc_pb2.BindRequest,
}


class Api:
    """Answers what the test says and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[Message] = []

    async def start(self, bus: Bus) -> None:
        for verb, request in REQUESTS.items():
            await rpc.serve(bus, verb, request, self._answer)

    async def _answer(self, user: str, request: Any) -> Message:
        assert user == "system:kube-scheduler"
        self.asked.append(request)
        return self.answers.pop(0)


@pytest.fixture
async def api(broker: MemoryBroker) -> Any:
    bus = broker.connect("system:apiserver")
    api = Api()
    await api.start(bus)
    yield api
    await bus.close()


@pytest.fixture
def client(bus: Bus) -> BusClient:
    return BusClient(bus)


async def test_get(api: Api, client: BusClient) -> None:
    api.answers = [rpc_pb2.WriteReply(json=POD)]
    with span("x", parent=TRACE):
        pod = await client.get(PODS, "ns", "a")
    assert isinstance(pod, Pod)
    assert pod.spec.node_name == "n1"
    (request,) = api.asked
    assert request.ref == rpc_pb2.ObjectRef(version="v1", resource="pods", namespace="ns", name="a")
    assert request.trace == TRACE


async def test_list_follows_the_pages(api: Api, client: BusClient) -> None:
    api.answers = [rpc_pb2.ListReply(items=[POD], continue_token="more"), rpc_pb2.ListReply(items=[POD, POD])]
    pods = await client.list(PODS, "ns", label_selector="a=b", field_selector="spec.nodeName=n1")
    assert len(pods) == 3
    assert [request.continue_token for request in api.asked] == ["", "more"]
    assert {request.label_selector for request in api.asked} == {"a=b"}
    assert {request.field_selector for request in api.asked} == {"spec.nodeName=n1"}
    assert all(request.limit for request in api.asked)


async def test_writes(api: Api, client: BusClient) -> None:
    api.answers = [rpc_pb2.WriteReply(json=POD)] * 5
    await client.create(PODS, "ns", Pod(metadata=ObjectMeta(generate_name="a-")))
    await client.update(PODS, "ns", "a", {"status": {"phase": "Running"}}, subresource="status")
    await client.patch(DEPLOYMENTS, "ns", "a", {"spec": None})
    await client.patch(NODES, "", "n1", {"spec": {}}, strategic=True, subresource="status")
    await client.delete(PODS, "ns", "a", uid="u", resource_version="5", grace_period=0, propagation="Background")
    assert [request.verb for request in api.asked] == [1, 2, 3, 4, 5]
    create, update, patch, strategic, delete = api.asked
    assert json.loads(create.body) == {"metadata": {"generateName": "a-"}}
    assert create.ref.name == ""
    assert update.ref.subresource == strategic.ref.subresource == "status"
    assert json.loads(patch.body) == {"spec": None}
    assert (patch.ref.group, patch.ref.version, patch.ref.resource) == ("apps", "v1", "deployments")
    assert json.loads(delete.body) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "preconditions": {"uid": "u", "resourceVersion": "5"},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }


async def test_a_plain_deletion_has_no_conditions(api: Api, client: BusClient) -> None:
    api.answers = [rpc_pb2.WriteReply()]
    api.answers[0].json = b"{}"
    await client.delete(PODS, "ns", "a")
    assert json.loads(api.asked[0].body) == {"kind": "DeleteOptions", "apiVersion": "v1"}


async def test_a_leaders_writes_carry_its_fence(api: Api, bus: Bus) -> None:
    class Leader:
        def fence(self) -> rpc_pb2.Fence:
            return rpc_pb2.Fence(key="/orch/leaders/x", create_revision=7)

    client = BusClient(bus, fence=Leader())
    api.answers = [rpc_pb2.WriteReply(json=POD), rpc_pb2.BindReply()]
    await client.create(PODS, "ns", {})
    await client.bind([])
    assert [request.fence.create_revision for request in api.asked] == [7, 7]


async def test_a_batch_of_bindings_each_with_its_outcome_and_trace(api: Api, client: BusClient) -> None:
    refused = ConflictError.of("pods", "", "b").encode()
    api.answers = [rpc_pb2.BindReply(results=[rpc_pb2.WriteReply(revision=1), rpc_pb2.WriteReply(status=refused)])]
    own = TraceContext(traceparent="own")
    with span("x", parent=TRACE):
        results = await client.bind([rpc_pb2.Binding(name="a", trace=own), rpc_pb2.Binding(name="b")])
    assert [bool(result.status) for result in results] == [False, True]
    assert [binding.trace.traceparent for binding in api.asked[0].bindings] == ["own", TRACE.traceparent]
    assert not api.asked[0].HasField("fence")


@pytest.mark.parametrize(
    "request_",
    [
        lambda client: client.get(PODS, "ns", "a"),
        lambda client: client.create(PODS, "ns", {}),
        lambda client: client.update(PODS, "ns", "a", {}),
        lambda client: client.patch(PODS, "ns", "a", {}),
        lambda client: client.delete(PODS, "ns", "a"),
    ],
)
async def test_what_the_api_refuses_is_raised(
    api: Api, client: BusClient, request_: Callable[[BusClient], Awaitable[Any]]
) -> None:
    api.answers = [rpc_pb2.WriteReply(status=NotFoundError.of("pods", "", "a").encode())]
    with pytest.raises(NotFoundError, match='pods "a" not found'):
        await request_(client)


async def test_a_refused_list_is_raised(api: Api, client: BusClient) -> None:
    api.answers = [rpc_pb2.ListReply(status=NotFoundError.path().encode())]
    with pytest.raises(NotFoundError):
        await client.list(PODS)


async def test_an_answer_that_makes_no_sense_is_a_bus_error(api: Api, client: BusClient) -> None:
    api.answers = [rpc_pb2.WriteReply(json=b'{"metadata":5}'), rpc_pb2.BindReply()]
    with pytest.raises(BusError, match="not a Pod"):
        await client.get(PODS, "ns", "a")
    with pytest.raises(BusError, match="0 results for 1 bindings"):
        await client.bind([rpc_pb2.Binding(name="a")])


async def test_no_api_is_unavailable(bus: Bus) -> None:
    with pytest.raises(UnavailableError):
        await BusClient(bus, timeout=0.05).get(PODS, "ns", "a")


async def test_no_more_than_a_few_hundred_requests_are_under_way(broker: MemoryBroker, client: BusClient) -> None:
    under_way, most = 0, 0
    server = broker.connect("system:apiserver")

    async def answer(user: str, request: Any) -> Message:
        nonlocal under_way, most
        assert (user, request.ref.name) == ("system:kube-scheduler", "a")
        under_way += 1
        most = max(most, under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way -= 1
        return rpc_pb2.WriteReply(json=POD)

    await rpc.serve(server, "get", rpc_pb2.GetRequest, answer, in_flight=10_000)
    pods = await asyncio.gather(*(client.get(PODS, "ns", "a") for _ in range(1000)))
    assert len(pods) == 1000
    assert most == 256
    await server.close()
