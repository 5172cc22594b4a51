"""Whoever sees everything that passes the bus, and every file that it writes, sees no secret of a pod."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import certificates
import pytest
from asgi import Connection
from client_certificates import SERVER, Authority
from nats_server import EVERYTHING, NatsServer

from orch.bus import rpc, subjects
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import permissions_of
from orch.bus.protocol import Bus, Message
from orch.bus.sealing import SealingKey
from orch.config import NatsConfig
from orch.errors import BadRequestError, BusError, ForbiddenError
from orch.objects.cluster import Secret
from orch.objects.meta import Object, View
from orch.objects.scheme import CONFIG_MAPS, SECRETS, Kind
from orch.runtime.client import BusClient
from orch.store.memory import MemoryStore
from orch_api.config import ApiConfig
from orch_api.site import application
from orch_api.wiring import Core
from orch_pb.v1 import rpc_pb2

API, NODE, OTHER, CONTROLLERS, TAP = (
    "system:apiserver",
    "system:node:n",
    "system:node:other",
    "system:kube-controller-manager",
    "tap",
)
PLANTED = "correct-horse-battery"
WRITTEN = "staple-of-a-controller"
PLAIN_MARK = "anybody-may-read-this"
INSIDE = "/api/v1/namespaces/default"
POD = {
    "metadata": {"name": "p"},
    "spec": {
        "nodeName": "n",
        "serviceAccountName": "robot",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "s", "secret": {"secretName": "s"}}, {"name": "c", "configMap": {"name": "c"}}],
    },
}


class _Status(View, frozen=True):
    token: str = ""


class _TokenRequest(Object, frozen=True):
    status: _Status = _Status()


TOKENS = Kind("", "v1", "serviceaccounts", "TokenRequest", True, _TokenRequest)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "of the bus")


def key_of(authority: Authority, user: str, **wrong: Any) -> SealingKey:
    """Return a key for which a certificate of the user vouches."""
    files = {"ca_file": str(authority.file), "cert_file": authority.issue(user, **wrong)[1]}
    return SealingKey(NatsConfig(user=user, **files))


async def plant(core: Core, config: ApiConfig) -> dict[str, Any]:
    """Make what a pod refers to, and the pod; return it."""
    http = Connection(application(core, config))
    docker = base64.b64encode(f'{{"auths":{{"r.example":{{"auth":"{PLANTED}"}}}}}}'.encode()).decode()
    for path, body in (
        ("secrets", {"metadata": {"name": "s"}, "stringData": {"p": PLANTED}}),
        (
            "secrets",
            {
                "metadata": {"name": "pull"},
                "type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": docker},
            },
        ),
        ("configmaps", {"metadata": {"name": "c"}, "data": {"p": PLAIN_MARK}}),
        ("serviceaccounts", {"metadata": {"name": "robot"}}),
    ):
        answer = await http("POST", f"{INSIDE}/{path}", body)
        assert answer.status == 201, answer.body
    answer = await http("POST", f"{INSIDE}/pods", POD)
    assert answer.status == 201, answer.body
    return answer.json


@pytest.fixture
async def core(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[tuple[Core, ApiConfig, Any]]:
    """An api over a real server where somebody sees everything, or over a bus in memory; what connects to either."""
    server: NatsServer | None = None
    if request.param == "nats":
        folder = request.getfixturevalue("tmp_path") / "nats"
        folder.mkdir()
        users = {user: permissions_of(user) for user in (API, NODE, OTHER, CONTROLLERS)} | {TAP: EVERYTHING}
        server = NatsServer(folder, certificates.make(folder), users)
        await server.start()
        connect: Any = server.connect
    else:
        broker = MemoryBroker(permissions=permissions_of)

        async def connect(user: str) -> Bus:
            return broker.connect(user)

    files = {"ca_file": str(authority.file), "cert_file": authority.issue(API)[1]}
    config = ApiConfig(nats=NatsConfig(user=API, **files), disable_admission_plugins=("ServiceAccount",))
    store, bus = MemoryStore(), await connect(API)
    found = Core(store, bus, config, identity="test")
    running = asyncio.create_task(found.run())
    try:
        await found.wait_ready()
        yield found, config, server or connect
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await bus.close()
        await store.close()
        if server is not None:
            await server.close()


async def collect(bus: Bus, into: list[Message], listening: asyncio.Event) -> None:
    async with bus.subscribe(">", queue_limit=100_000) as messages:
        await bus.publish("orch.tap", b"")  # comes back once the subscription is made
        async for message in messages:
            into.append(message)
            listening.set()


@pytest.mark.nats
@pytest.mark.parametrize("core", ["nats"], indirect=True)
async def test_a_tap_of_everything_and_the_files_show_no_secret(
    core: tuple[Core, ApiConfig, NatsServer], authority: Authority
) -> None:
    api, config, server = core
    seen: list[Message] = []
    listening = asyncio.Event()
    tapping = asyncio.create_task(collect(await server.connect(TAP), seen, listening))
    async with asyncio.timeout(20):
        await listening.wait()
        pod = await plant(api, config)
        node = BusClient(await server.connect(NODE), seal=key_of(authority, NODE))
        secret: Secret = await node.get(SECRETS, "default", "s")
        pull: Secret = await node.get(SECRETS, "default", "pull")
        await node.get(CONFIG_MAPS, "default", "c")
        spec = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}}
        made = await node.create(TOKENS, "default", {"spec": spec}, name="robot", subresource="token")
        of_all = BusClient(await server.connect(CONTROLLERS), seal=key_of(authority, CONTROLLERS))
        changed = await of_all.patch(SECRETS, "default", "s", {"metadata": {"labels": {"a": "b"}}})
        written = await of_all.create(SECRETS, "default", {"metadata": {"name": "w"}, "stringData": {"p": WRITTEN}})
        patched = await of_all.patch(SECRETS, "default", "pull", {"stringData": {"token": WRITTEN}}, strategic=True)
        await of_all.update(SECRETS, "default", "w", {"metadata": {"name": "w"}, "stringData": {"q": WRITTEN}})
        await of_all.delete(SECRETS, "default", "w")
        while not any(message.data and b'"a":"b"' in message.data for message in seen):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    tapping.cancel()
    await asyncio.gather(tapping, return_exceptions=True)
    assert secret.data == changed.data == {"p": base64.b64encode(PLANTED.encode()).decode()}
    assert made.status.token.count(".") == 2
    assert written.data["p"] == patched.data["token"] == base64.b64encode(WRITTEN.encode()).decode()
    asked = [message for message in seen if message.subject == subjects.rpc_subject(CONTROLLERS, "write")]
    assert len(asked) >= 6, "the tap has not seen what the controllers wrote, and how they learnt the api's key"
    answers = sum(message.subject.startswith(subjects.inbox_prefix(NODE)) for message in seen)
    assert answers >= 4, "the tap has not seen what the node was answered"
    tapped = b"\n".join(message.data for message in seen)
    kept = b"".join(file.read_bytes() for file in (server.directory / "js").rglob("*") if file.is_file())
    for place, content in (("tap", tapped), ("files", kept)):
        assert PLAIN_MARK.encode() in content, place
        for hidden in (
            PLANTED,
            WRITTEN,
            written.data["p"],
            secret.data["p"],
            pull.data[".dockerconfigjson"],
            made.status.token,
        ):
            assert hidden.encode() not in content, place


@pytest.mark.parametrize("core", ["memory"], indirect=True)
async def test_a_key_that_is_not_the_askers_is_sent_nothing(
    core: tuple[Core, ApiConfig, Any], authority: Authority, tmp_path: Path
) -> None:
    api, config, connect = core
    await plant(api, config)
    bus = await connect(NODE)

    async def read(seal: Any) -> Secret:
        return await BusClient(bus, seal=seal).get(SECRETS, "default", "s")

    (tmp_path / "elsewhere").mkdir()
    foreign = Authority(tmp_path / "elsewhere", "of the bus")
    assert (await read(key_of(authority, NODE))).data
    with pytest.raises(BadRequestError, match="names no key"):
        await read(None)
    for key, why in (
        (SealingKey(), "error parsing asn1"),
        (key_of(authority, OTHER), "has not signed the key"),
        (SealingKey(NatsConfig(user=NODE, cert_file=authority.issue(OTHER)[1])), "somebody else's"),
        (key_of(foreign, NODE), "not of the bus's authority"),
        (key_of(authority, NODE, lifetime=timedelta(hours=-1)), "has expired"),
        (key_of(authority, NODE, purpose=SERVER), "not for clients"),
    ):
        with pytest.raises(ForbiddenError, match=f"{NODE} is sent no secrets under this key: .*{why}"):
            await read(key)

    # Whoever passes messages on puts its own key in: the certificate's word is for another one.
    ref = rpc_pb2.ObjectRef(version="v1", resource="secrets", namespace="default", name="s")
    for key in (SealingKey().recipient().key, bytes(32), b"short"):
        changed = key_of(authority, NODE).recipient()
        changed.key = key
        reply = await rpc.call(bus, "get", rpc_pb2.GetRequest(ref=ref, recipient=changed), rpc_pb2.WriteReply)
        assert reply.status
        assert not reply.json
        assert not reply.sealed.content


@pytest.mark.parametrize("core", ["memory"], indirect=True)
async def test_refusals_are_sealed_as_well_and_nothing_is_begun_without_a_key(
    core: tuple[Core, ApiConfig, Any], authority: Authority
) -> None:
    api, config, connect = core
    await plant(api, config)
    with pytest.raises(ForbiddenError, match='User "system:node:other" cannot get resource "secrets"'):
        await BusClient(await connect(OTHER), seal=key_of(authority, OTHER)).get(SECRETS, "default", "s")
    bus = await connect(CONTROLLERS)
    with pytest.raises(BadRequestError, match="names no key"):
        await BusClient(bus).delete(SECRETS, "default", "s")
    assert len(await BusClient(bus, seal=key_of(authority, CONTROLLERS)).list(SECRETS, "default")) == 2


def test_a_renewed_certificate_vouches_for_the_same_key(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "node.pem"
    first, second = (Path(authority.issue(NODE)[1]) for _ in range(2))
    file.write_bytes(first.read_bytes())
    key = SealingKey(NatsConfig(user=NODE, cert_file=str(file)))
    before = key.recipient()
    assert key.recipient() == before
    file.write_bytes(b"half written")
    os.utime(file, ns=(1, 1))
    assert key.recipient() == before
    file.write_bytes(second.read_bytes())
    os.utime(file, ns=(2, 2))
    after = key.recipient()
    assert (after.key, after.certificate != before.certificate) == (before.key, True)


def test_without_files_that_can_vouch_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="cannot vouch"):
        SealingKey(NatsConfig(user=NODE, cert_file=str(tmp_path / "none"))).recipient()
