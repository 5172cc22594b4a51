from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from memory_cluster import Cluster, Watcher

from orch.objects.scheme import DEPLOYMENTS, PODS, REPLICA_SETS


class Lag:
    """Holds back what an informer is sent, and lets it go a few at a time."""

    def __init__(self, informer: Any) -> None:
        self.held: deque[Any] = deque()
        self._take = informer._take
        informer._take = self.held.append

    def let_go(self, count: int) -> None:
        while self.held and count:
            self._take(self.held.popleft())
            count -= 1


@pytest.mark.parametrize("seed", range(3))
async def test_bounds_hold_and_nothing_is_doubled(cluster: Cluster, watch: Callable[[], Watcher], seed: int) -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 1}
    await cluster.deploy(replicas=4, strategy={"rollingUpdate": rolling})
    await cluster.eventually(cluster.is_rolled_out)
    watcher = watch()
    process, _ = cluster.processes[0]
    lags = [Lag(process._informers.of(kind)) for kind in (DEPLOYMENTS, REPLICA_SETS, PODS)]
    turns = random.Random(seed)  # noqa: S311 - the same turns in every run

    def rolled_out(image: str) -> Callable[[], bool]:
        def look() -> bool:
            for lag in lags:
                if turns.random() < 0.3:
                    lag.let_go(turns.randrange(1, 12))
            return cluster.is_rolled_out(image)

        return look

    await cluster.set_image("nginx:2")
    await cluster.eventually(rolled_out("nginx:2"))
    assert len(watcher.names) == 8, "four old, four new"
    await cluster.set_image("nginx:3")
    for _ in range(turns.randrange(10)):
        await cluster.pass_time(0.1)
        rolled_out("nginx:3")()
    await cluster.set_image("nginx:2")
    await cluster.eventually(rolled_out("nginx:2"))
    assert watcher.most <= 5
    assert watcher.fewest >= 3
