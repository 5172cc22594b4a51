"""What is in a Secret is found neither in etcd nor in a stream, nor in an audit log or any other log."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from asgi import Connection
from encryption_files import IDENTITY, aesgcm, document, kms, put
from kms_server import KmsServer

from orch.bus.protocol import Message, Signal
from orch.bus.subjects import OBJECTS, STREAMS
from orch.errors import ConfigError
from orch.objects.scheme import SECRETS
from orch.store.memory import MemoryStore
from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application, audit_queues
from orch_api.wiring import build
from orch_cli.tap import describe

PLANTED = "correct-horse-battery"
ENCODED = base64.b64encode(PLANTED.encode()).decode()
PATH = "/api/v1/namespaces/default/secrets"
MERGE = "application/merge-patch+json"
PLAIN_MARK = "anybody-may-read-this"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class World:
    def __init__(self, api: InMemoryApi, http: Connection, audit: Path) -> None:
        self.api = api
        self.http = http
        self.audit = audit

    async def plant(self) -> None:
        """Write Secrets in every way, and beside them what is to be found: the search itself is tested, too."""
        applied = json.dumps({"data": {"p": ENCODED}})
        body = {"metadata": {"name": "a", "annotations": {APPLIED: applied}}, "stringData": {"p": PLANTED}}
        assert (await self.http("POST", PATH, body)).status == 201
        assert (await self.http("PATCH", f"{PATH}/a", {"data": {"q": ENCODED}}, content_type=MERGE)).status == 200
        assert (await self.http("POST", PATH, {"metadata": {"name": "b"}, "stringData": {"p": PLANTED}})).status == 201
        assert (await self.http("DELETE", f"{PATH}/b")).status == 200
        wrong = {"metadata": {"name": "c"}, "type": "kubernetes.io/tls", "stringData": {"p": PLANTED}}
        assert (await self.http("POST", PATH, wrong)).status == 422
        await self.plant_wrongly()
        assert (await self.http("GET", PATH)).json["items"][0]["data"] == {"p": ENCODED, "q": ENCODED}
        other = {"metadata": {"name": "a"}, "data": {"p": PLAIN_MARK}}
        assert (await self.http("POST", "/api/v1/namespaces/default/configmaps", other)).status == 201

    async def plant_wrongly(self) -> None:
        """Send what is refused, in ways whose refusals could repeat it."""
        meta = {"metadata": {"name": "d"}}
        docker = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": PLANTED}}
        for body in (
            {**meta, "data": {"p": PLANTED}},
            {**meta, "data": {"p": [PLANTED]}},
            {**meta, "data": PLANTED},
            {**meta, **docker},
            {**meta, "stringData": {"not a key": PLANTED}},
            {**meta, "stringData": {"p": PLANTED * 60_000}},
        ):
            assert 400 <= (await self.http("POST", PATH, body)).status < 500, body
        yaml = f"metadata: {{name: d}}\nstringData: {{p: '{PLANTED}'}}\nstringData: {{p: {PLANTED}, q: [}}"
        assert (await self.http("POST", PATH, yaml.encode(), content_type="application/yaml")).status == 400
        assert (await self.http("POST", PATH, f'{{"data": {{"p": "{ENCODED}"}}'.encode())).status == 400
        for kind, patch in (
            ("json-patch+json", [{"op": "test", "path": "/data/p", "value": PLANTED}]),
            ("json-patch+json", [{"op": "add", "path": "/data/p/x", "value": PLANTED}]),
            ("merge-patch+json", {"data": {"p": PLANTED}}),
            ("strategic-merge-patch+json", {"data": {"p": {"$patch": PLANTED}}}),
        ):
            answer = await self.http("PATCH", f"{PATH}/a", patch, content_type=f"application/{kind}")
            assert 400 <= answer.status < 500, patch

    async def stored(self) -> list[bytes]:
        return [item.value for item in (await self.api.store.range(b"\x00", b"\x00")).items]

    async def streamed(self) -> list[bytes]:
        """Return all messages of all streams; the ConfigMap was written last, so then OBJECTS has everything."""
        found: list[bytes] = []
        for stream in STREAMS:
            async with aclosing(self.api.core.bus.follow(stream.name, stream.subjects)) as messages:
                async for message in messages:
                    if isinstance(message, Message):
                        found.append(message.data)
                        if stream is OBJECTS:
                            found.append(describe(message).encode())  # what `orch events` prints of it
                            if PLAIN_MARK.encode() in message.data:
                                break
                    elif stream is not OBJECTS and message is Signal.SYNCED:
                        break
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    policy = tmp_path / "policy.yaml"
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n")
    config = ApiConfig(
        encryption_provider_config=str(put(tmp_path / "e.yaml", document(aesgcm("k"), IDENTITY))),
        audit_policy_file=str(policy),
        audit_log_file=str(tmp_path / "audit.log"),
    )
    async with in_memory_api(config=config) as api:
        queues = audit_queues(api.core, config)
        running = [asyncio.create_task(queue.run()) for queue in queues]
        yield World(api, Connection(application(api.core, config, queues)), tmp_path / "audit.log")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_what_is_planted_is_nowhere(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await world.plant()
    async with asyncio.timeout(10):
        stored, streamed = await world.stored(), await world.streamed()
        while not world.audit.exists() or PLAIN_MARK not in world.audit.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    places = {
        "etcd": b"".join(stored),
        "streams": b"".join(streamed),
        "audit": world.audit.read_bytes(),
    }
    for place, content in places.items():
        assert PLAIN_MARK.encode() in content, place
    places["logs"] = caplog.text.encode()
    for place, content in places.items():
        for secret in (PLANTED, ENCODED):
            assert secret.encode() not in content, place


async def test_services_that_may_read_them_ask_for_them(world: World) -> None:
    await world.plant()
    found = await world.api.client().get(SECRETS, "default", "a")
    assert PLANTED.encode() in found.data.values() or ENCODED in map(str, found.data.values())


async def test_a_key_management_service_guards_them(tmp_path: Path) -> None:
    server = KmsServer(tmp_path)
    await server.start()
    config = ApiConfig(encryption_provider_config=str(put(tmp_path / "e.yaml", document(kms(server.endpoint)))))
    try:
        async with in_memory_api(config=config) as api:
            http = Connection(application(api.core, config))
            for number in range(5):
                body = {"metadata": {"name": f"s{number}"}, "stringData": {"p": PLANTED}}
                assert (await http("POST", PATH, body)).status == 201
            assert len((await http("GET", PATH)).json["items"]) == 5
            stored = b"".join(item.value for item in (await api.store.range(b"\x00", b"\x00")).items)
            assert b"kms:vault:first" in stored
            assert ENCODED.encode() not in stored
            assert server.calls["Encrypt"] == 1
            assert (await http("GET", "/readyz/kms-providers")).status == 200
    finally:
        await server.stop()


async def test_without_a_key_an_api_does_not_start_by_itself() -> None:
    store = MemoryStore()
    async with in_memory_api() as api:
        with pytest.raises(ConfigError, match="encryption_provider_config: is required"):
            build(store, api.core.bus, ApiConfig())
        build(store, api.core.bus, ApiConfig(secrets_in_plain_text=True))
    await store.close()
