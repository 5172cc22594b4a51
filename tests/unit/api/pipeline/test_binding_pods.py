import json

import pytest

from orch.errors import ApiError, BadRequestError, ConflictError, ForbiddenError, InvalidError
from orch.store.keys import ObjectKey
from orch.store.protocol import Compare
from orch_api.auth.identity import APISERVER, Caller
from orch_api.pipeline import WriteOptions
from orch_pb.v1.object_pb2 import TraceContext
from orch_pb.v1.rpc_pb2 import Binding

SCHEDULER = Caller("system:kube-scheduler", ("system:authenticated",))


def binding(name, node="n", **more):
    return Binding(namespace="default", name=name, node=node, **more)


async def bind(driver, *bindings, caller=SCHEDULER, fence=None):
    replies = await driver.core.pipeline.bind(caller, bindings, fence)
    return [ApiError.decode(reply.status) if reply.status else reply.revision for reply in replies]


async def test_a_batch_is_bound_in_one_revision(driver, make_pod):
    for name in "abc":
        await driver.create("pods", make_pod(name))
    await driver.core.cache.catch_up()
    before = await driver.core.store.revision()
    versions = await bind(driver, *map(binding, "abc"))
    assert await driver.core.store.revision() == before + 1
    assert versions == sorted(set(versions))
    pod = await driver.get("pods", "b")
    assert pod["spec"]["nodeName"] == "n"
    assert pod["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
    assert pod["metadata"]["resourceVersion"] == str(versions[1])


async def test_each_pod_succeeds_or_fails_alone(driver, make_pod):
    made = {name: await driver.create("pods", make_pod(name)) for name in "abcd"}
    await bind(driver, binding("a", "first"))
    await driver.patch("pods", "d", {"metadata": {"finalizers": ["example.com/hold"]}})
    await driver.delete("pods", "d")
    absent, taken, other, going, good = await bind(
        driver,
        binding("nobody"),
        binding("a", "second"),
        binding("b", uid="other"),
        binding("d"),
        binding("c", uid=made["c"]["metadata"]["uid"]),
    )
    assert absent.message == 'pods "nobody" not found'
    assert taken.message.endswith('"a": pod a is already assigned to node "first"')
    assert "Precondition failed: UID in precondition: other" in other.message
    assert going.message.endswith("pod d is being deleted, cannot be assigned to a host")
    assert isinstance(good, int)
    assert (await driver.get("pods", "a"))["spec"]["nodeName"] == "first"


async def test_a_pod_twice_in_a_batch_is_bound_once(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    first, second = await bind(driver, binding("a", "one"), binding("a", "two"))
    assert isinstance(first, int)
    assert isinstance(second, ConflictError)
    assert (await driver.get("pods", "a"))["spec"]["nodeName"] == "one"


async def test_a_pod_that_changed_since_the_decision_is_not_bound(driver, make_pod):
    made = await driver.create("pods", make_pod("a"))
    await driver.patch("pods", "a", {"metadata": {"labels": {"x": "y"}}})
    (lost,) = await bind(driver, binding("a", revision=int(made["metadata"]["resourceVersion"])))
    assert isinstance(lost, ConflictError)


async def test_a_deposed_scheduler_binds_nothing(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    (lost,) = await bind(driver, binding("a"), fence=Compare(b"/orch/leaders/scheduler", 3))
    assert isinstance(lost, ConflictError)
    assert "nodeName" not in (await driver.get("pods", "a"))["spec"]


async def test_only_the_scheduler_binds(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    (refused,) = await bind(driver, binding("a"), caller=Caller("system:node:n", ("system:nodes",)))
    assert isinstance(refused, ForbiddenError)
    assert 'pods "a" is forbidden: User "system:node:n" cannot create resource "pods/binding"' in refused.message


async def test_the_right_to_bind_may_be_for_pods_of_some_names(driver, make_pod):
    group = "rbac.authorization.k8s.io"
    rules = [{"verbs": ["create"], "apiGroups": [""], "resources": ["pods/binding"], "resourceNames": ["a"]}]
    await driver.create("roles", {"metadata": {"name": "binder"}, "rules": rules})
    given = {"metadata": {"name": "binder"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "binder"}}
    given["subjects"] = [{"apiGroup": group, "kind": "User", "name": "jane"}]
    await driver.create("rolebindings", given)
    for name in "ab":
        await driver.create("pods", make_pod(name))
    await driver.core.cache.catch_up()
    other, mine = await bind(driver, binding("b"), binding("a"), caller=Caller("jane", ()))
    assert isinstance(other, ForbiddenError)
    assert isinstance(mine, int)


async def test_bindings_that_name_their_pod_themselves_are_a_right_of_their_own(driver, make_pod):
    group = "rbac.authorization.k8s.io"
    await driver.create("pods", make_pod("a"))
    for user, resource in (("jane", "bindings"), ("bob", "pods/binding")):
        rules = [{"verbs": ["create"], "apiGroups": [""], "resources": [resource]}]
        await driver.create("roles", {"metadata": {"name": user}, "rules": rules})
        given = {"metadata": {"name": user}, "roleRef": {"apiGroup": group, "kind": "Role", "name": user}}
        await driver.create("rolebindings", {**given, "subjects": [{"kind": "User", "name": user}]})
    await driver.core.cache.catch_up()

    async def post(user, name):
        body = json.dumps({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}).encode()
        kind, subresource = ("pods", "binding") if name else ("bindings", "")
        resource = driver.core.registry.find("", "v1", kind)
        where = (Caller(user, ()), resource, "default", body, WriteOptions(dry_run=True))
        return await driver.core.pipeline.create(*where, subresource=subresource, name=name)

    assert (await post("jane", "")).created
    assert (await post("bob", "a")).created
    with pytest.raises(ForbiddenError, match='cannot create resource "pods/binding"'):
        await post("jane", "a")
    with pytest.raises(ForbiddenError, match='cannot create resource "bindings"'):
        await post("bob", "")


async def test_the_trace_of_the_binding_is_stored_with_the_pod(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    await bind(driver, binding("a", trace=TraceContext(traceparent="00-1-2-01")))
    await driver.core.cache.catch_up()
    item = driver.core.cache.get(ObjectKey("", "pods", "default", "a"))
    assert TraceContext.FromString(item.trace).traceparent == "00-1-2-01"


async def test_a_binding_document_binds_one_pod(driver, make_pod):
    await driver.create("pods", make_pod("a"))

    async def post(document):
        body = json.dumps(document).encode()
        where = (APISERVER, driver.resource("pods"), "default", body, WriteOptions())
        return await driver.core.pipeline.create(*where, subresource="binding", name="a")

    with pytest.raises(InvalidError, match=r"target\.name: Required value"):
        await post({"target": {"kind": "Node"}})
    with pytest.raises(BadRequestError, match="name in URL does not match name in Binding object"):
        await post({"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n"}})
    outcome = await post({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}})
    assert outcome.created
    assert json.loads(outcome.json)["status"] == "Success"
    with pytest.raises(ConflictError):
        await post({"target": {"kind": "Node", "name": "n"}})
