import json

import pytest

from orch.errors import BadRequestError, ForbiddenError, InvalidError
from orch_api.auth.identity import Caller
from orch_api.pipeline import WriteOptions

JO = Caller("jo", ("staff", "system:authenticated"), "u1", (("example.com/team", ("a",)),))
SCHEDULER = Caller("system:kube-scheduler", ("system:authenticated",))
ROOT = Caller("root", ("system:masters", "system:authenticated"))
NODE = Caller("system:node:n", ("system:nodes", "system:authenticated"))
ANYBODY = Caller("system:anonymous", ("system:unauthenticated",))


@pytest.fixture
def ask(driver):
    async def post(kind, caller, spec=None, namespace=""):
        group = "authentication" if kind in {"TokenReview", "SelfSubjectReview"} else "authorization"
        resource = driver.core.registry.of_kind(f"{group}.k8s.io", "v1", kind)
        body = {"kind": kind, "apiVersion": f"{group}.k8s.io/v1"}
        if spec is not None:
            body["spec"] = spec
        outcome = await driver.core.pipeline.create(
            caller, resource, namespace, json.dumps(body).encode(), WriteOptions()
        )
        assert outcome.created
        return json.loads(outcome.json)

    return post


def wanted(verb="get", resource="pods", **attributes):
    return {"resourceAttributes": {"verb": verb, "resource": resource, **attributes}}


async def test_who_am_i(ask):
    answer = await ask("SelfSubjectReview", JO)
    assert answer["status"]["userInfo"] == {
        "username": "jo",
        "uid": "u1",
        "groups": ["staff", "system:authenticated"],
        "extra": {"example.com/team": ["a"]},
    }
    assert answer["metadata"]["creationTimestamp"]


@pytest.mark.parametrize(
    ("caller", "spec", "allowed"),
    [
        (ROOT, wanted("*", "*"), True),
        (ROOT, {"nonResourceAttributes": {"verb": "post", "path": "/anything"}}, True),
        (SCHEDULER, wanted("list"), True),
        (SCHEDULER, wanted("create", subresource="binding"), True),
        (SCHEDULER, wanted("create"), False),
        (SCHEDULER, wanted("get", "replicasets", group="apps"), True),
        (SCHEDULER, wanted("get", "secrets"), False),
        (JO, wanted(), False),
        (JO, wanted("create", "selfsubjectaccessreviews", group="authorization.k8s.io"), True),
        (JO, {"nonResourceAttributes": {"verb": "get", "path": "/api"}}, True),
        (JO, {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}, False),
        (NODE, wanted("get", "nodes", name="n"), True),
        (NODE, wanted("get", "nodes", name="m"), False),
    ],
)
async def test_may_i(ask, caller, spec, allowed):
    answer = await ask("SelfSubjectAccessReview", caller, spec)
    assert answer["status"]["allowed"] is allowed
    assert answer["spec"] == spec


async def test_why_i_may(ask):
    basic = await ask(
        "SelfSubjectAccessReview", JO, wanted("create", "selfsubjectreviews", group="authentication.k8s.io")
    )
    by = 'ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user" to Group "system:authenticated"'
    reason = f"RBAC: allowed by {by}"
    assert basic["status"] == {"allowed": True, "reason": reason}
    of_other = await ask("SelfSubjectAccessReview", NODE, wanted("get", "nodes", name="m"))
    assert of_other["status"] == {"allowed": False, "reason": "node 'n' cannot read 'm', only its own Node object"}
    assert (await ask("SelfSubjectAccessReview", JO, wanted()))["status"] == {"allowed": False}


async def test_selectors_count_where_somebody_looks_at_them(ask):
    def pods(**selector):
        return wanted("list", namespace="default", **selector)

    own = {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]}
    assert (await ask("SelfSubjectAccessReview", NODE, pods(fieldSelector=own)))["status"] == {"allowed": True}
    raw = {"rawSelector": "spec.nodeName=n,status.phase=Running"}
    assert (await ask("SelfSubjectAccessReview", NODE, pods(fieldSelector=raw)))["status"] == {"allowed": True}
    refusal = {"allowed": False, "reason": "can only list/watch pods with spec.nodeName field selector"}
    for other in ({"rawSelector": "spec.nodeName=m"}, {"rawSelector": "spec.nodeName!=n"}):
        assert (await ask("SelfSubjectAccessReview", NODE, pods(fieldSelector=other)))["status"] == refusal
    odd = {"requirements": [{"key": "spec.nodeName", "operator": "Near", "values": ["n"]}]}
    answer = await ask(
        "SelfSubjectAccessReview", NODE, pods(fieldSelector=odd, labelSelector={"rawSelector": "a in (b"})
    )
    ignored = "spec.resourceAttributes.{} ignored due to parse error"
    problems = "; ".join(ignored.format(name) for name in ("fieldSelector", "labelSelector"))
    assert answer["status"] == {**refusal, "evaluationError": problems}


async def test_may_they(ask):
    about = {"user": "system:kube-scheduler", **wanted("list")}
    assert (await ask("SubjectAccessReview", ROOT, about))["status"]["allowed"] is True
    assert (await ask("SubjectAccessReview", ROOT, {"user": "jo", **wanted()}))["status"]["allowed"] is False
    of_group = {"groups": ["system:masters"], **wanted()}
    assert (await ask("SubjectAccessReview", ROOT, of_group))["status"]["allowed"] is True


async def test_may_they_there_even_where_there_is_no_namespace(ask):
    about = {"groups": ["system:masters"], **wanted(namespace="nowhere")}
    answer = await ask("LocalSubjectAccessReview", ROOT, about, "nowhere")
    assert answer["status"]["allowed"] is True
    assert answer["metadata"] == {"namespace": "nowhere"}
    with pytest.raises(InvalidError, match=r"must match metadata\.namespace"):
        await ask("LocalSubjectAccessReview", ROOT, about, "elsewhere")


async def test_what_may_i(ask):
    everything = (await ask("SelfSubjectRulesReview", ROOT, {"namespace": "default"}))["status"]
    assert everything == {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
    some = (await ask("SelfSubjectRulesReview", SCHEDULER, {"namespace": "default"}))["status"]
    assert {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/binding", "bindings"]} in some["resourceRules"]
    assert {
        "verbs": ["get", "update", "list", "watch"],
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["kube-scheduler"],
    } in some["resourceRules"]
    assert {"verbs": ["get"], "nonResourceURLs": ["/livez", "/readyz", "/healthz", "/version", "/version/"]} in some[
        "nonResourceRules"
    ]
    assert not some["incomplete"]
    node = (await ask("SelfSubjectRulesReview", NODE, {"namespace": "default"}))["status"]
    assert node["incomplete"]
    assert node["evaluationError"] == "node authorizer does not support user rule resolution"
    with pytest.raises(BadRequestError, match="no namespace on request"):
        await ask("SelfSubjectRulesReview", ROOT, {})


async def test_who_may_ask(ask):
    for kind in ("SubjectAccessReview", "TokenReview"):
        with pytest.raises(ForbiddenError):
            await ask(kind, JO, {"user": "jo", **wanted()} if kind == "SubjectAccessReview" else {"token": "t"})
    with pytest.raises(ForbiddenError):
        await ask("SelfSubjectAccessReview", ANYBODY, wanted())


async def test_a_token_that_nobody_knows(ask):
    answer = await ask("TokenReview", ROOT, {"token": "x"})
    assert answer["status"] == {"user": {}, "error": "invalid bearer token"}
    with pytest.raises(BadRequestError, match="token is required for TokenReview in authentication"):
        await ask("TokenReview", ROOT, {})


async def test_a_question_leaves_nothing_behind(ask, driver):
    before = await driver.core.store.revision()
    await ask("SelfSubjectAccessReview", ROOT, wanted())
    assert await driver.core.store.revision() == before
