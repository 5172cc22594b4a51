import pytest

from orch.bus import rpc
from orch.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServiceUnavailableError,
    UnavailableError,
)
from orch.objects.scheme import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SECRETS
from orch.runtime.client import BusClient
from orch_pb.v1 import rpc_pb2

CONTROLLERS = "system:kube-controller-manager"


class Lost:
    def fence(self):
        return rpc_pb2.Fence(key="/orch/leaders/none", create_revision=3)


@pytest.fixture
def client(driver) -> BusClient:
    return driver.api.client(CONTROLLERS)


async def test_a_service_reads_what_it_wrote(client, make_pod):
    made = await client.create(PODS, "default", make_pod("a"))
    assert await client.get(PODS, "default", "a") == made
    patched = await client.patch(PODS, "default", "a", {"metadata": {"labels": {"x": "y"}}})
    assert patched.metadata.labels == {"x": "y"}
    await client.delete(PODS, "default", "a", uid=made.metadata.uid)
    with pytest.raises(NotFoundError):
        await client.get(PODS, "default", "a")


async def test_an_update_of_an_old_version_conflicts(client):
    made = await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}})
    await client.update(CONFIG_MAPS, "default", "c", {"metadata": {"name": "c"}, "data": {"a": "1"}})
    old = {"metadata": {"name": "c", "resourceVersion": made.metadata.resource_version}}
    with pytest.raises(ConflictError):
        await client.update(CONFIG_MAPS, "default", "c", old)


async def test_a_list_comes_in_as_many_messages_as_it_needs(client, driver, monkeypatch):
    monkeypatch.setattr("orch_api.rpc._PAGE_BYTES", 2000)
    for n in range(9):
        await driver.create(
            "configmaps", {"metadata": {"name": f"c{n}", "labels": {"odd": str(n % 2)}}, "data": {"x": "y" * 600}}
        )
    assert [one.metadata.name for one in await client.list(CONFIG_MAPS, "default")] == [f"c{n}" for n in range(9)]
    odd = await client.list(CONFIG_MAPS, label_selector="odd=1", field_selector="metadata.name!=c3")
    assert [one.metadata.name for one in odd] == ["c1", "c5", "c7"]


async def test_errors_arrive_as_what_they_are(client, make_pod):
    await client.create(PODS, "default", make_pod("a"))
    with pytest.raises(AlreadyExistsError, match='pods "a" already exists'):
        await client.create(PODS, "default", make_pod("a"))
    with pytest.raises(NotFoundError, match="the server could not find the requested resource"):
        await client.list(NAMESPACES, "default")


async def test_the_subject_s_user_is_who_asks(driver, client, make_pod):
    await client.create(SECRETS, "default", {"metadata": {"name": "s"}})
    with pytest.raises(ForbiddenError, match='User "system:node:n" cannot get resource "secrets"'):
        await driver.api.client("system:node:n").get(SECRETS, "default", "s")
    document = make_pod("p", imagePullSecrets=[{"name": "s"}], nodeName="n")
    await client.create(PODS, "default", document)
    assert (await driver.api.client("system:node:n").get(SECRETS, "default", "s")).metadata.name == "s"
    with pytest.raises(ForbiddenError):
        await driver.api.client("system:node:n").create(PODS, "default", make_pod("x"))
    with pytest.raises(ForbiddenError):
        await driver.api.client("nobody").list(PODS)


async def test_a_deposed_leader_s_writes_are_refused(driver):
    client = driver.api.client(CONTROLLERS, fence=Lost())
    with pytest.raises(ConflictError, match="leadership"):
        await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}})
    assert not await driver.exists("configmaps", "c")


async def test_the_scale_is_reached_through_its_subresource(driver, client):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await driver.api.client().create(DEPLOYMENTS, "default", {"metadata": {"name": "d"}, "spec": spec})
    await client.patch(DEPLOYMENTS, "default", "d", {"spec": {"replicas": 4}}, subresource="scale")
    assert (await client.get(DEPLOYMENTS, "default", "d")).spec.replicas == 4


async def test_a_batch_of_bindings_is_answered_in_order(driver, make_pod):
    for name in "ab":
        await driver.create("pods", make_pod(name))
    bindings = [rpc_pb2.Binding(namespace="default", name=name, node="n") for name in ("a", "none", "b")]
    first, absent, last = await driver.api.client("system:kube-scheduler").bind(bindings)
    assert first.revision < last.revision
    assert isinstance(ApiError.decode(absent.status), NotFoundError)
    refused = await driver.api.client("system:node:n").bind(bindings)
    assert {type(ApiError.decode(reply.status)) for reply in refused} == {ForbiddenError}


async def test_a_request_without_a_verb_is_refused(driver):
    request = rpc_pb2.WriteRequest(ref=rpc_pb2.ObjectRef(resource="pods", namespace="default", name="a"))
    reply = await rpc.call(driver.api.bus("orch:admin"), "write", request, rpc_pb2.WriteReply)
    assert isinstance(ApiError.decode(reply.status), NotFoundError)


async def test_an_unreachable_store_is_said_to_be_unavailable(driver, client, monkeypatch):
    async def unreachable():
        raise UnavailableError("etcd cannot be reached")

    monkeypatch.setattr(driver.core.store, "revision", unreachable)
    with pytest.raises(ServiceUnavailableError, match="etcd cannot be reached"):
        await client.get(PODS, "default", "a")


async def test_what_breaks_inside_is_an_internal_error(driver, client, monkeypatch):
    async def broken():
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(driver.core.store, "revision", broken)
    with pytest.raises(ApiError, match="Internal error occurred: a bug") as failure:
        await client.get(PODS, "default", "a")
    assert failure.value.code == 500


async def test_versions_are_told_of_what_may_be_read(driver, client, make_pod):
    ours = await client.create(SECRETS, "default", {"metadata": {"name": "ours"}})
    await client.create(SECRETS, "default", {"metadata": {"name": "theirs"}})
    volumes = [{"name": "s", "secret": {"secretName": "ours"}}]
    await client.create(PODS, "default", make_pod("p", volumes=volumes, nodeName="n"))
    refs = [
        rpc_pb2.ObjectRef(version="v1", resource="secrets", namespace="default", name=name)
        for name in ("ours", "theirs", "none")
    ]
    await driver.api.client("system:node:n").get(SECRETS, "default", "ours")  # the pod has come into the cache
    bus = driver.api.bus("system:node:n")
    reply = await rpc.call(bus, "versions", rpc_pb2.VersionsRequest(refs=refs), rpc_pb2.VersionsReply)
    assert list(reply.revisions) == [int(ours.metadata.resource_version), 0, 0]
    many = await rpc.call(bus, "versions", rpc_pb2.VersionsRequest(refs=refs * 200), rpc_pb2.VersionsReply)
    assert "at most 500 objects" in str(ApiError.decode(many.status))
