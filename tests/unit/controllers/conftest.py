from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from memory_cluster import Cluster, Watcher, running_cluster

from orch.clock import ManualClock
from orch_api.storage import relay


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cluster(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """Return a cluster of two nodes, its controllers running."""
    monkeypatch.setattr(relay, "_MARK_PERIOD", 0.02)  # the one wait of the api that is by real time
    async with running_cluster(clock) as cluster:
        yield cluster


@pytest.fixture
def watch(cluster: Cluster) -> Callable[[], Watcher]:
    """Return what begins to watch the cluster's pods."""
    return lambda: Watcher(cluster)
