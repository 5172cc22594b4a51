"""Impersonation: `kubectl --as` and its headers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from asgi import Connection

from orch.errors import ForbiddenError
from orch_api.auth.attributes import Attributes, Verdict
from orch_api.auth.identity import Caller
from orch_api.auth.impersonation import Impersonation

PODS = "/api/v1/namespaces/default/pods"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
JANE = {"impersonate_user": "jane"}


async def who(http: Any, **headers: str) -> dict[str, Any]:
    answer = await http("POST", WHO, {}, **headers)
    assert answer.status == 201, answer.body
    return answer.json["status"]["userInfo"]


async def test_the_rights_are_those_of_whom_one_asks_as(http: Any) -> None:
    assert (await http("GET", PODS)).status == 200
    refused = await http("GET", PODS, **JANE)
    assert refused.status == 403
    assert 'User "jane" cannot list resource "pods"' in refused.json["message"]


async def test_the_identity_is_put_together_as_kubernetes_does(http: Any) -> None:
    assert await who(http, **JANE) == {"username": "jane", "groups": ["system:authenticated"]}
    asked = {**JANE, "impersonate_group": "dev", "impersonate_uid": "7", "impersonate_extra_example.com%2fscope": "x"}
    assert await who(http, **asked) == {
        "username": "jane",
        "uid": "7",
        "groups": ["dev", "system:authenticated"],
        "extra": {"example.com/scope": ["x"]},
    }
    account = await who(http, impersonate_user="system:serviceaccount:default:robot")
    assert account["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    masters = {**JANE, "impersonate_group": "system:masters"}
    assert (await http("GET", PODS, **masters)).status == 200


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        (
            JANE,
            'pods is forbidden: User "bob" cannot impersonate-on:user-info:list resource "pods" in API group ',
        ),
        (
            {"impersonate_user": "system:serviceaccount:a:b"},
            'pods is forbidden: User "bob" cannot impersonate-on:serviceaccount:list resource "pods" in API group ',
        ),
        (
            {"impersonate_user": "system:node:n"},
            'pods is forbidden: User "bob" cannot impersonate-on:arbitrary-node:list resource "pods" in API group ',
        ),
        (
            {"impersonate_user": "system:node:n", "impersonate_group": "system:nodes"},
            'users "system:node:n" is forbidden: User "bob" cannot impersonate resource "users" in API group ',
        ),
    ],
)
async def test_who_may_not_is_refused(app: Any, headers: dict[str, str], problem: str) -> None:
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    refused = await bob("GET", PODS, **headers)
    assert refused.status == 403
    assert refused.json["message"].startswith(problem)


async def test_nobody_is_impersonated_without_a_user(http: Any) -> None:
    refused = await http("GET", PODS, impersonate_group="dev")
    assert refused.status == 400
    assert refused.json["message"] == (
        'requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)} '
        "without impersonating a user name"
    )


async def test_groups_that_are_added(http: Any, permit: Any) -> None:
    review = ("create", "authentication.k8s.io", "selfsubjectreviews")
    await permit("jane", review)
    await permit("system:anonymous", review)
    nobody = {**JANE, "impersonate_group": "system:unauthenticated"}
    assert (await who(http, **nobody))["groups"] == ["system:unauthenticated"]
    assert (await who(http, impersonate_user="system:anonymous"))["groups"] == ["system:unauthenticated"]


async def test_names_that_are_no_text_are_refused(app: Any, http: Any) -> None:
    scope = http.scope("GET", PODS, {})
    scope["headers"] = [(b"impersonate-user", b"j\xffne")]
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    await app(scope, receive, send)
    assert statuses[0] == 400


@pytest.fixture
def permit(http: Any) -> Any:
    """Permit a user something by a ClusterRole."""

    async def create(user: str, *rules: tuple[str, str, str]) -> None:
        group = "rbac.authorization.k8s.io"
        made = [{"verbs": [verb], "apiGroups": [of], "resources": [resource]} for verb, of, resource in rules]
        role = {"metadata": {"name": user}, "rules": made}
        ref = {"apiGroup": group, "kind": "ClusterRole", "name": user}
        subject = {"apiGroup": group, "kind": "User", "name": user}
        binding = {"metadata": {"name": user}, "roleRef": ref, "subjects": [subject]}
        for plural, document in (("clusterroles", role), ("clusterrolebindings", binding)):
            answer = await http("POST", f"/apis/{group}/v1/{plural}", document)
            assert answer.status == 201, answer.body

    return create


IDENTITIES = "authentication.k8s.io"


async def test_somebody_may_be_permitted_to_impersonate_for_one_thing_alone(app: Any, permit: Any) -> None:
    await permit("jane", ("list", "", "pods"), ("list", "", "services"))
    await permit(
        "bob",
        ("impersonate:user-info", IDENTITIES, "users"),
        ("impersonate:user-info", IDENTITIES, "groups"),
        ("impersonate-on:user-info:list", "", "pods"),
    )
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    assert (await bob("GET", PODS, **JANE)).status == 200
    assert (await bob("GET", PODS, **JANE, impersonate_group="dev")).status == 200
    assert (await bob("GET", "/api/v1/namespaces/default/services", **JANE)).status == 403
    masters = await bob("GET", PODS, **JANE, impersonate_group="system:masters")
    assert masters.status == 403
    assert masters.json["message"].endswith("impersonating the system:masters group is not allowed")
    assert (await bob("GET", PODS, **JANE, impersonate_uid="7")).status == 403
    assert (await bob("GET", PODS, impersonate_user="system:node:n")).status == 403


async def test_a_node_that_is_impersonated_in_a_narrow_mode_has_its_groups(app: Any, permit: Any) -> None:
    await permit(
        "bob",
        ("impersonate:arbitrary-node", IDENTITIES, "nodes"),
        ("impersonate-on:arbitrary-node:create", IDENTITIES, "selfsubjectreviews"),
    )
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    assert await who(bob, impersonate_user="system:node:n") == {
        "username": "system:node:n",
        "groups": ["system:nodes", "system:authenticated"],
    }


async def test_an_agent_of_a_node_may_be_that_node_alone() -> None:
    keys = "authentication.kubernetes.io/node-name"
    agent = Caller("system:serviceaccount:kube-system:agent", (), extra=((keys, ("n",)),))
    seen: list[tuple[Caller, Attributes]] = []

    class Judge:
        async def judge(self, caller: Caller, wanted: Attributes) -> Verdict:
            seen.append((caller, wanted))
            return Verdict("allow" if "associated-node" in wanted.verb else "none")

    impersonation = Impersonation(Judge())  # pyright: ignore[reportArgumentType]

    async def ask(node: str) -> Caller:
        headers = [(b"impersonate-user", f"system:node:{node}".encode())]
        request = Attributes(verb="list", resource="pods")
        return await impersonation.assumed(agent, headers, lambda: request)

    assert (await ask("n")).groups == ("system:nodes", "system:authenticated")
    assert [(wanted.verb, wanted.resource, wanted.name) for _, wanted in seen] == [
        ("impersonate-on:associated-node:list", "pods", ""),
        ("impersonate:associated-node", "nodes", "*"),
    ]
    assert {caller.extra for caller, _ in seen} == {(("authentication.kubernetes.io/associated-node-keys", (keys,)),)}
    with pytest.raises(ForbiddenError):
        await ask("other")


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"impersonate_group": ""}, "impersonating the empty string group is not allowed"),
        ({"impersonate_extra_scope": "x"}, r'extra\.key: Invalid value: "scope": must be a domain-prefixed path'),
        ({"impersonate_extra_example.com%2fa": ""}, "impersonating the empty string value in extra is not allowed"),
        ({"impersonate_extra_EXAMPLE.com%2f%41": "x"}, 'a non-lowercase key in extra is not allowed: "example.com/A"'),
    ],
)
async def test_what_no_constrained_mode_permits(app: Any, permit: Any, headers: dict[str, str], problem: str) -> None:
    parts = ("users", "groups", "userextras/*")
    rules = [("impersonate:user-info", IDENTITIES, part) for part in parts]
    await permit("bob", *rules, ("impersonate-on:user-info:list", "", "pods"))
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    refused = await bob("GET", PODS, **JANE, **headers)
    assert refused.status == 403
    assert re.search(problem, refused.json["message"]), refused.json["message"]


async def test_names_that_are_no_node_s_and_no_account_s_are_users(app: Any, permit: Any) -> None:
    await permit(
        "bob",
        ("impersonate:user-info", IDENTITIES, "users"),
        ("impersonate-on:user-info:create", IDENTITIES, "selfsubjectreviews"),
    )
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    for name in ("system:node:", "system:node:A_b", "system:serviceaccount:x", "system:serviceaccount:A:b"):
        assert (await who(bob, impersonate_user=name))["groups"] == ["system:authenticated"]


async def test_many_groups_are_asked_about_at_once() -> None:
    seen: list[tuple[str, str]] = []

    class Judge:
        async def judge(self, caller: Caller, wanted: Attributes) -> Verdict:
            _ = caller
            seen.append((wanted.resource, wanted.name))
            return Verdict("allow" if wanted.name != "*" or wanted.resource == "groups" else "none")

    headers = [(b"impersonate-user", b"jane")]
    headers += [(b"impersonate-group", name) for name in (b"a", b"b", b"c", b"d")]
    headers += [(b"impersonate-extra-example.com%2fk", value) for value in (b"1", b"2", b"3", b"4")]
    request = Attributes(verb="list", resource="pods")
    jane = await Impersonation(Judge()).assumed(Caller("bob", ()), headers, lambda: request)  # pyright: ignore[reportArgumentType]
    assert jane.constraint == "impersonate:user-info"
    extra = [("userextras", name) for name in ("*", "1", "2", "3", "4")]
    assert seen == [("pods", ""), ("users", "jane"), ("groups", "*"), *extra]


async def test_attempts_and_questions_are_counted(app: Any, http: Any, figures: Any) -> None:
    async def counted(what: str) -> dict[tuple[str, str], float]:
        found = await figures(f"apiserver_impersonation_{what}")
        return {(dict(labels)["mode"], dict(labels)["decision"]): value for labels, value in found.items()}

    before = {what: await counted(what) for what in ("attempts_total", "authorization_attempts_total")}
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    assert (await bob("GET", PODS, **JANE)).status == 403
    await who(http, **JANE)
    await who(http, **JANE, impersonate_group="system:masters")
    after = {what: await counted(what) for what in before}
    more = {
        what: {
            key: value - before[what].get(key, 0)
            for key, value in after[what].items()
            if value != before[what].get(key)
        }
        for what in before
    }
    assert more == {
        "attempts_total": {("", "denied"): 1, ("user-info", "allowed"): 1, ("legacy", "allowed"): 1},
        "authorization_attempts_total": {
            ("user-info", "denied"): 1,
            ("legacy", "denied"): 1,
            ("user-info", "allowed"): 4,
            ("legacy", "allowed"): 2,
        },
    }
    assert (await counted("attempts_duration_seconds_count"))["", "denied"] >= 1
    assert (await counted("authorization_attempts_duration_seconds_count"))["legacy", "denied"] >= 1
