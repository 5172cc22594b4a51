"""The server itself tells whose connection has ended, to the one user of its system account."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import certificates
import msgspec
import pytest
from lagging_world import Process, World
from nats_server import NatsServer

from orch.bus.permissions import CONTROLLERS, WITNESS, permissions_of
from orch.bus.subjects import DISCONNECTS, HEARTBEATS, heartbeat_subject
from orch.clock import SystemClock
from orch.errors import BusError
from orch.objects.scheme import NODES
from orch_controllers.disconnections import Disconnections
from orch_controllers.heartbeats import Heartbeats

pytestmark = pytest.mark.nats
NODE, OTHER = "system:node:a", "system:node:b"
_DIES = """
import asyncio, sys, msgspec
from orch.bus.nats import NatsBus
from orch.config import NatsConfig

async def main():
    bus = await NatsBus.connect(msgspec.json.decode(sys.argv[1], type=NatsConfig))
    print("here", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    users = {name: permissions_of(name) for name in ("system:apiserver", CONTROLLERS, WITNESS, NODE, OTHER)}
    server = NatsServer(tmp_path, certificates.make(tmp_path), users)
    await server.start()
    yield server
    await server.close()


def disconnections(server: NatsServer, heartbeats: Heartbeats) -> Disconnections:
    world = World()
    for name in ("a", "b"):
        world.create(NODES, "", {"metadata": {"name": name}, "spec": {}})
    return Disconnections(lambda: server.connect(WITNESS), Process(world, [NODES]).informers, heartbeats, SystemClock())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def heartbeats(server: NatsServer) -> AsyncIterator[Heartbeats]:
    api = await server.connect("system:apiserver")
    await api.ensure_stream(HEARTBEATS)
    heartbeats = Heartbeats(await server.connect(CONTROLLERS), SystemClock(), 60.0)
    task = asyncio.create_task(heartbeats.run())
    yield heartbeats
    task.cancel()
    await asyncio.wait((task,))


async def test_a_node_that_dies_is_suspected_at_once_and_no_more_once_it_is_heard(
    server: NatsServer, heartbeats: Heartbeats
) -> None:
    task = asyncio.create_task(disconnections(server, heartbeats).run())
    node = await server.connect(OTHER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DIES, _as_json(server, NODE), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"here\n"
    await until(lambda: heartbeats.reliable)
    for name in ("a", "b"):
        speaker = node if name == "b" else await server.connect(NODE)
        await speaker.publish(heartbeat_subject(name), b"")
        await until(lambda name=name: heartbeats.heard(name))
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: heartbeats.hung_up == {"a"})
    assert heartbeats.silence("a") < 60, "silence alone says nothing yet"
    back = await server.connect(NODE)
    await back.publish(heartbeat_subject("a"), b"")
    await until(lambda: not heartbeats.hung_up)
    task.cancel()
    await asyncio.wait((task,))


async def test_nobody_else_hears_of_it_and_the_witness_hears_nothing_else(server: NatsServer) -> None:
    node, witness = await server.connect(NODE), await server.connect(WITNESS)
    with pytest.raises(BusError):
        async with node.subscribe(DISCONNECTS) as messages:
            await anext(messages)
    with pytest.raises(BusError):
        async with witness.subscribe("orch.>") as messages:
            await anext(messages)
    with pytest.raises(BusError):
        async with witness.subscribe("$SYS.>") as messages:
            await anext(messages)


def _as_json(server: NatsServer, user: str) -> str:

    return msgspec.json.encode(server.config(user)).decode()
