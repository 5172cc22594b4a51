from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from memory_cluster import Cluster, Watcher, running_cluster

from orch.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cluster(clock: ManualClock) -> AsyncIterator[Cluster]:
    """Return a cluster of two nodes, its controllers running."""
    async with running_cluster(clock) as cluster:
        yield cluster


@pytest.fixture
def watch(cluster: Cluster) -> Callable[[], Watcher]:
    """Return what begins to watch the cluster's pods."""
    return lambda: Watcher(cluster)
