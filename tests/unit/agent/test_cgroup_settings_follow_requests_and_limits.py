from __future__ import annotations

from typing import Any

import pytest

from orch_agent.pods.resources import Policy, limits_of, oom_score_adjust, qos_class


def test_requests_and_limits_become_shares_quota_and_memory(node: Any) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    pod = node.pod({"name": "web", "resources": resources})
    limits = limits_of(pod, pod.spec.containers[0], Policy(memory_capacity=8 << 30, pids=100))
    assert (limits.cpu_shares, limits.cpu_quota, limits.cpu_period) == (102, 50_000, 100_000)
    assert limits.memory == 512 << 20
    assert limits.pids == 100
    assert limits.oom_score_adj == 985


def test_a_container_that_asks_for_nothing_gets_the_least_and_is_not_limited(node: Any) -> None:
    pod = node.pod()
    limits = limits_of(pod, pod.spec.containers[0], Policy(memory_capacity=8 << 30))
    assert (limits.cpu_shares, limits.cpu_quota, limits.memory, limits.oom_score_adj) == (2, 0, 0, 1000)


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"memory": "1Gi"}}, "Burstable"),
    ],
)
def test_the_class_is_read_from_the_containers_when_the_api_gave_none(node: Any, resources: Any, qos: str) -> None:
    assert qos_class(node.pod({"name": "web", "resources": resources})) == qos


@pytest.mark.parametrize(("request_bytes", "score"), [(0, 999), (4 << 30, 500), (8 << 30, 3)])
def test_who_asked_for_more_memory_is_killed_later(request_bytes: int, score: int) -> None:
    assert oom_score_adjust("Burstable", request_bytes, 8 << 30) == score
    assert oom_score_adjust("Guaranteed", request_bytes, 8 << 30) == -997
