"""A cluster to be hurt: its simulated containers take their time, so that a rollout can be caught halfway."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cluster import LocalCluster

SETTINGS = {
    "ORCH_AGENT_FLEET__START_DELAY": "0.2",
    # A process that is slow to come back, on a busy machine, must not look like a lost node.
    "ORCH_CONTROLLERS_NODE_GRACE_PERIOD": "60",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (rounds := metafunc.config.getoption("--rounds")) > 1:
        metafunc.fixturenames.append("round")
        metafunc.parametrize("round", range(rounds))


@pytest.fixture(scope="session")
def battered(clusters: Callable[..., LocalCluster]) -> LocalCluster:
    """A running cluster of five simulated nodes whose processes these tests kill."""
    cluster = clusters(nodes=5, runtime="simulated", settings=SETTINGS)
    cluster.up()
    return cluster
