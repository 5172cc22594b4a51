import asyncio

import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Message
from orch.bus.subjects import OBJECTS, object_subject, objects_progress
from orch_cli.tap import describe, tap
from orch_pb.v1 import object_pb2


def change(name, revision, kind=object_pb2.MODIFIED):
    trace = object_pb2.TraceContext(traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    return object_pb2.ObjectEvent(
        type=kind, group="apps", resource="deployments", namespace="d", name=name, revision=revision, trace=trace
    ).SerializeToString()


def test_a_change_is_a_line():
    assert describe(Message("s", change("web", 7))) == f"7 MODIFIED deployments.apps d/web {'a' * 32}"
    node = object_pb2.ObjectEvent(type=object_pb2.ADDED, resource="nodes", name="n", revision=1)
    assert describe(Message("s", node.SerializeToString())) == "1 ADDED    nodes n"
    marker = object_pb2.ObjectEvent(type=object_pb2.PROGRESS, revision=9)
    assert describe(Message("s", marker.SerializeToString())) == ""
    assert describe(Message("s", b"\xff")) == "s: not an ObjectEvent"


@pytest.mark.parametrize(("known", "expected"), [(True, ["web", "api"]), (False, ["api"])])
async def test_what_there_is_is_shown_when_asked_for(known, expected):
    bus = MemoryBroker().connect("orch:admin")
    await bus.ensure_stream(OBJECTS)
    await bus.append(object_subject("apps", "deployments", "d", "web"), change("web", 1))
    lines = asyncio.Queue()
    task = asyncio.ensure_future(tap(bus, lines.put_nowait, known=known))
    if known:
        assert "d/web" in await asyncio.wait_for(lines.get(), 10)
    while lines.empty():
        await bus.append(object_subject("apps", "deployments", "d", "api"), change("api", 2))
        await bus.append(
            objects_progress("apps", "deployments"),
            object_pb2.ObjectEvent(type=object_pb2.PROGRESS).SerializeToString(),
        )
        await asyncio.sleep(0)
    assert f"d/{expected[-1]}" in lines.get_nowait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bus.close()
