from __future__ import annotations

import asyncio

import pytest

from orch.bus import rpc, subjects
from orch.bus.protocol import Bus
from orch.errors import BusError, UnavailableError
from orch_pb.v1 import rpc_pb2


async def get(user: str, request: rpc_pb2.GetRequest) -> rpc_pb2.WriteReply:
    return rpc_pb2.WriteReply(revision=7, json=f"{user} wants {request.ref.name}".encode())


async def test_the_handler_learns_who_asks(bus: Bus, broker) -> None:
    await rpc.serve(bus, "get", rpc_pb2.GetRequest, get)
    node = await broker.connect("system:node:a")
    request = rpc_pb2.GetRequest(ref=rpc_pb2.ObjectRef(name="x"))
    reply = await rpc.call(node, "get", request, rpc_pb2.WriteReply)
    assert (reply.revision, reply.json) == (7, b"system:node:a wants x")


async def test_verbs_are_apart(bus: Bus) -> None:
    await rpc.serve(bus, "get", rpc_pb2.GetRequest, get)
    with pytest.raises(UnavailableError):
        await rpc.call(bus, "list", rpc_pb2.ListRequest(), rpc_pb2.ListReply)


async def test_what_is_no_request_is_refused(bus: Bus) -> None:
    await rpc.serve(bus, "get", rpc_pb2.GetRequest, get)
    with pytest.raises(BusError, match=r"orch\.v1\.GetRequest"):
        await bus.request(subjects.rpc_subject(bus.user, "get"), b"\xff\xff")


async def test_an_answer_that_goes_elsewhere_is_not_given(bus: Bus, broker) -> None:
    """A consumer's deliveries can be made to arrive on any subject; they ask for no answer to the user's inbox."""
    called = asyncio.Event()

    async def handler(user: str, request: rpc_pb2.GetRequest) -> rpc_pb2.WriteReply:
        called.set()
        return rpc_pb2.WriteReply()

    await rpc.serve(bus, "get", rpc_pb2.GetRequest, handler)
    thief = await broker.connect("system:node:a")
    with pytest.raises(BusError, match="own inbox"):
        await thief.request(subjects.rpc_subject("system:node:b", "get"), b"")
    assert not called.is_set()
