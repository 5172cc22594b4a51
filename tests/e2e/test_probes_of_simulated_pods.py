"""Simulated containers answer their probes as annotations of their pods say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from local_cluster import LocalCluster
from manifests import container, pod
from space import Space

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(simulated, namespace(simulated))


def test_scripted_answers_make_pods_ready_and_restart_them(space: Space) -> None:
    probe: dict[str, Any] = {"periodSeconds": 1, "failureThreshold": 1, "grpc": {"port": 5000}}
    scripted = pod("scripted", container("", startupProbe={**probe, "failureThreshold": 9}, readinessProbe=probe))
    failing = pod("failing", container("", livenessProbe=probe))
    scripted["metadata"]["annotations"] = {
        "simulated.orch.dev/startup": "0s=fail,2s=pass",
        "simulated.orch.dev/readiness": "0s=fail,4s=pass",
    }
    failing["metadata"]["annotations"] = {"simulated.orch.dev/liveness.main": "0s=pass,2s=fail"}
    space.apply(scripted, failing)
    space.wait(lambda: space.status("scripted").get("containerStatuses"))
    assert not space.container("scripted")["started"]
    space.running("scripted")
    assert space.container("scripted")["restartCount"] == 0
    told = space.kubectl("events", "--for=pod/scripted")
    assert "Startup probe failed: simulated: fail" in told
    assert "Readiness probe failed: simulated: fail" in told
    space.wait(lambda: space.container("failing")["restartCount"] >= 1)
    events = "Container main failed liveness probe, will be restarted"
    space.wait(lambda: events in space.kubectl("events", "--for=pod/failing"))
