"""Nodes and pods for the scheduler's tests, built as the api would send them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from orch_scheduler_fixtures import (
    add_node,
    add_pod,
    api,
    bound,
    class_of,
    client,
    condition,
    events,
    eventually,
    on_record,
    scheduler,
    standby,
)

from orch.objects.cluster import Node, Taint
from orch.objects.pods import Pod
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demand, Demands

__all__ = [
    "add_node",
    "add_pod",
    "api",
    "bound",
    "class_of",
    "client",
    "condition",
    "events",
    "eventually",
    "on_record",
    "scheduler",
    "standby",
]


def node(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Taint] = (),
    unschedulable: bool = False,
    extra: Mapping[str, str] | None = None,
) -> Node:
    """Return a node with that much to give."""
    document: dict[str, Any] = {
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"unschedulable": unschedulable, "taints": [msgspec.to_builtins(taint) for taint in taints]},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **(extra or {})}},
    }
    return msgspec.convert(document, Node)


def pod(
    spec: Mapping[str, Any] | None = None,
    *,
    cpu: str = "",
    memory: str = "",
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
) -> Pod:
    """Return a pod with one container."""
    requests = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    base: dict[str, Any] = {"containers": [{"name": "c", "resources": {"requests": requests}}]}
    metadata = {"name": "p", "namespace": namespace, "labels": dict(labels or {})}
    return msgspec.convert({"metadata": metadata, "spec": {**base, **(spec or {})}}, Pod)


@pytest.fixture
def demands() -> Demands:
    return Demands()


@pytest.fixture
def demand_of(demands: Demands) -> Callable[..., Demand]:
    def make(spec: Mapping[str, Any] | None = None, **asked: Any) -> Demand:
        return demands.of(pod(spec, **asked))

    return make


@pytest.fixture
def columns() -> Columns:
    return Columns()


@pytest.fixture
def make_node() -> Callable[..., Node]:
    return node
