"""Who asks on the bus and is refused is in the audit log, as if he had asked over HTTPS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orch.errors import ForbiddenError, NotFoundError
from orch.objects.scheme import CONFIG_MAPS, PODS, SECRETS
from orch_api.config import ApiConfig
from orch_api.http.audit_log import event_of
from orch_api.site import application
from orch_pb.v1 import rpc_pb2

DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"


class Kept:
    def __init__(self) -> None:
        self.records: list[Any] = []

    def put(self, record: Any) -> None:
        self.records.append(record)

    def take(self) -> list[dict[str, Any]]:
        events, self.records = [json.loads(event_of(record)) for record in self.records], []
        return events


@pytest.fixture
def kept(driver: Any) -> Kept:
    kept = Kept()
    application(driver.core, ApiConfig(), [kept])  # pyright: ignore[reportArgumentType]
    return kept


async def test_a_node_that_wants_another_node_s_secret(driver: Any, kept: Kept) -> None:
    await driver.create("secrets", {"metadata": {"name": "s"}})
    node = driver.api.client("system:node:n")
    with pytest.raises(ForbiddenError):
        await node.get(SECRETS, "default", "s")
    (event,) = kept.take()
    for varying in ("auditID", "requestReceivedTimestamp", "stageTimestamp"):
        del event[varying]
    reason = "no relationship found between node 'n' and this object"
    assert event.pop("responseStatus")["message"].endswith(reason)
    assert event == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/secrets/s",
        "verb": "get",
        "user": {"username": "system:node:n", "groups": ["system:nodes", "system:authenticated"]},
        "userAgent": "orch-bus",
        "objectRef": {"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"},
        "annotations": {DECISION: "forbid", REASON: reason},
    }


async def test_what_admission_and_roles_refuse(driver: Any, kept: Kept, make_pod: Any) -> None:
    node = driver.api.client("system:node:n")
    with pytest.raises(ForbiddenError):
        await node.create(PODS, "default", make_pod("x"))
    (event,) = kept.take()
    assert (event["verb"], event["annotations"][DECISION]) == ("create", "allow"), "NodeRestriction refused it"
    assert "can only create" in event["responseStatus"]["message"]
    with pytest.raises(ForbiddenError):
        await driver.api.client("nobody").list(PODS)
    assert [event["verb"] for event in kept.take()] == ["list"]
    with pytest.raises(NotFoundError):
        await driver.api.client("system:kube-controller-manager").get(CONFIG_MAPS, "default", "none")
    assert kept.take() == []


async def test_bindings_that_are_refused(driver: Any, kept: Kept, make_pod: Any) -> None:
    await driver.create("pods", make_pod("a"))
    bindings = [rpc_pb2.Binding(namespace="default", name=name, node="n") for name in ("a", "b")]
    await driver.api.client("system:node:n").bind(bindings)
    events = kept.take()
    assert [(event["requestURI"], event["verb"]) for event in events] == [
        ("/api/v1/namespaces/default/pods/a/binding", "create"),
        ("/api/v1/namespaces/default/pods/b/binding", "create"),
    ]
    assert 'cannot create resource "pods/binding"' in events[0]["responseStatus"]["message"]
    await driver.api.client("system:kube-scheduler").bind(bindings)
    assert kept.take() == [], "that there is no such pod is no denial"
