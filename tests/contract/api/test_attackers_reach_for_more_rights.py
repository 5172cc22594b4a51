"""What attackers do with the rights they have: write themselves more, use others' names, lead the api astray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from asgi import Answer, Connection

from orch_api.config import ApiConfig
from orch_api.http.server import PEER
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application

pytestmark = pytest.mark.asyncio(loop_scope="module")

CORE, NS = "/api/v1", "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
HERE = f"{RBAC}/namespaces/default"
MERGE, JSON_PATCH, APPLY = (
    f"application/{form}" for form in ("merge-patch+json", "json-patch+json", "apply-patch+yaml")
)
REF = {"apiGroup": "rbac.authorization.k8s.io"}
MALLORY = {"kind": "User", "name": "mallory", **REF}
ALL = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


def rule(verbs: str, resources: str, group: str = "") -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


def peer(name: str, *groups: str) -> Any:
    return {"subject": ((("commonName", name),), *((("organizationName", group),) for group in groups))}


class Target:
    """An api, its administrator, and mallory, who may write roles and bindings but holds few rights."""

    def __init__(self, api: InMemoryApi) -> None:
        self.api = api
        self.app = application(api.core, ApiConfig())
        self.admin = Connection(self.app)
        self.mallory = Connection(self.app, peer("mallory"))

    async def made(self, path: str, body: Any) -> Any:
        answer = await self.admin("POST", path, body)
        assert answer.status == 201, answer.body
        return answer.json

    async def give(self, *rules: Any) -> None:
        """Replace what mallory may, everywhere."""
        role = {"metadata": {"name": "mallorys"}, "rules": list(rules)}
        assert (await self.admin("PUT", f"{RBAC}/clusterroles/mallorys", role)).status == 200
        await self.api.core.cache.catch_up()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target() -> AsyncIterator[Target]:
    async with in_memory_api(config=ApiConfig(outgoing_allowed=("203.0.113.1",))) as api:
        found = Target(api)
        await found.made(f"{RBAC}/clusterroles", {"metadata": {"name": "mallorys"}, "rules": []})
        bound = {"kind": "ClusterRole", "name": "mallorys", **REF}
        body = {"metadata": {"name": "mallorys"}, "roleRef": bound, "subjects": [MALLORY]}
        await found.made(f"{RBAC}/clusterrolebindings", body)
        await found.made(f"{CORE}/namespaces", {"metadata": {"name": "other"}})
        for name in ("robot", "other"):
            await found.made(f"{NS}/serviceaccounts", {"metadata": {"name": name}})
        pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
        await found.made(f"{NS}/pods", pod)
        await found.made(f"{NS}/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
        await found.made(f"{CORE}/nodes", {"metadata": {"name": "n"}})
        await found.made(f"{NS}/configmaps", {"metadata": {"name": "m"}})
        await found.made(f"{HERE}/roles", {"metadata": {"name": "mine"}, "rules": []})
        await found.made(f"{HERE}/roles", {"metadata": {"name": "powerful"}, "rules": [SECRETS]})
        yield found


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **fields}


# Roles and bindings -----------------------------------------------------------------------------------------------

ON_ROLES = rule(
    "get create update patch delete", "roles clusterroles rolebindings clusterrolebindings", REF["apiGroup"]
)


def to(kind: str, name: str) -> dict[str, str]:
    return {"kind": kind, "name": name, **REF}


ESCALATIONS: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", f"{HERE}/roles", named("new", rules=[SECRETS]), ""),
    ("POST", f"{HERE}/roles?dryRun=All", named("new", rules=[SECRETS]), ""),
    ("POST", f"{HERE}/roles", named("new", rules=[ALL]), ""),
    ("POST", f"{HERE}/roles", named("new", rules=[rule("escalate bind", "roles", REF["apiGroup"])]), ""),
    ("POST", f"{HERE}/roles", named("new", rules=[rule("impersonate", "users")]), ""),
    ("POST", f"{HERE}/roles", named("new", rules=[rule("*", "roles", REF["apiGroup"])]), ""),
    ("POST", f"{HERE}/roles", named("new", rules=[rule("get", "roles/x", REF["apiGroup"])]), ""),
    ("POST", f"{RBAC}/clusterroles", named("new", rules=[{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]), ""),
    ("POST", f"{RBAC}/clusterroles", named("new", aggregationRule={"clusterRoleSelectors": [{}]}), ""),
    ("PUT", f"{HERE}/roles/mine", named("mine", rules=[SECRETS]), ""),
    ("PATCH", f"{HERE}/roles/mine", {"rules": [SECRETS]}, MERGE),
    ("PATCH", f"{HERE}/roles/mine", [{"op": "add", "path": "/rules", "value": [SECRETS]}], JSON_PATCH),
    (
        "PATCH",
        f"{HERE}/roles/mine?fieldManager=x&force=true",
        {"apiVersion": REF["apiGroup"] + "/v1", "kind": "Role", **named("mine", rules=[SECRETS])},
        APPLY,
    ),
    ("PUT", f"{RBAC}/clusterroles/mallorys", named("mallorys", rules=[ON_ROLES, ALL]), ""),
    ("POST", f"{HERE}/rolebindings", named("b", roleRef=to("Role", "powerful"), subjects=[MALLORY]), ""),
    ("POST", f"{HERE}/rolebindings", named("b", roleRef=to("ClusterRole", "cluster-admin"), subjects=[MALLORY]), ""),
    ("POST", f"{HERE}/rolebindings", named("b", roleRef=to("ClusterRole", "view"), subjects=[MALLORY]), ""),
    (
        "POST",
        f"{RBAC}/clusterrolebindings",
        named("b", roleRef=to("ClusterRole", "cluster-admin"), subjects=[MALLORY]),
        "",
    ),
    (
        "PUT",
        f"{RBAC}/clusterrolebindings/cluster-admin",
        named("cluster-admin", roleRef=to("ClusterRole", "cluster-admin"), subjects=[MALLORY]),
        "",
    ),
    (
        "PATCH",
        f"{RBAC}/clusterrolebindings/cluster-admin",
        [{"op": "add", "path": "/subjects/-", "value": MALLORY}],
        JSON_PATCH,
    ),
)


async def test_who_writes_roles_gives_himself_nothing(target: Target) -> None:
    await target.give(ON_ROLES)
    for method, path, body, form in ESCALATIONS:
        sent = msgspec.json.encode(body)
        answer = await target.mallory(method, path, sent, **({"content_type": form} if form else {}))
        assert answer.status == 403, (method, path, body, answer.body)
    assert (await target.mallory("GET", f"{NS}/secrets/any")).status == 403
    roles = (await target.admin("GET", f"{HERE}/roles")).json["items"]
    assert {role["metadata"]["name"]: role.get("rules") or [] for role in roles} == {"mine": [], "powerful": [SECRETS]}


async def test_a_binding_names_its_role_for_ever(target: Target) -> None:
    await target.give(ON_ROLES)
    own = named("harmless", roleRef=to("Role", "mine"), subjects=[MALLORY])
    assert (await target.mallory("POST", f"{HERE}/rolebindings", own)).status == 201
    other = named("harmless", roleRef=to("ClusterRole", "cluster-admin"), subjects=[MALLORY])
    assert (await target.mallory("PUT", f"{HERE}/rolebindings/harmless", other)).status in {403, 422}
    # A role that is deleted and made again under the same name does not give more than its maker holds.
    assert (await target.mallory("DELETE", f"{HERE}/roles/mine")).status == 200
    assert (await target.mallory("POST", f"{HERE}/roles", named("mine", rules=[SECRETS]))).status == 403
    await target.made(f"{HERE}/roles", named("mine", rules=[]))


async def test_bind_and_escalate_count_for_what_they_name(target: Target) -> None:
    bind = {**rule("bind", "clusterroles", REF["apiGroup"]), "resourceNames": ["view"]}
    await target.give(ON_ROLES, bind)
    body = named("v", roleRef=to("ClusterRole", "view"), subjects=[MALLORY])
    assert (await target.mallory("POST", f"{HERE}/rolebindings?dryRun=All", body)).status == 201
    for kind, name in (("ClusterRole", "edit"), ("Role", "view"), ("Role", "powerful")):
        body = named("v", roleRef=to(kind, name), subjects=[MALLORY])
        assert (await target.mallory("POST", f"{HERE}/rolebindings", body)).status in {403, 404}


async def test_nobody_is_given_tokens_or_certificates_of_others(target: Target) -> None:
    await target.give(rule("get list create update", "serviceaccounts pods"))
    asked = {"spec": {}}
    assert (await target.mallory("POST", f"{NS}/serviceaccounts/robot/token", asked)).status == 403
    await target.give({**rule("create", "serviceaccounts/token"), "resourceNames": ["other"]})
    assert (await target.mallory("POST", f"{NS}/serviceaccounts/robot/token", asked)).status == 403
    for body in (named("robot", **asked), {"metadata": {"namespace": "kube-system"}, **asked}):
        answer = await target.mallory("POST", f"{NS}/serviceaccounts/other/token", body)
        assert answer.status in {400, 422}, answer.body


# Streams ----------------------------------------------------------------------------------------------------------

STREAMS = ("pods/p/exec?command=id", "pods/p/attach", "pods/p/portforward?ports=80")


async def opened(target: Target, path: str) -> int:
    """Return how a WebSocket that a client opens is answered."""
    plain, _, query = path.partition("?")
    sent: asyncio.Queue[Any] = asyncio.Queue()
    incoming: asyncio.Queue[Any] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    scope = {
        "type": "websocket",
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "headers": [],
        "subprotocols": ["v5.channel.k8s.io", "v4.channel.k8s.io"],
        "client": ("127.0.0.1", 1),
        PEER: peer("mallory"),
    }
    serving = asyncio.ensure_future(target.app(scope, incoming.get, sent.put))
    async with asyncio.timeout(10):
        first = await sent.get()
        incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await serving
    return first.get("status", 101)


async def test_who_may_read_a_stream_may_not_open_it(target: Target) -> None:
    await target.give(rule("get list watch", "pods pods/exec pods/attach pods/portforward pods/proxy services/proxy"))
    for path in STREAMS:
        for method in ("GET", "POST"):
            answer = await target.mallory(method, f"{NS}/{path}", upgrade="SPDY/3.1", connection="Upgrade")
            assert answer.status == 403, (method, path, answer.body)
            assert 'cannot create resource "pods/' in answer.json["message"]
        assert await opened(target, f"{NS}/{path}") == 403
    for path in ("pods/p/proxy/", "services/s/proxy/"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await target.mallory(method, f"{NS}/{path}")).status == 403, (method, path)
    for path in ("nodes/n/proxy/", "nodes/n/proxy/run/default/p/c", "nodes/n/proxy/logs/"):
        assert (await target.mallory("GET", f"{CORE}/{path}")).status == 403


async def test_a_pod_is_changed_by_no_side_door(target: Target) -> None:
    await target.give(rule("get update patch", "pods"))
    debug = {"spec": {"ephemeralContainers": [{"name": "d", "image": "i"}]}}
    for subresource, body in (("ephemeralcontainers", debug), ("resize", debug), ("status", {"status": {}})):
        path = f"{NS}/pods/p/{subresource}"
        answer = await target.mallory("PATCH", path, body, content_type=MERGE)
        assert answer.status == 403, (path, answer.body)
    for subresource in ("binding", "eviction"):
        assert (await target.mallory("POST", f"{NS}/pods/p/{subresource}", named("p"))).status == 403


# Bodies that say another thing than the path ----------------------------------------------------------------------

ELSEWHERE = {"name": "m", "namespace": "other"}
BODIES: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", f"{NS}/configmaps", {"metadata": ELSEWHERE}, ""),
    ("PUT", f"{NS}/configmaps/m", {"metadata": ELSEWHERE}, ""),
    ("PUT", f"{NS}/configmaps/m", named("n"), ""),
    ("PATCH", f"{NS}/configmaps/m", {"metadata": {"namespace": "other"}}, MERGE),
    ("PATCH", f"{NS}/configmaps/m", {"metadata": {"name": "n"}}, MERGE),
    ("PATCH", f"{NS}/configmaps/m", [{"op": "replace", "path": "/metadata/namespace", "value": "other"}], JSON_PATCH),
    (
        "PATCH",
        f"{NS}/configmaps/m?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": ELSEWHERE},
        APPLY,
    ),
    ("PATCH", f"{NS}/configmaps/new?fieldManager=x", {"apiVersion": "v1", "kind": "Secret", **named("new")}, APPLY),
    ("POST", f"{NS}/configmaps", {"apiVersion": "v1", "kind": "Secret", **named("k")}, ""),
    ("POST", f"{NS}/configmaps", {"apiVersion": "apps/v1", "kind": "ConfigMap", **named("k")}, ""),
    ("POST", f"{NS}/configmaps", {"apiVersion": "v1", "kind": "List", "items": [named("k")]}, ""),
    ("POST", f"{NS}/pods/p/binding", named("other", target={"kind": "Node", "name": "n"}), ""),
    ("POST", f"{NS}/pods/p/binding", {"metadata": {"name": "p", "namespace": "other"}, "target": {"name": "n"}}, ""),
    ("POST", f"{NS}/pods/p/eviction", named("other"), ""),
    ("POST", f"{NS}/pods/p/eviction", {"metadata": {"name": "p", "namespace": "other"}}, ""),
    ("PUT", f"{NS}/pods/p/status", named("other"), ""),
    (
        "POST",
        "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
        {"spec": {"user": "u", "resourceAttributes": {"namespace": "other", "verb": "get", "resource": "pods"}}},
        "",
    ),
)


async def test_a_body_acts_where_its_path_says(target: Target) -> None:
    before = (await target.admin("GET", f"{CORE}/configmaps")).json["items"]
    for method, path, body, form in BODIES:
        sent = msgspec.json.encode(body)
        answer = await target.admin(method, path, sent, **({"content_type": form} if form else {}))
        assert answer.status in {400, 409, 422}, (method, path, body, answer.status, answer.body)
    assert (await target.admin("GET", f"{CORE}/configmaps")).json["items"] == before


async def test_what_only_the_system_sets_cannot_be_sent(target: Target) -> None:
    sent = {
        "name": "sent",
        "uid": "00000000-0000-0000-0000-000000000000",
        "creationTimestamp": "2000-01-01T00:00:00Z",
        "deletionTimestamp": "2000-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 0,
        "generation": 7,
        "selfLink": "/x",
    }
    made = (await target.made(f"{NS}/configmaps", {"metadata": sent}))["metadata"]
    assert made["uid"] != sent["uid"]
    assert made["creationTimestamp"] != sent["creationTimestamp"]
    assert not {"deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"} & set(made)
    wrong = {"metadata": {"name": "sent", "uid": sent["uid"]}}
    assert (await target.admin("PUT", f"{NS}/configmaps/sent", wrong)).status == 409
    assert (await target.admin("DELETE", f"{NS}/configmaps/sent")).status == 200


# Where the api is to connect ----------------------------------------------------------------------------------------

INSIDE = (
    "127.0.0.1:2379",
    "localhost:2379",
    "2130706433",
    "0x7f.1",
    "[::1]:6443",
    "[::ffff:127.0.0.1]",
    "0.0.0.0",  # noqa: S104 - nothing listens there
    "169.254.169.254",
    "[fd00:ec2::254]",
    "[::ffff:a9fe:a9fe]",
)


async def test_no_webhook_leads_inside(target: Target) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    for host in INSIDE:
        hook = {
            "name": "hook.example.com",
            "clientConfig": {"url": f"https://{host}/latest/meta-data"},
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
            ],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        }
        made = await target.admin("POST", path, named("hook", webhooks=[hook]))
        if made.status == 422:
            continue  # refused where it is written: even better
        assert made.status == 201, made.body
        await target.api.core.cache.catch_up()
        answer = await target.admin("POST", f"{NS}/configmaps", named("k"))
        assert (await target.admin("DELETE", f"{path}/hook")).status == 200
        assert answer.status == 500, (host, answer.status)
        assert "may not be reached by outgoing requests" in answer.json["message"]
    await target.api.core.cache.catch_up()


async def test_no_proxy_leads_inside(target: Target) -> None:
    for kind, name in (("nodes", "n"), ("pods", "p")):
        for address in ("127.0.0.1", "169.254.169.254", "::1"):
            status = (
                {"addresses": [{"type": "InternalIP", "address": address}]}
                if kind == "nodes"
                else {"podIP": address, "podIPs": [{"ip": address}]}
            )
            place = f"{CORE}/nodes/{name}" if kind == "nodes" else f"{NS}/pods/{name}"
            assert (
                await target.admin("PATCH", f"{place}/status", {"status": status}, content_type=MERGE)
            ).status == 200
            async with asyncio.timeout(5):
                answer: Answer = await target.admin("GET", f"{place}/proxy/latest/meta-data")
            assert answer.status in {400, 403, 502, 503}, (place, address, answer.status, answer.body)
