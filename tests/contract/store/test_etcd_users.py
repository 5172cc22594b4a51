"""etcd as a cluster has it: every service is a user known by its certificate, and may do what its role says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orch.config import EtcdConfig
from orch.errors import OrchError, StoreError, UnavailableError
from orch.runtime.leader import LeaderElector
from orch.store import etcd_connection, etcd_users, keys, roles
from orch.store.etcd import EtcdStore
from orch.store.etcd_connection import Cluster, Method
from orch.store.protocol import Compare, Write
from orch.store.roles import Permission, Role
from orch_cli.identities import API, CONTROLLERS, ETCD_ROLES, SCHEDULER, Identities, issue_identities
from orch_cli.pki import Authority, Leaf
from orch_pb.etcd import rpc_pb2

pytestmark = pytest.mark.etcd

LEADERS = {SCHEDULER: keys.leader_key("scheduler"), CONTROLLERS: keys.leader_key("controllers")}
SECRET = b"/orch/objects/core/secrets/default/s"
CLAIM = keys.claim_key("", "services", "10.96.0.1")

PUT = Method("/etcdserverpb.KV/Put", rpc_pb2.PutResponse)
DELETE = Method("/etcdserverpb.KV/DeleteRange", rpc_pb2.DeleteRangeResponse)
RANGE = Method("/etcdserverpb.KV/Range", rpc_pb2.RangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", rpc_pb2.TxnResponse)
USERS = Method("/etcdserverpb.Auth/UserList", rpc_pb2.AuthUserListResponse)
USER = Method("/etcdserverpb.Auth/UserAdd", rpc_pb2.AuthUserAddResponse)


class Etcd:
    """A server with the certificates of a cluster."""

    def __init__(self, folder: Path, start: Callable[..., Any]) -> None:
        self.folder = folder
        self.identities: Identities = issue_identities(folder, [])
        pair = self.identities.etcd_server
        self.server = start(
            f"--cert-file={pair.certificate}",
            f"--key-file={pair.key}",
            f"--trusted-ca-file={pair.authority}",
            "--client-cert-auth",
            "--enable-grpc-gateway=false",
        )

    def config(self, name: str) -> EtcdConfig:
        config = self.identities.etcd(name, 1)
        return msgspec.structs.replace(config, endpoints=(self.server.url,))

    async def settle(self) -> int:
        return await etcd_users.settle(self.config(roles.ROOT), ETCD_ROLES)

    async def store(self, name: str, *, timeout: float = 5) -> EtcdStore:
        config = self.config(name)
        return await EtcdStore.connect(
            endpoints=config.endpoints,
            ca=config.ca_file,
            cert=config.cert_file,
            key=config.key_file,
            request_timeout=timeout,
        )

    async def cluster(self, name: str) -> Cluster:
        config = self.config(name)
        return await etcd_connection.connect(
            config.endpoints, ca=config.ca_file, cert=config.cert_file, key=config.key_file
        )


@pytest.fixture
def etcd(tmp_path: Path, start_etcd: Callable[..., Any]) -> Etcd:
    return Etcd(tmp_path / "pki", start_etcd)


def attacks(key: bytes) -> dict[str, Callable[[Cluster], Awaitable[object]]]:
    """What somebody may try with a key, or with whatever begins at it."""
    put, delete = rpc_pb2.PutRequest(key=key, value=b"mine"), rpc_pb2.DeleteRangeRequest(key=key)
    read = rpc_pb2.RangeRequest(key=key)
    compare = rpc_pb2.Compare(target=rpc_pb2.Compare.VERSION, key=key, version=0)
    harmless = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=keys.REVISION))

    def txn(*, compares: Any = (), **request: Any) -> rpc_pb2.TxnRequest:
        operation = rpc_pb2.RequestOp(**request) if request else harmless
        return rpc_pb2.TxnRequest(compare=compares, success=[operation])

    return {
        "put": lambda cluster: cluster.call(PUT, put, "test"),
        "delete": lambda cluster: cluster.call(DELETE, delete, "test"),
        "get": lambda cluster: cluster.call(RANGE, read, "test"),
        "range": lambda cluster: cluster.call(RANGE, rpc_pb2.RangeRequest(key=key, range_end=b"\x00"), "test"),
        "count": lambda cluster: cluster.call(RANGE, rpc_pb2.RangeRequest(key=key, count_only=True), "test"),
        "put in a transaction": lambda cluster: cluster.call(TXN, txn(request_put=put), "test"),
        "delete in a transaction": lambda cluster: cluster.call(TXN, txn(request_delete_range=delete), "test"),
        "get in a transaction": lambda cluster: cluster.call(TXN, txn(request_range=read), "test"),
        "compare": lambda cluster: cluster.call(TXN, txn(compares=[compare]), "test"),
    }


async def test_each_service_reaches_its_own_keys_and_no_others(etcd: Etcd) -> None:
    assert await etcd.settle() > 0
    assert await etcd.settle() == 0, "at the next start all is there"
    api = await etcd.store(API)
    stores = {name: await etcd.store(name) for name in LEADERS}
    clusters = {name: await etcd.cluster(name) for name in (API, *LEADERS)}
    written = await api.write_all([Write(SECRET, b"", 0), Write(CLAIM, b"", 0), Write(b"/orch/leaders/relay", b"", 0)])
    assert all(each.succeeded for each in written)

    for name, store in stores.items():
        lease = await store.lease_grant(60)
        held = await store.acquire(LEADERS[name], b"me", lease)
        await store.lease_refresh(lease)
        assert await store.revision() >= held.mod_revision
        fenced = Write(SECRET, b"", None, fence=Compare(held.key, held.create_revision))
        assert (await api.write(fenced)).succeeded, "the api looks at a leader's key"

    others = {name: [LEADERS[other] for other in LEADERS if other != name] for name in LEADERS}
    forbidden = {
        API: list(LEADERS.values()),
        **{name: [*keys_, SECRET, CLAIM, b"/orch/leaders/relay", b"/else"] for name, keys_ in others.items()},
    }
    reading = {"get", "range", "count", "get in a transaction", "compare"}
    for name, wanted in forbidden.items():
        for key in wanted:
            for what, attack in attacks(key).items():
                if name == API and what in reading:
                    await attack(clusters[name])
                    continue
                with pytest.raises(StoreError, match="permission denied"):
                    await attack(clusters[name])
    for name in (API, *LEADERS):
        with pytest.raises(StoreError, match="permission denied"):
            await clusters[name].call(USERS, rpc_pb2.AuthUserListRequest(), "test")
        with pytest.raises(StoreError, match="permission denied"):
            await clusters[name].call(USER, rpc_pb2.AuthUserAddRequest(name="me"), "test")
    for name in LEADERS:
        store = stores[f"{name}, impatient"] = await etcd.store(name, timeout=0.3)
        with pytest.raises(UnavailableError, match="permission denied"):
            await anext(store.watch(SECRET, SECRET + b"\x00", revision=1))
        with pytest.raises(OrchError, match="permission denied"):
            await anext(store.snapshot())
    assert (await api.get(LEADERS[SCHEDULER])) is not None, "nothing was deleted"
    for opened in (api, *stores.values(), *clusters.values()):
        await opened.close()


async def test_nobody_is_served_without_a_users_certificate(etcd: Etcd) -> None:
    await etcd.settle()
    ca = etcd.identities.etcd_server.authority
    with pytest.raises(UnavailableError):
        await EtcdStore.connect(endpoints=[etcd.server.url], ca=ca, dial_timeout=0.5)
    ours = etcd.identities.clients[API].pair
    with pytest.raises(UnavailableError):  # the api's certificate for the bus is of another authority
        await EtcdStore.connect(
            endpoints=[etcd.server.url], ca=ca, cert=ours.certificate, key=ours.key, dial_timeout=0.5
        )
    stranger = Authority(etcd.folder / "etcd", "orch-etcd").issue(Leaf(name="x", common_name="system:x", client=True))
    store = await EtcdStore.connect(endpoints=[etcd.server.url], ca=ca, cert=stranger.certificate, key=stranger.key)
    for key in (SECRET, keys.REVISION, LEADERS[SCHEDULER]):
        with pytest.raises(StoreError, match="permission denied"):
            await store.get(key)
    await store.close()


async def test_an_etcd_that_served_without_users_gets_them_while_it_is_used(etcd: Etcd) -> None:
    store = await etcd.store(API)
    elector = LeaderElector(store, "relay", "me", ttl=3)
    leads = asyncio.Event()
    stop = asyncio.Event()

    async def lead() -> None:
        leads.set()
        await stop.wait()

    async def write(number: int) -> int:
        count = 0
        while not stop.is_set():
            assert (await store.write(Write(SECRET + b"%d" % number, b"", None))).succeeded
            assert await store.get(SECRET + b"%d" % number) is not None
            count += 1
        return count

    leading = asyncio.create_task(elector.run(lead))
    await leads.wait()
    writing = [asyncio.create_task(write(number)) for number in range(4)]
    assert await etcd.settle() > 0
    wider = Role("api", (*roles.api().permissions, Permission(b"/more", b"/morf", write=True)))
    await etcd_users.settle(etcd.config(roles.ROOT), {**ETCD_ROLES, "system:apiserver": wider})
    assert (await store.write(Write(b"/more/x", b"", 0))).succeeded
    assert await etcd.settle() == 1, "another version's role becomes this one's"
    flat = rpc_pb2.PutRequest(key=b"/more/y", value=b"")
    cluster = await etcd.cluster(API)
    with pytest.raises(StoreError, match="permission denied"):
        await cluster.call(PUT, flat, "test")
    stop.set()
    assert all(count > 0 for count in await asyncio.gather(*writing))
    await leading
    etcd.server.kill()
    etcd.server.start()
    with pytest.raises(StoreError, match="permission denied"):
        await cluster.call(PUT, flat, "test", timeout=10)
    await cluster.close()
    await store.close()


async def test_users_are_not_made_by_who_shows_no_certificate() -> None:
    with pytest.raises(StoreError, match="known by their certificates"):
        await etcd_users.settle(EtcdConfig(), ETCD_ROLES)
