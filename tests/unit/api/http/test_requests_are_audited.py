"""The audit policy, the events that requests leave, and where these are written."""

import asyncio
import contextlib
import itertools
import json

import msgspec
import pytest
from asgi import Connection

from orch.bus import jetstream
from orch.bus.permissions import ADMIN, API, CONTROLLERS, SCHEDULER, permissions_of
from orch.bus.protocol import Message, Signal
from orch.bus.subjects import AUDIT, audit_subject
from orch.clock import SystemClock
from orch.errors import ConfigError, UnavailableError
from orch_api.auth.identity import Caller
from orch_api.config import ApiConfig
from orch_api.http import audit_log
from orch_api.http.audit import Content, Record
from orch_api.http.audit_log import ERRORS, LogFile, LogStream, Queue, event_of
from orch_api.http.audit_policy import Attributes, Rules, read_policy
from orch_api.site import application, audit_queues
from orch_pb.v1.audit_pb2 import AuditEvent

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
ANN = Caller("ann", ("devs", "system:authenticated"))


@pytest.fixture
def policy(tmp_path):
    def write(rules):
        file = tmp_path / "policy.yaml"
        file.write_text(HEAD + rules)
        return file

    return write


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("rules: []", "rules", "there must be at least one"),
        ("rules:\n- level: All", "rules[0].level", "invalid enum value 'All'"),
        ("rules:\n- level: None\n- users: [a]", "rules[1]", "missing required field `level`"),
        ("rules:\n- level: None\n  user: a", "rules[0]", "unknown field `user`"),
        ("rules:\n- level: None\n  omitStages: [Request]", "rules[0].omitStages", "invalid enum value 'Request'"),
        ("rules:\n- level: None\n  verbs: get", "rules[0].verbs", "expected `array`, got `str`"),
        ("rules:\n- level: None\n  nonResourceURLs: [api]", "rules[0].nonResourceURLs[0]", "begin with a '/'"),
        ("rules:\n- level: None\n  nonResourceURLs: [/a*/b]", "rules[0].nonResourceURLs[0]", "final character"),
        (
            "rules:\n- level: None\n  nonResourceURLs: [/a]\n  namespaces: [x]",
            "rules[0].nonResourceURLs",
            "rules cannot apply to both",
        ),
        (
            "rules:\n- level: None\n  resources: [{resourceNames: [a]}]",
            "rules[0].resources[0].resourceNames",
            "requires at least one resource",
        ),
        ("rules:\n- level: None\n  resources: [{group: apps/v1}]", "rules[0].resources[0].group", "no API group"),
        ("rules: [", "policy.yaml", "cannot be read"),
        ("omitStage: []", "policy.yaml", "unknown field `omitStage`"),
    ],
)
def test_a_bad_policy_is_refused_at_its_place(policy, text, place, problem):
    with pytest.raises(ConfigError) as refused:
        read_policy(policy(text))
    assert refused.value.path.endswith(place) or place in refused.value.path
    assert problem in refused.value.problem


def test_another_version_is_refused(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules:\n- level: None\n")
    with pytest.raises(ConfigError, match="apiVersion"):
        read_policy(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")


RULES = """
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [probe]}
- {level: None, userGroups: [robots], verbs: [get, list]}
- {level: Metadata, resources: [{resources: [secrets, tokenreviews]}, {group: apps, resources: [deployments/scale]}]}
- {level: Request, namespaces: [kube-system], omitStages: [Panic], omitManagedFields: false}
- {level: None, nonResourceURLs: [/healthz*, /version]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps], resourceNames: [special]}]}
- {level: Request, resources: [{group: batch}, {group: "*", resources: ["*/status", "pods/*"]}]}
"""


@pytest.mark.parametrize(
    ("asked", "level"),
    [
        ({"caller": Caller("probe", ()), "resource": "secrets"}, "None"),
        ({"caller": Caller("r", ("robots",)), "resource": "secrets"}, "None"),
        ({"caller": Caller("r", ("robots",)), "resource": "secrets", "verb": "watch"}, "Metadata"),
        ({"resource": "secrets"}, "Metadata"),
        ({"resource": "deployments", "group": "apps", "subresource": "scale"}, "Metadata"),
        ({"resource": "deployments", "group": "apps"}, "None"),
        ({"resource": "pods", "namespace": "kube-system"}, "Request"),
        ({"path": "/healthz/etcd"}, "None"),
        ({"path": "/metrics"}, "None"),
        ({"resource": "configmaps", "name": "special"}, "RequestResponse"),
        ({"resource": "configmaps", "name": "other"}, "None"),
        ({"resource": "jobs", "group": "batch"}, "Request"),
        ({"resource": "nodes", "subresource": "status"}, "Request"),
        ({"resource": "pods", "subresource": "exec"}, "Request"),
        ({"resource": "pods"}, "Request"),
    ],
)
def test_the_first_rule_that_matches_counts(policy, asked, level):
    rules = Rules(read_policy(policy(RULES)))
    found = rules.of(Attributes(**{"caller": ANN, "verb": "get", "path": "/x", **asked}))
    assert found.level == level
    assert "RequestReceived" in found.omitted
    assert found.omit_managed_fields == (asked.get("namespace") != "kube-system")
    assert ("Panic" in found.omitted) == (asked.get("namespace") == "kube-system")


class Kept:
    """Keeps records in memory."""

    def __init__(self):
        self.records = []

    def put(self, record):
        self.records.append(record)

    @property
    def events(self):
        return [json.loads(event_of(record)) for record in self.records]

    def take(self):
        events, self.records = self.events, []
        return events


@pytest.fixture
def audited(api, policy):
    """Return the administrator's connection to an application with a policy, and what it records."""

    def begin(rules, **who):
        kept = Kept()
        config = ApiConfig(audit_policy_file=str(policy(rules)))
        return Connection(application(api.core, config, [kept]), **who), kept

    return begin


async def test_a_request_leaves_its_stages(audited):
    http, kept = audited("rules:\n- level: RequestResponse\n")
    body = {"metadata": {"name": "c"}, "data": {"a": "1"}}
    sent = {"user_agent": "kubectl/v1.37", "x_forwarded_for": "192.0.2.7, unknown", "audit_id": "mine"}
    answer = await http("POST", f"{MAPS}?fieldManager=me", body, **sent)
    assert answer.headers["audit-id"] == "mine"
    received, complete = kept.take()
    assert received == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "mine",
        "stage": "RequestReceived",
        "requestURI": f"{MAPS}?fieldManager=me",
        "verb": "create",
        "user": {"username": "orch:admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["192.0.2.7", "127.0.0.1"],
        "userAgent": "kubectl/v1.37",
        "objectRef": {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"},
        "requestReceivedTimestamp": received["requestReceivedTimestamp"],
        "stageTimestamp": received["stageTimestamp"],
    }
    assert received["requestReceivedTimestamp"][-7:-1].isdigit()
    assert complete["stage"] == "ResponseComplete"
    assert complete["requestReceivedTimestamp"] == received["requestReceivedTimestamp"]
    assert complete["objectRef"]["name"] == "c"
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["requestObject"] == body
    assert complete["responseObject"] == answer.json
    assert complete["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}


async def test_levels_say_how_much(audited):
    for level, requested, responded in (("Metadata", 0, 0), ("Request", 1, 0), ("RequestResponse", 1, 1)):
        http, kept = audited(f"omitStages: [RequestReceived]\nrules:\n- level: {level}\n")
        await http("PUT", f"{MAPS}/{level.lower()}", {"metadata": {"name": level.lower()}})
        (event,) = kept.take()
        assert ("requestObject" in event, "responseObject" in event) == (bool(requested), bool(responded))
        assert event["responseStatus"]["reason"] == "NotFound"
        assert event["responseStatus"]["code"] == 404
        assert event["objectRef"]["name"] == level.lower()
    http, kept = audited("rules:\n- level: None\n")
    assert (await http("GET", MAPS)).status == 200
    assert kept.records == []


async def test_bodies_of_every_kind_become_json(audited):
    http, kept = audited("omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n- level: RequestResponse\n")
    protobuf = "application/vnd.kubernetes.protobuf"
    made = await http("POST", MAPS, b"metadata: {name: c}\ndata: {a: '1'}\n", content_type="application/yaml")
    assert made.json["metadata"]["managedFields"]
    (event,) = kept.take()
    assert event["requestObject"] == {"metadata": {"name": "c"}, "data": {"a": "1"}}
    assert "managedFields" not in event["responseObject"]["metadata"]
    assert event["responseObject"]["data"] == {"a": "1"}
    await http("GET", f"{MAPS}/c", accept=protobuf)
    (event,) = kept.take()
    assert event["responseObject"]["data"] == {"a": "1"}
    merge = "application/merge-patch+json"
    await http("PATCH", f"{MAPS}/c", {"data": {"b": "2"}}, content_type=merge)
    (event,) = kept.take()
    assert (event["verb"], event["requestObject"]) == ("patch", {"data": {"b": "2"}})
    await http("GET", MAPS)
    (event,) = kept.take()
    assert all("managedFields" not in item["metadata"] for item in event["responseObject"]["items"])
    await http("POST", MAPS, b"{")
    (event,) = kept.take()
    assert "requestObject" not in event
    assert event["responseStatus"]["code"] == 400


async def test_watches_begin_before_they_end(audited, eventually):
    http, kept = audited("rules:\n- level: RequestResponse\n")
    answer, task, leave = http.begin("GET", f"{MAPS}?watch=1")
    await eventually(lambda: answer.status == 200)
    assert [event["stage"] for event in kept.events] == ["RequestReceived", "ResponseStarted"]
    leave.set()
    await task
    events = kept.take()
    assert [event["stage"] for event in events] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    assert {event["verb"] for event in events} == {"watch"}
    assert events[2]["responseStatus"]["code"] == 200
    assert len({event["auditID"] for event in events}) == 1


async def test_what_is_not_allowed_is_told(audited):
    rules = "omitStages: [RequestReceived]\nrules:\n- level: Metadata\n"
    http, kept = audited(rules, peer=None)
    assert (await http("GET", MAPS)).status == 403
    (event,) = kept.take()
    assert event["user"]["username"] == "system:anonymous"
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert event["responseStatus"]["code"] == 403
    assert (await http("GET", MAPS, authorization="Bearer nobody's")).status == 401
    (event,) = kept.take()
    assert event["user"] == {}
    assert event["responseStatus"]["code"] == 401
    assert "annotations" not in event


async def test_what_is_no_resource_is_recorded_too(audited):
    http, kept = audited("omitStages: [RequestReceived]\nrules:\n- level: RequestResponse\n")
    for path in ("/apis", "/readyz?verbose", "/api/v1/namespaces/default/nothing/x"):
        answer = await http("GET", path)
        (event,) = kept.take()
        assert event["requestURI"] == path
        assert event["verb"] == "get"
        assert event["auditID"] == answer.headers["audit-id"]
        assert event["responseStatus"]["code"] == answer.status
        assert ("objectRef" in event) == path.startswith("/api/v1")


async def test_a_failure_of_ours_is_a_panic(audited, api, monkeypatch):
    http, kept = audited("rules:\n- level: Metadata\n")

    async def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(api.core.reader, "list_page", broken)
    assert (await http("GET", MAPS)).status == 500
    assert [event["stage"] for event in kept.take()] == ["RequestReceived", "Panic"]


async def test_every_answer_has_an_id(http):
    seen = set()
    for path in (MAPS, f"{MAPS}/none", "/readyz", "/apis", "/nowhere", "/api/v1/nothing", f"{MAPS}/%zz"):
        answer = await http("GET", path)
        assert len(answer.headers["audit-id"]) == 36
        assert answer.headers["cache-control"] == "no-cache, private"
        seen.add(answer.headers["audit-id"])
    assert len(seen) == 7


# Where events go


def record(number=0, size=0, **fields):
    attributes = Attributes(caller=ANN, verb="create", path="/x", resource="configmaps", namespace="default", name="c")
    given = {
        "audit_id": f"id-{number}",
        "level": "RequestResponse",
        "stage": "ResponseComplete",
        "attributes": attributes,
        "uri": "/x",
        "source_ips": ["127.0.0.1"],
        "user_agent": "",
        "received": "2026-01-01T00:00:00.000000Z",
        "at": "2026-01-01T00:00:00.000001Z",
        "annotations": {},
        "omit_managed_fields": False,
        "status": {"metadata": {}, "code": 201},
        "response": Content(json.dumps({"data": "x" * size}).encode(), "application/json"),
    }
    return Record(**{**given, **fields})


def ids(path):
    return [json.loads(line)["auditID"] for line in path.read_text().splitlines()]


async def test_the_file_is_moved_away_when_it_is_full(tmp_path):
    path = tmp_path / "logs/audit.log"
    one, other = (LogFile(path, 4000, 2) for _ in range(2))  # two processes share it
    for number, file in zip(range(12), itertools.cycle((one, other)), strict=False):
        await file.write([record(number, size=1000)])
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "audit.log",
        "audit.log.1",
        "audit.log.2",
        "audit.log.lock",
    ]
    assert path.stat().st_size <= 4000
    assert path.stat().st_mode & 0o777 == 0o600
    kept = [ids(tmp_path / "logs" / name) for name in ("audit.log.2", "audit.log.1", "audit.log")]
    assert list(itertools.chain(*kept))[-6:] == [f"id-{number}" for number in range(6, 12)]
    none = tmp_path / "none.log"
    for number in range(4):
        LogFile(none, 1, 0).append([record(number)])
    assert ids(none) == ["id-3"]


@contextlib.asynccontextmanager
async def running(queue):
    task = asyncio.ensure_future(queue.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def dropped(plugin):
    return ERRORS.labels(plugin)._value.get()


async def test_a_queue_is_bounded_in_number_and_size(monkeypatch):
    written = []

    async def write(batch):
        written.extend(batch)

    before = dropped("test")
    monkeypatch.setattr(audit_log, "MAX_EVENTS", 5)
    queue = Queue("test", write, SystemClock())
    for number in range(7):
        queue.put(record(number))
    assert dropped("test") == before + 2
    monkeypatch.setattr(audit_log, "MAX_EVENTS", 1000)
    monkeypatch.setattr(audit_log, "MAX_BYTES", 100_000)
    queue.put(record(8, size=90_000))
    assert dropped("test") == before + 3
    async with running(queue):
        await asyncio.sleep(0)
    assert [each.audit_id for each in written] == [f"id-{number}" for number in range(5)]


async def test_what_cannot_be_written_is_tried_again(eventually, monkeypatch):
    monkeypatch.setattr(audit_log, "_FIRST_BACKOFF", 0.001)
    written, problems = [], [UnavailableError("away"), OSError("full")]

    async def write(batch):
        if problems:
            raise problems.pop()
        written.extend(batch)

    queue = Queue("test", write, SystemClock())
    async with running(queue):
        queue.put(record(1))
        queue.put(record(2))
        await eventually(lambda: len(written) == 2)
        queue.put(record(3))  # written as it ends
    assert [each.audit_id for each in written] == ["id-1", "id-2", "id-3"]


async def test_the_stream_has_each_event_once(api, eventually):
    stream = LogStream(api.core.bus)
    await stream.write([record(1), record(2)])
    await stream.write([record(2), record(3, attributes=Attributes(caller=ANN, verb="get", path="/readyz"))])
    found = []
    async with (
        asyncio.timeout(10),
        contextlib.aclosing(api.bus("orch:admin").follow(AUDIT.name, AUDIT.subjects)) as messages,
    ):
        async for message in messages:
            if message is Signal.SYNCED:
                break
            if isinstance(message, Message):
                found.append((message.subject, AuditEvent.FromString(message.data)))
    # a snapshot has the last message of each subject
    assert [(subject, event.audit_id) for subject, event in found] == [
        (audit_subject("create", "", "configmaps", "default"), "id-2"),
        (audit_subject("get", "", "", ""), "id-3"),
    ]
    event = found[0][1]
    assert (event.user, event.verb, event.resource, event.name, event.code) == ("ann", "create", "configmaps", "c", 201)
    assert json.loads(event.json)["kind"] == "Event"
    assert (await api.core.bus.last_message(AUDIT.name)).sequence == 3


def test_an_event_that_is_too_large_loses_its_objects():
    event = json.loads(event_of(record(size=audit_log.MAX_EVENT)))
    assert "responseObject" not in event
    assert event["annotations"] == {"audit.k8s.io/truncated": "true"}
    assert event["responseStatus"]["code"] == 201


def test_subjects_of_audit_events():
    assert audit_subject("get", "", "pods", "a.b") == "orch.audit.get.core.pods.a%2Eb"
    assert audit_subject("list", "apps", "deployments", "") == "orch.audit.list.apps.deployments.-"
    assert audit_subject("get", "", "", "") == "orch.audit.get.-.-.-"


def test_only_the_api_writes_the_stream_and_only_the_administrator_reads_it():
    subject = audit_subject("get", "", "pods", "default")
    read = jetstream.create_consumer(AUDIT.name, "random")
    assert permissions_of(API).may_publish(subject)
    assert permissions_of(ADMIN).may_publish(read)
    for user in (ADMIN, SCHEDULER, CONTROLLERS, "system:node:n"):
        assert not permissions_of(user).may_publish(subject)
    for user in (SCHEDULER, CONTROLLERS, "system:node:n"):
        assert not permissions_of(user).may_publish(read)


async def test_settings_have_to_fit_together(api, policy, tmp_path):
    file = str(policy("rules:\n- level: None\n"))
    assert len(audit_queues(api.core, ApiConfig(audit_log_file="x"))) == 1
    with pytest.raises(ConfigError, match="audit_policy_file"):
        audit_queues(api.core, ApiConfig(audit_policy_file=file))
    both = ApiConfig(audit_policy_file=file, audit_log_file=str(tmp_path / "a.log"), audit_stream=True)
    assert len(audit_queues(api.core, both)) == 2
    with pytest.raises(ConfigError, match="cannot be read"):
        application(api.core, msgspec.structs.replace(both, audit_policy_file="nowhere"))


async def test_who_is_asked_as_stands_beside_who_asks(audited):
    http, kept = audited("rules:\n- level: Metadata\n  omitStages: [RequestReceived]\n")
    await http("GET", MAPS, impersonate_user="jane")
    (event,) = kept.take()
    assert event["user"]["username"] == "orch:admin"
    assert event["impersonatedUser"] == {"username": "jane", "groups": ["system:authenticated"]}
