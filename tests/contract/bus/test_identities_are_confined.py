"""What orch.bus.permissions promises, shown on a server that enforces it."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

import pytest

from orch.bus import rpc, subjects
from orch.bus.protocol import Bus, Message, Signal
from orch.bus.streams import FrameStream, open_stream, serve_streams
from orch.errors import BusError, UnavailableError
from orch_pb.v1 import rpc_pb2

NODE_A, NODE_B = "system:node:a", "system:node:b"


@pytest.fixture
async def api(guarded) -> Bus:
    bus = await guarded.connect("system:apiserver")
    for spec in subjects.STREAMS:
        await bus.ensure_stream(spec)
    return bus


async def test_a_node_follows_its_own_pods_only(api: Bus, guarded, followed) -> None:
    await api.append(subjects.node_pod_subject("a", "default", "mine"), b"mine")
    await api.append(subjects.node_pod_subject("b", "default", "other"), b"other")
    node = await guarded.connect(NODE_A)
    follower = followed(node, "NODES", subjects.node_pods("a"))
    await follower.until(lambda f: f.synced)
    await api.append(subjects.node_pod_subject("b", "default", "later"), b"other")
    await api.append(subjects.node_pod_subject("a", "default", "later"), b"mine too")
    await follower.until(lambda f: len(f.data()) == 2)
    assert follower.data() == [b"mine", b"mine too"]


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        ("NODES", [subjects.node_pods("b")]),
        ("NODES", ["orch.nodes.*.pods.>"]),
        ("NODES", [subjects.node_pods("a"), subjects.node_pods("b")]),
        ("OBJECTS", [subjects.objects_of("", "secrets")]),
        ("REPORTS", ["orch.reports.a.>"]),
    ],
)
async def test_a_node_may_follow_nothing_else(api: Bus, guarded, stream: str, wanted: list[str]) -> None:
    node = await guarded.connect(NODE_A)
    items = node.follow(stream, wanted)
    with pytest.raises(BusError, match="may not"):
        async with asyncio.timeout(10):
            await anext(items)


async def test_a_node_reports_for_itself_only(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)
    await node.append(subjects.report_subject("a", "pods"), b"mine")
    await node.append(subjects.heartbeat_subject("a"), b"alive")
    await node.append(subjects.metrics_subject("a"), b"usage")
    for subject in (
        subjects.report_subject("b", "pods"),
        subjects.heartbeat_subject("b"),
        subjects.metrics_subject("b"),
        subjects.node_pod_subject("a", "default", "forged"),
        subjects.object_subject("", "pods", "default", "forged"),
    ):
        with pytest.raises(BusError, match="may not publish"):
            await node.append(subject, b"forged")
    last = await api.last_message("REPORTS")
    assert last is not None
    assert last.data == b"mine"
    assert await api.last_message("OBJECTS") is None


async def test_a_user_asks_as_himself_only(api: Bus, guarded) -> None:
    async def handler(user: str, _: rpc_pb2.GetRequest) -> rpc_pb2.WriteReply:
        return rpc_pb2.WriteReply(json=user.encode())

    await rpc.serve(api, "get", rpc_pb2.GetRequest, handler)
    node = await guarded.connect(NODE_A)
    reply = await rpc.call(node, "get", rpc_pb2.GetRequest(), rpc_pb2.WriteReply)
    assert reply.json == NODE_A.encode()
    with pytest.raises(BusError, match="may not publish"):
        await node.request(subjects.rpc_subject(NODE_B, "get"), b"")


async def test_the_api_takes_reports_off_their_queue(api: Bus, guarded, eventually) -> None:
    node = await guarded.connect(NODE_A)
    async with asyncio.timeout(20), aclosing(api.work("REPORTS", "api")) as deliveries:
        for number in range(3):
            await node.append(subjects.report_subject("a", "pods"), b"%d" % number)
            delivery = await anext(deliveries)
            assert (delivery.message.subject, delivery.message.data) == ("orch.reports.a.pods", b"%d" % number)
            await delivery.done()

    async def empty() -> bool:
        return await api.last_message("REPORTS") is None

    await eventually(empty)


async def test_the_controllers_follow_heartbeats_and_objects(api: Bus, guarded, followed) -> None:
    node = await guarded.connect(NODE_A)
    controllers = await guarded.connect("system:kube-controller-manager")
    await node.append(subjects.heartbeat_subject("a"), b"alive")
    heartbeats = followed(controllers, "HEARTBEATS", subjects.HEARTBEATS_OF_ALL)
    secrets = followed(controllers, "OBJECTS", subjects.objects_of("", "secrets"), subjects.objects_of("", "pods"))
    await heartbeats.until(lambda f: f.synced and f.data() == [b"alive"])
    await secrets.until(lambda f: f.synced)


async def test_the_administrator_watches_and_changes_nothing(api: Bus, guarded, followed) -> None:
    admin = await guarded.connect("orch:admin")
    follower = followed(admin, "OBJECTS", "orch.objects.>")
    await follower.until(lambda f: f.synced)
    async with admin.subscribe("orch.>") as messages, asyncio.timeout(10):
        await api.append(subjects.object_subject("", "pods", "default", "x"), b"pod")
        assert (await anext(messages)).data == b"pod"
    await follower.until(lambda f: f.data() == [b"pod"])
    with pytest.raises(BusError, match="may not publish"):
        await admin.append(subjects.object_subject("", "pods", "default", "x"), b"forged")
    with pytest.raises(BusError, match="may not publish"):
        await admin.purge("OBJECTS")


async def test_a_node_that_reads_slowly_is_not_overrun(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)
    items = node.follow("NODES", [subjects.node_pods("a")])
    assert [await anext(items), await anext(items)] == [Signal.RESET, Signal.SYNCED]
    futures = [
        await api.send(subjects.node_pod_subject("a", "default", str(number)), b"%d" % number + bytes(20_000))
        for number in range(2000)
    ]
    await asyncio.gather(*futures)
    async with asyncio.timeout(30), aclosing(items):
        for number in range(2000):
            message = await anext(items)
            assert isinstance(message, Message)
            assert message.data.rstrip(b"\0") == b"%d" % number


async def test_serving_what_is_not_ones_own_is_refused(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)

    async def steal(_: Message) -> bytes:
        return b""

    for subject in (subjects.node_rpc_subject("b", "logs"), subjects.rpc_requests("get")):
        with pytest.raises(BusError, match="may not subscribe"):
            await node.serve(subject, steal)


async def test_a_user_reads_his_own_inbox_only(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)
    for pattern in (f"{subjects.inbox_prefix(NODE_B)}.>", "_INBOX.>", "orch.>", subjects.node_rpc_subject("b", "logs")):
        with pytest.raises(BusError, match="may not subscribe"):
            async with asyncio.timeout(10), node.subscribe(pattern) as messages:
                await anext(messages)


async def test_a_node_answers_what_it_is_asked(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)

    async def stats(_: Message) -> bytes:
        return b"stats"

    await node.serve(subjects.node_rpc_subject("a", "stats"), stats)
    for _ in range(3):
        assert await api.request(subjects.node_rpc_subject("a", "stats"), b"") == b"stats"


async def test_frames_flow_between_api_and_node(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)

    async def echo(request: bytes, stream: FrameStream) -> None:
        await stream.send(1, request)
        async for channel, data in stream:
            if data is None:
                return
            await stream.send(channel, data)

    await serve_streams(node, subjects.node_rpc_subject("a", "exec"), echo)
    async with asyncio.timeout(20):
        async with await open_stream(api, subjects.node_rpc_subject("a", "exec"), b"sh") as stream:
            received = bytearray()

            async def read() -> None:
                async for _, data in stream:
                    received.extend(data or b"")

            reading = asyncio.create_task(read())
            await stream.send(0, b"x" * 1_000_000)
            await stream.end(0)
            await reading
    assert bytes(received) == b"sh" + b"x" * 1_000_000


async def test_a_node_reaches_no_inbox_but_its_part(api: Bus, guarded) -> None:
    node = await guarded.connect(NODE_A)
    own = subjects.stream_inbox(api.new_inbox(), subjects.node_rpc_subject("a", "logs"))
    foreign = subjects.stream_inbox(api.new_inbox(), subjects.node_rpc_subject("b", "logs"))
    other = api.new_inbox()
    async with api.subscribe(own) as mine, api.subscribe(foreign) as theirs, api.subscribe(other) as plain:
        for subject in (foreign, other, own):
            with contextlib.suppress(BusError):  # the in-memory bus refuses at once; a server says so later
                await node.publish(subject, b"frame")
        async with asyncio.timeout(10):
            assert (await anext(mine)).data == b"frame"
        for messages in (theirs, plain):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(messages)


async def test_the_scheduler_reads_pods_but_no_secrets(api: Bus, guarded, followed) -> None:
    await api.append(subjects.object_subject("", "pods", "default", "x"), b"pod")
    scheduler = await guarded.connect("system:kube-scheduler")
    follower = followed(scheduler, "OBJECTS", subjects.objects_of("", "pods"))
    await follower.until(lambda f: f.synced)
    assert follower.items[0] is Signal.RESET
    with pytest.raises(BusError, match="may not"):
        async with asyncio.timeout(10):
            await anext(scheduler.follow("OBJECTS", [subjects.objects_of("", "secrets")]))
    await scheduler.append(subjects.decision_subject("scheduler", "default", "x"), b"why")


async def test_a_node_that_is_not_there_is_known_at_once(api: Bus) -> None:
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(2):
            await open_stream(api, subjects.node_rpc_subject("z", "logs"), b"", timeout=30)
