"""A quota's status as `kubectl describe` shows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cluster import LocalCluster
from space import Space


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(simulated, namespace(simulated))


def test_what_is_used_is_shown(space: Space) -> None:
    limits = "pods=4,requests.cpu=2,count/deployments.apps=3,services.nodeports=2"
    space.kubectl("create", "quota", "limits", f"--hard={limits}")
    space.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
    space.kubectl("set", "resources", "deployment/web", "--requests=cpu=250m")
    space.kubectl("create", "service", "nodeport", "web", "--tcp=80")
    wanted = {"pods": "2", "requests.cpu": "500m", "count/deployments.apps": "1", "services.nodeports": "1"}
    space.wait(lambda: space.get("quota", "limits")["status"]["used"] == wanted)
    shown = space.kubectl("describe", "quota", "limits")
    assert "requests.cpu            500m  2" in shown
    space.kubectl("delete", "deployment,service", "web")
    space.wait(lambda: space.get("quota", "limits")["status"]["used"]["pods"] == "0")
