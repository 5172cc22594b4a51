"""Each service is killed with SIGKILL during a rollout, which completes as if nothing had happened.

Once where each test runs once, as in CI; twice in `make chaos`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cluster import LocalCluster
from pod_ledger import PodLedger
from rollout import Rollout

REPLICAS = 16


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", ["api", "scheduler", "controllers", "agent"])
def test_a_rollout_survives(
    battered: LocalCluster,
    namespace: Callable[[LocalCluster], str],
    service: str,
    request: pytest.FixtureRequest,
) -> None:
    moments = (2, REPLICAS // 2) if request.config.getoption("--rounds") > 1 else (REPLICAS // 2,)
    rollout = Rollout(battered, namespace(battered), replicas=REPLICAS, surge=2)
    rollout.start()
    with PodLedger(rollout.rest, rollout.namespace).open() as ledger:
        old = set(ledger.lives)
        rollout.update("web:2")
        for progress in moments:
            ledger.wait(lambda progress=progress: len(ledger.lives.keys() - old) > progress)
            killed = battered.kill(service)
            battered.wait(lambda killed=killed: battered.restarted(service, killed), what=f"{service} is back")
        rollout.finish(ledger, "web:2")
