"""Roles, bindings and what follows from them, as clients meet it: refusals, granting, watches that lose their right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi import Connection

RBAC = "/apis/rbac.authorization.k8s.io/v1"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS_READER = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


@pytest.fixture
def as_user(app: Any) -> Any:
    def connect(name: str, *groups: str) -> Connection:
        subject = ((("commonName", name),), *((("organizationName", group),) for group in groups))
        return Connection(app, {"subject": subject})

    return connect


@pytest.fixture
def give(http: Connection) -> Any:
    """Return what makes a role of the namespace with some rules, and binds it to a user."""

    async def given(user: str, *rules: Any, name: str = "given") -> None:
        role = {"metadata": {"name": name}, "rules": list(rules)}
        assert (await http("POST", f"{RBAC}/namespaces/default/roles", role)).status == 201
        assert (await http("POST", f"{RBAC}/namespaces/default/rolebindings", binding(user, name))).status == 201

    return given


def binding(user: str, role: str, kind: str = "Role", name: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": name or f"{role}-{user}"},
        "roleRef": {"kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


async def test_refusals_are_worded_as_kubernetes_words_them(as_user, http):
    jane = as_user("jane")
    space, cluster = 'in the namespace "default"', "at the cluster scope"
    here = "/api/v1/namespaces/default"
    cases = (
        ("GET", f"{here}/pods", "pods", "list", "pods", "", space),
        ("GET", "/api/v1/pods", "pods", "list", "pods", "", cluster),
        ("GET", "/api/v1/nodes/n", 'nodes "n"', "get", "nodes", "", cluster),
        ("GET", f"{here}/pods?fieldSelector=metadata.name%3Dp", 'pods "p"', "list", "pods", "", space),
        (
            *("DELETE", "/apis/apps/v1/namespaces/default/deployments", "deployments.apps"),
            *("deletecollection", "deployments", "apps", space),
        ),
        ("GET", f"{here}/pods/p/log", 'pods "p"', "get", "pods/log", "", space),
        ("POST", f"{here}/pods/p/exec?command=x", 'pods "p"', "create", "pods/exec", "", space),
        ("GET", f"{here}/pods/p/exec?command=x", 'pods "p"', "create", "pods/exec", "", space),
    )
    for method, url, what, verb, resource, group, scope in cases:
        answer = await jane(method, url)
        assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
        cannot = f'User "jane" cannot {verb} resource "{resource}" in API group "{group}" {scope}'
        assert answer.json["message"] == f"{what} is forbidden: {cannot}"
    metrics = await jane("GET", "/metrics")
    assert metrics.json["message"] == 'forbidden: User "jane" cannot get path "/metrics"'
    assert (await jane("GET", "/apis")).status == 200
    await http("POST", f"{RBAC}/namespaces/default/rolebindings", binding("jane", "nothing"))
    answer = await jane("GET", "/api/v1/namespaces/default/pods")
    assert answer.json["message"].endswith(': RBAC: role.rbac.authorization.k8s.io "nothing" not found')


async def test_names_subresources_and_collections_are_rights_of_their_own(as_user, give, http):
    await give(
        "jane", rule("get list watch delete", "configmaps", resourceNames=["mine"]), rule("patch", "*/scale", "apps")
    )
    for name in ("mine", "other"):
        await http("POST", CONFIG_MAPS, {"metadata": {"name": name}})
    jane = as_user("jane")
    assert (await jane("GET", f"{CONFIG_MAPS}/mine")).status == 200
    assert (await jane("GET", f"{CONFIG_MAPS}/other")).status == 403
    assert (await jane("GET", CONFIG_MAPS)).status == 403
    listed = await jane("GET", f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Dmine")
    assert [one["metadata"]["name"] for one in listed.json["items"]] == ["mine"]
    assert (await jane("DELETE", CONFIG_MAPS)).status == 403
    assert (await jane("DELETE", f"{CONFIG_MAPS}/mine")).status == 200
    scale = "/apis/apps/v1/namespaces/default/deployments/d"
    patch = {"content_type": "application/merge-patch+json"}
    assert (await jane("PATCH", f"{scale}/scale", {"spec": {"replicas": 1}}, **patch)).status == 404
    assert (await jane("PATCH", scale, {}, **patch)).status == 403


async def test_bindings_in_a_namespace_say_who_may_look_at_it(as_user, http):
    await http("POST", f"{RBAC}/namespaces/default/rolebindings", binding("jane", "view", "ClusterRole"))
    jane, space = as_user("jane"), "/api/v1/namespaces/default"
    assert (await jane("GET", space)).json["metadata"]["name"] == "default"
    assert (await jane("GET", f"{space}/status")).status == 200
    assert (await jane("GET", "/api/v1/namespaces/kube-system")).status == 403
    assert (await jane("GET", "/api/v1/namespaces")).status == 403
    assert (await jane("GET", "/api/v1/namespaces?fieldSelector=metadata.name%3Ddefault")).status == 403
    refused = await jane("DELETE", space)
    assert refused.json["message"] == (
        'namespaces "default" is forbidden: User "jane" cannot delete resource "namespaces" in API group "" '
        'in the namespace "default"'
    )


async def test_nobody_grants_rules_that_he_does_not_hold(as_user, give):
    roles = f"{RBAC}/namespaces/default/roles"
    await give("jane", rule("create update get", "roles", RBAC[6:31]), PODS_READER)
    jane = as_user("jane", "dev")
    assert (await jane("POST", roles, {"metadata": {"name": "fine"}, "rules": [PODS_READER]})).status == 201
    more = [rule("get watch", "pods secrets"), rule("get", "pods/exec", resourceNames=["p"])]
    refused = await jane("POST", roles, {"metadata": {"name": "more"}, "rules": more})
    assert refused.status == 403
    assert refused.json["message"] == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["dev" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["watch"]}\n'
        '{APIGroups:[""], Resources:["pods/exec"], ResourceNames:["p"], Verbs:["get"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "watch"]}'
    )
    current = (await jane("GET", f"{roles}/fine")).json
    current["rules"] = more
    assert (await jane("PUT", f"{roles}/fine", current)).status == 403
    apply = {"content_type": "application/apply-patch+yaml"}
    document = {"kind": "Role", "apiVersion": RBAC[6:], "metadata": {"name": "fine"}, "rules": more}
    assert (await jane("PATCH", f"{roles}/fine?fieldManager=x", document, **apply)).status == 403
    current["rules"] = [PODS_READER]
    current["metadata"]["labels"] = {"a": "b"}
    assert (await jane("PUT", f"{roles}/fine", current)).status == 200


async def test_who_may_escalate_grants_anything(as_user, give):
    await give(
        "jane", rule("create", "roles", RBAC[6:31]), rule("escalate", "roles", RBAC[6:31], resourceNames=["any"])
    )
    jane, roles = as_user("jane"), f"{RBAC}/namespaces/default/roles"
    everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    assert (await jane("POST", roles, {"metadata": {"name": "any"}, "rules": everything})).status == 201
    assert (await jane("POST", roles, {"metadata": {"name": "other"}, "rules": everything})).status == 403


async def test_nobody_binds_a_role_that_gives_more_than_he_holds(as_user, give):
    bindings = f"{RBAC}/namespaces/default/rolebindings"
    group = RBAC[6:31]
    await give(
        "jane",
        rule("create update get delete", "rolebindings", group),
        rule("bind", "clusterroles", group, resourceNames=["view"]),
    )
    jane = as_user("jane")
    assert (await jane("POST", bindings, binding("bob", "view", "ClusterRole"))).status == 201
    refused = await jane("POST", bindings, binding("jane", "edit", "ClusterRole", "up"))
    assert refused.status == 403
    assert refused.json["message"].startswith(
        'rolebindings.rbac.authorization.k8s.io "up" is forbidden: user "jane" (gr'
    )
    absent = await jane("POST", bindings, binding("jane", "nothing"))
    assert (absent.status, absent.json["message"]) == (404, 'roles.rbac.authorization.k8s.io "nothing" not found')
    own = (await jane("GET", f"{bindings}/view-bob")).json
    own["metadata"]["finalizers"] = ["example.com/x"]
    assert (await jane("PUT", f"{bindings}/view-bob", own)).status == 200
    assert (await jane("POST", f"{RBAC}/clusterrolebindings", binding("jane", "view", "ClusterRole"))).status == 403


async def test_only_an_administrator_gathers_the_rules_of_others(as_user, http):
    rules = [rule("create get", "clusterroles", RBAC[6:31])]
    await http("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "maker"}, "rules": rules})
    await http("POST", f"{RBAC}/clusterrolebindings", binding("jane", "maker", "ClusterRole"))
    selector = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    gathering = {"metadata": {"name": "all"}, "rules": [], "aggregationRule": selector}
    refused = await as_user("jane")("POST", f"{RBAC}/clusterroles", gathering)
    assert refused.status == 403
    assert refused.json["message"].endswith("must have cluster-admin privileges to use the aggregationRule")
    assert (await http("POST", f"{RBAC}/clusterroles", gathering)).status == 201


async def test_a_watch_ends_when_its_right_is_lost(as_user, give, http, eventually):
    await give("jane", rule("watch list", "configmaps"))
    jane = as_user("jane")
    answer, serving, _ = jane.begin("GET", f"{CONFIG_MAPS}?watch=1")
    other, others, leave = http.begin("GET", f"{CONFIG_MAPS}?watch=1")
    await eventually(lambda: answer.status == 200 and other.status == 200)
    await http("POST", CONFIG_MAPS, {"metadata": {"name": "seen"}})
    await eventually(lambda: len(answer.events) == 1)
    await http("DELETE", f"{RBAC}/namespaces/default/rolebindings/given-jane")
    async with asyncio.timeout(5):
        await serving
    assert answer.ended
    last = answer.events[-1]
    assert (last["type"], last["object"]["code"]) == ("ERROR", 403)
    assert last["object"]["message"].startswith(
        'configmaps is forbidden: User "jane" cannot watch resource "configmaps"'
    )
    assert not others.done()
    leave.set()
    await others


async def test_default_roles_come_back_and_are_completed(http, api):
    roles = f"{RBAC}/clusterroles"
    viewer = (await http("GET", f"{roles}/system:aggregate-to-view")).json
    assert viewer["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] == "true"
    kept = viewer["rules"][1:]
    viewer["rules"] = [*kept, rule("get", "mine", "example.com")]
    assert (await http("PUT", f"{roles}/system:aggregate-to-view", viewer)).status == 200
    basic = (await http("GET", f"{roles}/system:basic-user")).json
    basic["rules"] = []
    basic["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
    await http("PUT", f"{roles}/system:basic-user", basic)
    bound = (await http("GET", f"{RBAC}/clusterrolebindings/system:discovery")).json
    bound["subjects"] = [{"kind": "User", "name": "jane", "apiGroup": RBAC[6:31]}]
    await http("PUT", f"{RBAC}/clusterrolebindings/system:discovery", bound)
    await http("DELETE", f"{roles}/system:node-proxier")
    await api.core._system.begin()
    after = (await http("GET", f"{roles}/system:aggregate-to-view")).json["rules"]
    assert after[: len(kept) + 1] == viewer["rules"]
    readable = {(one["apiGroups"][0], *one["resources"]) for one in after[len(kept) + 1 :]}
    assert ("", "pods") in readable
    assert not (await http("GET", f"{roles}/system:basic-user")).json.get("rules")
    subjects = (await http("GET", f"{RBAC}/clusterrolebindings/system:discovery")).json["subjects"]
    assert [one["name"] for one in subjects] == ["jane", "system:authenticated"]
    assert (await http("GET", f"{roles}/system:node-proxier")).status == 200


async def test_impersonation_takes_a_right_for_each_part(as_user, http):
    rules = [
        rule("impersonate", "users", resourceNames=["bob"]),
        rule("impersonate", "groups", resourceNames=["dev"]),
        rule("impersonate", "userextras/scope", "authentication.k8s.io", resourceNames=["read"]),
    ]
    await http("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "actor"}, "rules": rules})
    await http("POST", f"{RBAC}/clusterrolebindings", binding("jane", "actor", "ClusterRole"))
    jane, who = as_user("jane"), "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    asked = {"impersonate_user": "bob", "impersonate_group": "dev", "impersonate_extra_scope": "read"}
    assert (await jane("POST", who, {}, **asked)).json["status"]["userInfo"]["username"] == "bob"
    for change, what in (
        ({"impersonate_user": "root"}, 'users "root"'),
        ({"impersonate_group": "system:masters"}, 'groups "system:masters"'),
        ({"impersonate_extra_scope": "write"}, 'userextras.authentication.k8s.io "write"'),
        ({"impersonate_uid": "1"}, 'uids.authentication.k8s.io "1"'),
    ):
        refused = await jane("POST", who, {}, **{**asked, **change})
        assert refused.status == 403
        assert refused.json["message"].startswith(f'{what} is forbidden: User "jane" cannot impersonate resource')
