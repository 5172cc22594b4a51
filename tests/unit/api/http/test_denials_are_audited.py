"""What authentication, authorization and admission decide, as audit events tell it: every denial is among them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from asgi import ADMIN, Connection
from websocket_client import WebSocket

from orch.errors import ConfigError
from orch_api.auth.attributes import Verdict
from orch_api.config import ApiConfig
from orch_api.http.audit_log import event_of
from orch_api.site import application, audit_queues

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
ALL = "omitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"


def who(name: str, *groups: str) -> dict[str, Any]:
    return {"subject": ((("commonName", name),), *((("organizationName", group),) for group in groups))}


class Audited:
    """An application that is audited, and its events."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.records: list[Any] = []

    def put(self, record: Any) -> None:
        self.records.append(record)

    def take(self) -> list[dict[str, Any]]:
        events, self.records = [json.loads(event_of(record)) for record in self.records], []
        return events

    async def event(self, method: str, url: str, body: Any = None, peer: Any = ADMIN, **headers: str) -> Any:
        """Send a request, and return the one event that it leaves."""
        await Connection(self.app, peer)(method, url, body, **headers)
        (event,) = self.take()
        return event

    async def decided(self, *request: Any, peer: Any = ADMIN) -> tuple[str, str]:
        """Return what the event of a request says of authorization."""
        annotations = (await self.event(*request, peer=peer))["annotations"]
        return annotations[DECISION], annotations[REASON]


@pytest.fixture
def audited(api: Any, tmp_path: Path) -> Any:
    """Return what makes an application with a policy, "" for none."""

    def make(rules: str, **settings: Any) -> Audited:
        if rules:
            settings["audit_policy_file"] = str(tmp_path / "policy.yaml")
            (tmp_path / "policy.yaml").write_text(f"apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")
        made = Audited(None)
        made.app = application(api.core, ApiConfig(**settings), [made])  # pyright: ignore[reportArgumentType]
        return made

    return make


async def test_the_decision_and_its_reason_are_the_authorizer_s(audited: Any, http: Connection) -> None:
    kept: Audited = audited(ALL)
    role = {"kind": "ClusterRole", "name": "view"}
    reader = {"metadata": {"name": "readers"}, "roleRef": role, "subjects": [{"kind": "Group", "name": "readers"}]}
    robot = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}
    here = {"metadata": {"name": "here"}, "roleRef": role, "subjects": [robot, {"kind": "User", "name": "jane"}]}
    assert (await http("POST", f"{RBAC}/clusterrolebindings", reader)).status == 201
    assert (await http("POST", f"{RBAC}/namespaces/default/rolebindings", here)).status == 201
    allowed = 'RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "view" to Group "readers"'
    assert await kept.decided("GET", MAPS, peer=who("ann", "readers")) == ("allow", allowed)
    allowed = 'RBAC: allowed by RoleBinding "here/default" of ClusterRole "view" to User "jane"'
    assert await kept.decided("GET", f"{MAPS}/none", peer=who("jane")) == ("allow", allowed)
    allowed = 'RBAC: allowed by RoleBinding "here/default" of ClusterRole "view" to ServiceAccount "robot/default"'
    asked = {"peer": who("root", "system:masters"), "impersonate_user": "system:serviceaccount:default:robot"}
    assert (await kept.event("GET", MAPS, **asked))["annotations"] == {DECISION: "allow", REASON: allowed}
    assert await kept.decided("GET", MAPS) == ("allow", "")
    assert await kept.decided("GET", "/metrics") == ("allow", "")
    assert await kept.decided("DELETE", MAPS, peer=who("jane")) == ("forbid", "")
    node = who("system:node:n", "system:nodes")
    refused = "node 'n' cannot read 'other', only its own Node object"
    assert await kept.decided("GET", "/api/v1/nodes/other", peer=node) == ("forbid", refused)
    await http("DELETE", f"{RBAC}/clusterroles/view")
    missing = 'RBAC: clusterrole.rbac.authorization.k8s.io "view" not found'
    assert await kept.decided("GET", MAPS, peer=who("jane")) == ("forbid", missing)


async def test_when_nobody_decides_that_is_told(audited: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: Audited = audited("omitStages: [RequestReceived]\nrules: [{level: None}]\n")

    async def lost(*_: Any) -> Verdict:
        return Verdict("none", error="webhook is away")

    monkeypatch.setattr(api.core.authorizer, "judge", lost)
    event = await kept.event("GET", MAPS, peer=who("jane"))
    assert event["annotations"] == {REASON: "internal error"}
    assert (event["responseStatus"]["code"], event["level"]) == (500, "Metadata")


@pytest.mark.parametrize(
    ("peer", "headers", "message"),
    [
        (None, {"authorization": "Bearer nobody's"}, "Authentication failed, attempted: bearer"),
        (
            {"notAfter": "Jan  1 00:00:00 2020 GMT", **who("ann")},
            {"authorization": f"Basic {base64.b64encode(b'ann:secret').decode()}"},
            "Authentication failed, attempted: basic, x509",
        ),
    ],
)
async def test_who_is_not_known_is_recorded_with_what_was_tried(
    audited: Any, peer: Any, headers: dict[str, str], message: str
) -> None:
    kept: Audited = audited("rules: [{level: RequestResponse}]\n")
    event = await kept.event("GET", f"{MAPS}?limit=1", peer=peer, **headers)
    for varying in ("auditID", "requestReceivedTimestamp", "stageTimestamp"):
        del event[varying]
    status = {"metadata": {}, "status": "Failure", "message": message, "reason": "Unauthorized", "code": 401}
    assert event.pop("responseObject")["message"] == "Unauthorized"
    assert event == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "stage": "ResponseStarted",
        "requestURI": f"{MAPS}?limit=1",
        "verb": "list",
        "user": {},
        "sourceIPs": ["127.0.0.1"],
        "objectRef": {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"},
        "responseStatus": status,
    }


async def test_refused_logins_elsewhere(audited: Any) -> None:
    kept: Audited = audited("")
    for path in ("/readyz", "/version", "/openapi/v3", "/nowhere", "/apis"):
        event = await kept.event("GET", path, peer=None, authorization="Bearer x")
        assert (event["requestURI"], event["stage"], event["level"]) == (path, "ResponseStarted", "Metadata")
        assert event["responseStatus"]["message"] == "Authentication failed, attempted: bearer"
    url, token = "/api/v1/namespaces/default/pods/p/exec?command=x", base64.b64encode(b"nobody's").decode()
    socket = WebSocket(kept.app, url, (f"base64url.bearer.authorization.k8s.io.{token}", "v5.channel.k8s.io"), None)
    await socket.run()
    assert (await socket.message())["status"] == 401
    (event,) = kept.take()
    assert event["objectRef"]["subresource"] == "exec"
    assert event["responseStatus"]["message"] == "Authentication failed, attempted: bearer"
    omitted: Audited = audited("omitStages: [ResponseStarted]\nrules: [{level: Metadata}]\n")
    assert (await omitted.event("GET", MAPS, peer=None, authorization="Bearer x"))["stage"] == "ResponseComplete"


@pytest.mark.parametrize("rules", ["", "rules: [{level: None}]\n"])
async def test_every_denial_is_recorded_whatever_the_policy_leaves_out(
    audited: Any, http: Connection, rules: str
) -> None:
    kept: Audited = audited(rules)
    jane, admin = Connection(kept.app, who("jane")), Connection(kept.app)
    assert (await admin("GET", MAPS)).status == 200
    assert (await admin("GET", f"{MAPS}/none")).status == 404
    assert (await admin("POST", MAPS, {"metadata": {"name": "_"}})).status == 422
    assert kept.take() == [], "what is no denial is left out"
    assert (await jane("GET", MAPS)).status == 403
    assert (await jane("GET", "/metrics")).status == 403
    watch = await jane("GET", f"{MAPS}?watch=1")
    assert watch.status == 403
    socket = WebSocket(kept.app, "/api/v1/namespaces/default/pods/p/exec?command=x", peer=who("jane"))
    await socket.run()
    assert (await socket.message())["status"] == 403
    denied = kept.take()
    assert [event["annotations"] for event in denied] == [{DECISION: "forbid", REASON: ""}] * 4
    assert {(event["level"], event["stage"]) for event in denied} == {("Metadata", "ResponseComplete")}
    assert {event["user"]["username"] for event in denied} == {"jane"}
    cannot = ('list resource "configmaps"', 'get path "/metrics"', 'watch resource "configmaps"', "create resource")
    for event, what in zip(denied, cannot, strict=True):
        assert f'User "jane" cannot {what}' in event["responseStatus"]["message"]
    namespace = "/api/v1/namespaces/default"
    secure = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    merge = "application/merge-patch+json"
    assert (await http("PATCH", namespace, secure, content_type=merge)).status == 200
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    event = await kept.event("POST", f"{namespace}/pods", pod)
    assert 'pods "p" is forbidden: violates PodSecurity "restricted:latest"' in event["responseStatus"]["message"]
    assert event["annotations"] == {
        DECISION: "allow",
        REASON: "",
        "pod-security.kubernetes.io/enforce-policy": "restricted:latest",
    }
    event = await kept.event("DELETE", namespace)
    assert "this namespace may not be deleted" in event["responseStatus"]["message"]
    gone = await kept.event("POST", MAPS.replace("default", "gone"), {"metadata": {"name": "c"}})
    assert (gone["responseStatus"]["code"], gone["responseStatus"]["reason"]) == (404, "NotFound"), "admission's"
    escalating = {"metadata": {"name": "r"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}
    bound = {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "admin"}}
    bound["subjects"] = [{"kind": "User", "name": "jane"}]
    assert (await http("POST", f"{RBAC}/namespaces/default/rolebindings", bound)).status == 201
    event = await kept.event("POST", f"{RBAC}/namespaces/default/roles", escalating, peer=who("jane"))
    assert "is attempting to grant RBAC permissions not currently held" in event["responseStatus"]["message"]


async def test_denials_may_be_left_to_the_policy(audited: Any) -> None:
    kept: Audited = audited("rules: [{level: None}]\n", audit_denials=False)
    assert (await Connection(kept.app, who("jane"))("GET", MAPS)).status == 403
    assert (await Connection(kept.app, None)("GET", MAPS, authorization="Bearer x")).status == 401
    assert kept.take() == []


async def test_without_a_policy_there_are_events_where_there_is_a_place_for_them(api: Any, tmp_path: Path) -> None:
    assert audit_queues(api.core, ApiConfig()) == []
    assert len(audit_queues(api.core, ApiConfig(audit_log_file=str(tmp_path / "audit.log")))) == 1
    with pytest.raises(ConfigError, match="audit_log_file or audit_stream"):
        audit_queues(api.core, ApiConfig(audit_policy_file="policy.yaml"))


async def test_who_asks_as_somebody_else_is_recorded(audited: Any, http: Connection) -> None:
    kept: Audited = audited(ALL)
    event = await kept.event("GET", MAPS, peer=who("bob"), impersonate_user="jane")
    assert event["user"]["username"] == "bob"
    assert "impersonatedUser" not in event, "he is not she"
    assert 'User "bob" cannot impersonate-on:user-info:list' in event["responseStatus"]["message"]
    event = await kept.event("GET", "/metrics", impersonate_user="jane")
    assert (event["user"]["username"], event["impersonatedUser"]["username"]) == ("orch:admin", "jane")
    assert event["annotations"][DECISION] == "forbid"
    assert event["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}
    masters = await kept.event("GET", MAPS, impersonate_user="jane", impersonate_group="system:masters")
    assert masters["responseStatus"]["code"] == 200
    assert "authenticationMetadata" not in masters, "no constrained mode permits that"
    identities = {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]}
    for_lists = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["impersonate-on:user-info:list"]}
    role = {"metadata": {"name": "ask"}, "rules": [identities, for_lists]}
    bound = {"metadata": {"name": "ask"}, "roleRef": {"kind": "ClusterRole", "name": "ask"}}
    assert (await http("POST", f"{RBAC}/clusterroles", role)).status == 201
    bound["subjects"] = [{"kind": "User", "name": "bob"}]
    assert (await http("POST", f"{RBAC}/clusterrolebindings", bound)).status == 201
    event = await kept.event("GET", MAPS, peer=who("bob"), impersonate_user="jane")
    assert event["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}
    assert event["impersonatedUser"] == {"username": "jane", "groups": ["system:authenticated"]}
    assert event["annotations"][DECISION] == "forbid", "jane may not"


async def test_what_is_served_is_told_only_to_those_who_might_ask_for_it(audited: Any) -> None:
    kept: Audited = audited(ALL)
    for path, what in (
        ("/api/v1/nothing", 'resource "nothing" in API group ""'),
        ("/apis/example.com/v1/namespaces/default/things/x", 'resource "things" in API group "example.com"'),
        ("/nowhere", 'path "/nowhere"'),
        ("/api/v1/namespaces/default/pods/p/nothing", 'resource "pods/nothing"'),
    ):
        event = await kept.event("GET", path, peer=None)
        assert (event["responseStatus"]["code"], event["annotations"][DECISION]) == (403, "forbid")
        assert what in event["responseStatus"]["message"]
        assert (await kept.event("GET", path))["responseStatus"]["code"] == 404
    assert (await kept.event("PUT", "/api/v1/nodes", peer=None))["responseStatus"]["code"] == 403
    assert (await kept.event("PUT", "/api/v1/nodes"))["responseStatus"]["code"] == 405


async def test_names_are_quoted_in_refusals(audited: Any) -> None:
    kept: Audited = audited(ALL)
    event = await kept.event("GET", "/<b>", peer=who('ev"il\n<i>'))
    assert event["responseStatus"]["message"] == ('forbidden: User "ev\\"il\\n&lt;i&gt;" cannot get path "/&lt;b&gt;"')
