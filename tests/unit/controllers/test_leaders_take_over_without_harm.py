from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Cluster

from orch.errors import ConflictError
from orch.objects.meta import Object
from orch.objects.scheme import CONFIG_MAPS, LEASES, PODS


async def test_a_standby_goes_on_where_the_leader_stopped(cluster: Cluster) -> None:
    second = await cluster.controllers("second")
    await cluster.deploy(replicas=4)
    await cluster.eventually(lambda: len(cluster.active()) >= 1)
    seen: set[str] = set()
    cluster.pods.on_change(lambda change: seen.add(change.item.name))
    first, task = cluster.processes[0]
    task.cancel()
    await cluster.eventually(lambda: second.acting)
    assert not first.acting
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.settled(1)
    assert len(seen) == 4, "no pod was made twice"
    lease = await cluster.client.get(LEASES.with_view(Lease), "kube-system", "orch-controllers")
    assert lease.spec["holderIdentity"] == "second"


async def test_what_a_deposed_leader_still_writes_is_refused(cluster: Cluster) -> None:
    process, task = cluster.processes[0]
    client: Any = process._client
    await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "while-leading"}})
    await cluster.controllers("second")
    task.cancel()
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    with pytest.raises(ConflictError, match="leadership"):
        await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "afterwards"}})
    with pytest.raises(ConflictError, match="leadership"):
        await client.delete(CONFIG_MAPS, "default", "while-leading")
    assert await cluster.exists(CONFIG_MAPS, "default", "while-leading")


async def test_a_new_leader_decides_nothing_before_it_has_seen_the_last_writes(cluster: Cluster) -> None:
    second = await cluster.controllers("second")
    await cluster.eventually(lambda: second._informers.of(PODS).synced)
    informer: Any = second._informers.of(PODS)
    held: list[Any] = []
    take = informer._take
    informer._take = held.append
    await cluster.deploy(replicas=3)
    await cluster.eventually(cluster.is_rolled_out)
    cluster.processes[0][1].cancel()
    await cluster.pass_time(10)
    assert second._elector.leading
    assert not second.acting
    assert len(cluster.active()) == 3
    informer._take = take
    for message in held:
        take(message)
    await cluster.eventually(lambda: second.acting)
    await cluster.settled(1)
    assert len(cluster.pods.items("default")) == 3


class Lease(Object, frozen=True):
    spec: dict[str, Any] = {}
