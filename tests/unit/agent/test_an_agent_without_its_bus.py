"""An agent that starts while the bus is away: pods of its files run, and are shown once it is there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from agent_cluster import CONFIG, Cluster, cancelled, until

from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Bus
from orch.clock import SystemClock
from orch.errors import BusError, UnavailableError
from orch_agent.agent import serve, simulated_places
from orch_agent.late_bus import LateBus

_USER = "system:node:node-1"
STATIC = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "etcd"},
    "spec": {"containers": [{"name": "main", "image": "etcd:3"}]},
}


async def test_static_pods_run_before_there_is_a_bus(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "etcd.json").write_text(json.dumps(STATIC))
    await cluster.mark_services()
    returned = asyncio.Event()

    async def connect() -> Bus:
        await returned.wait()
        return cluster.broker.connect(_USER)

    config = msgspec.structs.replace(
        CONFIG, node_name="node-1", node_ip="192.0.2.1", pod_cidr="10.1.0.0/24", static_pods=str(tmp_path), events=True
    )
    clock = SystemClock()
    places = simulated_places(config, clock)
    bus = LateBus(_USER, connect)
    async with cancelled(bus.run(), serve(config, bus, clock, places)):
        await until(lambda: places[0].runtime._containers)
        assert cluster.nodes == {}
        returned.set()
        await until(lambda: "node-1" in cluster.nodes)
    await bus.close()


async def test_what_is_sent_fails_and_who_listens_waits() -> None:
    broker = MemoryBroker()
    tries = 0

    async def connect() -> Bus:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnavailableError("nobody answers")
        return broker.connect("somebody")

    bus = LateBus("somebody", connect)
    assert bus.user == "somebody"
    with pytest.raises(UnavailableError, match="no connection to the bus yet"):
        await bus.publish("orch.x", b"")
    with pytest.raises(UnavailableError):
        await bus.request("orch.x", b"")
    await bus.close()
    async with cancelled(bus.run()), bus.subscribe("orch.metrics.*") as messages:
        await bus.publish("orch.metrics.a", b"1")
        assert (await anext(messages)).data == b"1"
    await bus.close()
    assert tries == 3


async def test_who_is_refused_is_not_kept_waiting() -> None:
    async def connect() -> Bus:
        raise BusError("NATS does not let you in")

    with pytest.raises(BusError):
        await LateBus("somebody", connect).run()
