from __future__ import annotations

import pytest

from orch.bus import jetstream, subjects
from orch.bus.permissions import ADMIN, API, CONTROLLERS, SCHEDULER, permissions_of

NODE = "system:node:n1.example"


def _creates(stream: str, filter_subject: str = "") -> str:
    return jetstream.create_consumer(stream, "random", filter_subject)


@pytest.mark.parametrize(
    "subject",
    [
        subjects.report_subject("n1.example", "pods"),
        subjects.report_subject("n1.example", "node"),
        subjects.heartbeat_subject("n1.example"),
        subjects.metrics_subject("n1.example"),
        subjects.log_subject("n1.example", "default", "p", "u", "c", 0, "1"),
        subjects.rpc_subject(NODE, "get"),
        _creates("NODES", subjects.node_pods("n1.example")),
        _creates("OBJECTS", subjects.objects_of("", "services")),
        "_INBOX.system:apiserver.nodes.n1%2Eexample.x",
        "$JS.FC.NODES.consumer.x",
    ],
)
def test_a_node_may_publish_its_own(subject: str) -> None:
    assert permissions_of(NODE).may_publish(subject)


@pytest.mark.parametrize(
    "subject",
    [
        subjects.report_subject("n2", "pods"),
        subjects.heartbeat_subject("n2"),
        subjects.log_subject("n2", "default", "p", "u", "c", 0, "1"),
        _creates("LOGS", subjects.logs_of_node("n1.example")),
        subjects.rpc_subject("system:node:n2", "get"),
        subjects.rpc_subject(ADMIN, "write"),
        subjects.node_pod_subject("n1.example", "default", "x"),
        subjects.object_subject("", "pods", "default", "x"),
        subjects.node_rpc_subject("n1.example", "logs"),
        _creates("NODES", subjects.node_pods("n2")),
        _creates("NODES", "orch.nodes.*.pods.>"),
        _creates("NODES", "orch.nodes.>"),
        _creates("NODES"),
        _creates("OBJECTS", subjects.objects_of("", "pods")),
        _creates("REPORTS"),
        jetstream.next_messages("REPORTS", "api"),
        jetstream.stream_request("DELETE", "NODES"),
        jetstream.stream_request("PURGE", "NODES"),
        jetstream.stream_request("MSG.GET", "NODES"),
        "$JS.API.DIRECT.GET.OBJECTS",
        "_INBOX.system:apiserver.x",
        "_INBOX.system:apiserver.nodes.n2.x",
    ],
)
def test_a_node_may_publish_nothing_else(subject: str) -> None:
    assert not permissions_of(NODE).may_publish(subject)


@pytest.mark.parametrize("pattern", [">", "orch.>", "_INBOX.>", "orch.nodes.*.rpc.>", "orch.nodes.n2.rpc.>", "$SRV.>"])
def test_a_node_hears_only_what_is_meant_for_it(pattern: str) -> None:
    assert not permissions_of(NODE).may_subscribe(pattern)
    assert permissions_of(NODE).may_subscribe(subjects.node_rpc_subject("n1.example", "logs"))
    assert permissions_of(NODE).may_subscribe(f"{subjects.inbox_prefix(NODE)}.x")


def test_the_scheduler_reads_no_secrets_and_writes_through_the_api() -> None:
    allowed = permissions_of(SCHEDULER)
    assert allowed.may_publish(_creates("OBJECTS", subjects.objects_of("", "pods")))
    assert allowed.may_publish(subjects.rpc_subject(SCHEDULER, "bind"))
    assert allowed.may_publish(subjects.decision_subject("scheduler", "default", "x"))
    assert not allowed.may_publish(_creates("OBJECTS", subjects.objects_of("", "secrets")))
    assert not allowed.may_publish(_creates("OBJECTS"))
    assert not allowed.may_publish(subjects.rpc_subject(CONTROLLERS, "write"))


def test_the_controllers_read_everything_and_the_heartbeats() -> None:
    allowed = permissions_of(CONTROLLERS)
    assert allowed.may_publish(_creates("OBJECTS", subjects.objects_of("apps", "deployments")))
    assert allowed.may_publish(_creates("OBJECTS"))
    assert allowed.may_publish(_creates("HEARTBEATS", subjects.HEARTBEATS_OF_ALL))
    assert allowed.may_subscribe(subjects.HEARTBEATS_OF_ALL)
    assert not allowed.may_publish(subjects.object_subject("", "pods", "default", "x"))


def test_the_api_owns_the_streams() -> None:
    allowed = permissions_of(API)
    for subject in (
        jetstream.stream_request("CREATE", "OBJECTS"),
        subjects.object_subject("", "pods", "default", "x"),
        subjects.node_rpc_subject("n2", "logs"),
        "$JS.ACK.REPORTS.api.1.2.3.4.5",
        f"{subjects.inbox_prefix(NODE)}.x",
    ):
        assert allowed.may_publish(subject)
    assert allowed.may_subscribe(subjects.rpc_requests("get"))


def test_the_administrator_sees_everything_and_changes_nothing() -> None:
    allowed = permissions_of(ADMIN)
    assert allowed.may_subscribe("orch.>")
    for subject in (
        subjects.object_subject("", "pods", "default", "x"),
        subjects.rpc_subject(ADMIN, "write"),
        jetstream.stream_request("DELETE", "OBJECTS"),
        jetstream.stream_request("PURGE", "OBJECTS"),
        jetstream.next_messages("REPORTS", "api"),
        "$JS.ACK.REPORTS.api.1.2.3.4.5",
    ):
        assert not allowed.may_publish(subject)
    for subject in (_creates("OBJECTS", "orch.objects.>"), jetstream.stream_request("INFO", "OBJECTS"), "$SRV.PING"):
        assert allowed.may_publish(subject)


def test_nobody_is_on_the_bus_without_a_role() -> None:
    with pytest.raises(ValueError, match="no role"):
        permissions_of("mallory")


def test_the_scheduler_keeps_a_journal_and_the_administrator_asks_it() -> None:
    assert permissions_of(SCHEDULER).may_publish(subjects.journal_subject("scheduler", 1, 2))
    assert not permissions_of(CONTROLLERS).may_publish(subjects.journal_subject("scheduler", 1, 2))
    question = subjects.scheduler_question("default-scheduler", "what-if")
    assert permissions_of(SCHEDULER).may_subscribe(question)
    assert permissions_of(ADMIN).may_publish(question)
    assert permissions_of(ADMIN).may_publish(_creates("JOURNAL", subjects.journal_of("scheduler")))
