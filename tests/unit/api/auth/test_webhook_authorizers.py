"""Authorizers that a file names: their order, a webhook over HTTPS on loopback, its conditions, and its failures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import make
from https_server import https_server
from role_feed import Feed, rule

from orch.clock import ManualClock
from orch.errors import ConfigError, ForbiddenError, InternalError
from orch_api.auth.attributes import Attributes, Requirement
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.auth.webhook.configuration import read_chain

JANE = Caller("jane", ("dev",), "7", (("scope", ("read",)),))
GET = Attributes(verb="get", version="v1", resource="pods", namespace="a", name="p")
WEBHOOK = {
    "timeout": "3s",
    "authorizedTTL": "5m",
    "unauthorizedTTL": "10s",
    "subjectAccessReviewVersion": "v1",
    "failurePolicy": "Deny",
}


class Hook:
    """What the webhook says, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.status = 200
        self.says: Any = {"allowed": True, "reason": "friends"}

    async def answer(self, asked: Any) -> tuple[int, Any]:
        self.asked.append(asked.json)
        return self.status, {"kind": "SubjectAccessReview", "status": self.says}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make(tmp_path_factory.mktemp("webhook"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
async def port(hook: Hook, files: Any) -> Any:
    async with https_server(files, hook.answer) as port:
        yield port


@pytest.fixture
def write(tmp_path: Path, port: int, files: Any) -> Any:
    """Return what writes the file that names the webhook, changed as asked, and others."""

    def written(*authorizers: Any, conditions: Any = (), **changed: Any) -> Path:
        authority = base64.b64encode(Path(files.ca).read_bytes()).decode()
        kubeconfig = tmp_path / "hook.kubeconfig"
        cluster = {"server": f"https://127.0.0.1:{port}/authorize", "certificate-authority-data": authority}
        content = {
            "clusters": [{"name": "hook", "cluster": cluster}],
            "contexts": [{"name": "c", "context": {"cluster": "hook"}}],
            "current-context": "c",
        }
        kubeconfig.write_text(yaml.safe_dump(content))
        webhook = {**WEBHOOK, "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(kubeconfig)}}
        if conditions:
            webhook["matchConditionSubjectAccessReviewVersion"] = "v1"
            webhook["matchConditions"] = [{"expression": one} for one in conditions]
        listed = [{"type": "Webhook", "name": "hook", "webhook": {**webhook, **changed}}, *authorizers]
        file = tmp_path / "authorization.yaml"
        head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
        file.write_text(yaml.safe_dump({**head, "authorizers": listed}))
        return file

    return written


@pytest.fixture
def chain(write: Any, clock: ManualClock) -> Any:
    def made(*authorizers: Any, **changed: Any) -> Authorizer:
        feed = Feed()
        authorizer = Authorizer(feed, read_chain(write(*authorizers, **changed), clock))  # pyright: ignore[reportArgumentType]
        feed.role("reader", rule("get", "pods"))
        feed.bind("reader", "reader", ("User", "jane"))
        return authorizer

    return made


RBAC = {"type": "RBAC", "name": "rbac"}


async def test_the_webhook_is_asked_as_kubernetes_asks_and_its_answer_is_kept(chain, hook, clock):
    authorizer = chain()
    verdict = await authorizer.judge(JANE, GET)
    assert (verdict.decision, verdict.reason) == ("allow", "friends")
    (asked,) = hook.asked
    assert (asked["kind"], asked["apiVersion"]) == ("SubjectAccessReview", "authorization.k8s.io/v1")
    assert asked["spec"] == {
        "user": "jane",
        "groups": ["dev"],
        "uid": "7",
        "extra": {"scope": ["read"]},
        "resourceAttributes": {"namespace": "a", "verb": "get", "version": "v1", "resource": "pods", "name": "p"},
    }
    await authorizer.judge(JANE, GET)
    assert len(hook.asked) == 1
    await clock.advance(301)
    hook.says = {"allowed": False}
    assert (await authorizer.judge(JANE, GET)).decision == "none"
    assert (await authorizer.judge(JANE, GET)).decision == "none"
    assert len(hook.asked) == 2
    await clock.advance(11)
    await authorizer.judge(JANE, GET)
    assert len(hook.asked) == 3


async def test_selectors_paths_and_the_older_version_are_told(chain, hook):
    authorizer = chain(subjectAccessReviewVersion="v1beta1")
    selected = Attributes(verb="list", resource="pods", fields=(Requirement("spec.nodeName", "In", ("n",)),))
    await authorizer.judge(JANE, selected)
    await authorizer.judge(JANE, Attributes(verb="get", path="/metrics"))
    first, second = (one["spec"] for one in hook.asked)
    assert first["group"] == ["dev"]
    assert first["resourceAttributes"]["fieldSelector"] == {
        "requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]
    }
    assert second["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}


async def test_the_first_opinion_counts(chain, hook):
    authorizer = chain(RBAC)
    hook.says = {"allowed": False, "denied": True, "reason": "never"}
    with pytest.raises(ForbiddenError, match=r'in the namespace "a": never$'):
        await authorizer.require(JANE, GET)
    hook.says = {"allowed": False}
    other = Attributes(verb="get", resource="pods", namespace="b")
    assert (await authorizer.judge(JANE, other)).reason.startswith("RBAC: allowed by")


async def test_masters_and_health_are_nobody_s_question(chain, hook):
    authorizer = chain()
    assert (await authorizer.judge(Caller("root", ("system:masters",)), GET)).allowed
    assert (await authorizer.judge(Caller("x", ()), Attributes(verb="get", path="/livez"))).allowed
    assert hook.asked == []


async def test_conditions_spare_the_webhook(chain, hook):
    conditions = ["has(request.resourceAttributes)", "request.resourceAttributes.namespace != 'kube-system'"]
    authorizer = chain(RBAC, conditions=conditions)
    hook.says = {"allowed": False, "denied": True}
    system = Attributes(verb="get", resource="pods", namespace="kube-system")
    assert (await authorizer.judge(JANE, system)).allowed
    assert not (await authorizer.judge(JANE, Attributes(verb="get", path="/x"))).allowed
    assert hook.asked == []
    assert (await authorizer.judge(JANE, GET)).decision == "deny"


@pytest.mark.parametrize(("policy", "allowed"), [("Deny", False), ("NoOpinion", True)])
async def test_a_condition_that_fails_is_as_the_policy_says(chain, hook, policy, allowed):
    authorizer = chain(RBAC, conditions=["request.resourceAttributes.nothing == 'x'"], failurePolicy=policy)
    assert (await authorizer.judge(JANE, GET)).allowed is allowed
    assert hook.asked == []


@pytest.mark.parametrize(("policy", "allowed"), [("Deny", False), ("NoOpinion", True)])
@pytest.mark.parametrize("says", [{"allowed": True, "denied": True}, {"allowed": "perhaps"}, 7])
async def test_an_answer_that_makes_no_sense_is_as_the_policy_says(chain, hook, says, policy, allowed):
    hook.says = says
    authorizer = chain(RBAC, failurePolicy=policy)
    assert (await authorizer.judge(JANE, GET)).allowed is allowed


async def test_who_is_refused_for_a_webhook_s_sake_is_told_that_it_failed(chain, hook):
    hook.status = 403
    with pytest.raises(InternalError, match=r"webhook authorizer hook at .* failed: the server responded with .* 403"):
        await chain(RBAC).require(JANE, GET)


@pytest.mark.parametrize(
    ("changed", "where", "problem"),
    [
        ({"timeout": "31s"}, "authorizers[0].webhook.timeout", "must be above zero and 30s at most"),
        ({"authorizedTTL": "0s"}, "authorizers[0].webhook.authorizedTTL", "must be above zero"),
        ({"failurePolicy": "Allow"}, "failurePolicy", "Allow"),
        ({"conditions": ["1 +"]}, "matchConditions[0].expression", "compilation failed"),
        ({"conditions": ["'x'"]}, "matchConditions[0].expression", "must evaluate to bool"),
        ({"conditions": ["true", "true"]}, "matchConditions[1].expression", "there is another like it"),
        ({"connectionInfo": {"type": "InClusterConfig"}}, "connectionInfo.type", "runs in no pod"),
        (
            {"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "relative"}},
            "connectionInfo.kubeConfigFile",
            "must be an absolute path",
        ),
    ],
)
async def test_a_file_that_is_wrong_is_refused_with_the_place(write, clock, changed, where, problem):
    with pytest.raises(ConfigError) as refused:
        read_chain(write(**changed), clock)
    assert where in str(refused.value)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"type": "RBAC", "name": "hook"}, "another with the name"),
        ({"type": "RBAC", "name": "Not A Name"}, "lowercase"),
        ({"type": "Webhook", "name": "more"}, "required when type=Webhook"),
        ({"type": "ABAC", "name": "more"}, "ABAC"),
    ],
)
async def test_a_chain_that_is_wrong_is_refused(write, clock, other, problem):
    with pytest.raises(ConfigError, match=problem):
        read_chain(write(other), clock)


async def test_always_is_only_where_it_is_asked_for(chain, hook):
    hook.says = {"allowed": False}
    assert (await chain({"type": "AlwaysAllow", "name": "open"}).judge(Caller("x", ()), GET)).allowed
    assert (await chain({"type": "AlwaysDeny", "name": "shut"}, RBAC).judge(JANE, GET)).decision == "deny"
