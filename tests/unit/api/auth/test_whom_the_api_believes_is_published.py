"""Servers of aggregated APIs learn from a ConfigMap whom the api believes; machines that join, where the cluster is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orch.clock import ManualClock
from orch.config import NatsConfig
from orch.errors import ConfigError, NotFoundError
from orch.objects.scheme import CONFIG_MAPS
from orch_api.announcements import AUTHENTICATION, CLUSTER_INFO, Announcements
from orch_api.auth.identity import APISERVER
from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.pipeline import WriteOptions

NOW = ManualClock().now()


def authority(name: str, ends: datetime = NOW + timedelta(days=1)) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(called).issuer_name(called).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime(2000, 1, 1, tzinfo=UTC)).not_valid_after(ends)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def config(tmp_path: Path) -> ApiConfig:
    for name in ("clients", "proxies", "root"):
        (tmp_path / name).write_text(authority(name))
    return ApiConfig(
        client_ca_file=str(tmp_path / "clients"),
        requestheader_client_ca_file=str(tmp_path / "proxies"),
        requestheader_allowed_names=("front-proxy-client",),
        nats=NatsConfig(servers=("tls://10.0.0.1:4222",), ca_file=str(tmp_path / "root")),
        advertise_address="10.0.0.1",
    )


def keeper(api: InMemoryApi, config: ApiConfig, clock: ManualClock) -> Announcements:
    core = api.core
    return Announcements(core.pipeline, core.cache, core.registry, config, clock)


async def data(api: InMemoryApi, key: Any) -> dict[str, str]:
    return (await api.client().get(CONFIG_MAPS, key.namespace, key.name)).data


async def test_what_a_new_cluster_announces(config: ApiConfig, tmp_path: Path) -> None:
    async with in_memory_api(ManualClock(), config=config) as api:
        assert await data(api, AUTHENTICATION) == {
            "client-ca-file": (tmp_path / "clients").read_text(),
            "requestheader-client-ca-file": (tmp_path / "proxies").read_text(),
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
        info = await data(api, CLUSTER_INFO)
        assert info["nats"] == "tls://10.0.0.1:4222"
        (cluster,) = yaml.safe_load(info["kubeconfig"])["clusters"]
        assert cluster["cluster"]["server"] == "https://10.0.0.1:6443"
        assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == (tmp_path / "root").read_bytes()


async def test_other_authorities_stay_until_they_expire(config: ApiConfig, tmp_path: Path) -> None:
    clock = ManualClock()
    async with in_memory_api(clock, config=config) as api:
        own, other, former = (tmp_path / "clients").read_text(), authority("other"), authority("former", NOW)
        client = api.client()
        where = (CONFIG_MAPS, AUTHENTICATION.namespace, AUTHENTICATION.name)
        patch = {"client-ca-file": other + former, "requestheader-client-ca-file": "no certificate", "mine": "x"}
        await client.patch(*where, {"data": patch})
        await keeper(api, config, clock).keep()
        found = await data(api, AUTHENTICATION)
        assert found["client-ca-file"] == other + own
        assert found["requestheader-client-ca-file"] == (tmp_path / "proxies").read_text()
        assert found["mine"] == "x"
        version = (await client.get(*where)).metadata.resource_version
        await keeper(api, config, clock).keep()
        assert (await client.get(*where)).metadata.resource_version == version, "nothing is written without need"
        await client.delete(*where)
        await keeper(api, config, clock).keep()
        assert (await data(api, AUTHENTICATION))["client-ca-file"] == own


async def test_cluster_info_is_left_as_its_installer_wrote_it(config: ApiConfig) -> None:
    clock = ManualClock()
    async with in_memory_api(clock, config=config) as api:
        where = (CONFIG_MAPS, CLUSTER_INFO.namespace, CLUSTER_INFO.name)
        await api.client().patch(*where, {"data": {"kubeconfig": "mine"}})
        await keeper(api, config, clock).keep()
        assert (await data(api, CLUSTER_INFO))["kubeconfig"] == "mine"


@pytest.mark.parametrize(
    ("address", "server"), [("127.0.0.1", "https://127.0.0.1:6443"), ("::1", "https://[::1]:6443"), ("::", "")]
)
async def test_where_an_api_is_that_advertises_no_address(config: ApiConfig, address: str, server: str) -> None:
    clock = ManualClock()
    async with in_memory_api(clock) as api:
        await keeper(api, msgspec.structs.replace(config, advertise_address="", address=address), clock).keep()
        if not server:
            with pytest.raises(NotFoundError):
                await data(api, CLUSTER_INFO)
            return
        (cluster,) = yaml.safe_load((await data(api, CLUSTER_INFO))["kubeconfig"])["clusters"]
        assert cluster["cluster"]["server"] == server


async def test_nothing_is_announced_that_no_setting_says(tmp_path: Path) -> None:
    async with in_memory_api(ManualClock(), config=ApiConfig()) as api:
        for key in (AUTHENTICATION, CLUSTER_INFO):
            with pytest.raises(NotFoundError):
                await data(api, key)
        (tmp_path / "bad").write_text("nothing")
        for bad in ("bad", "absent"):
            broken = keeper(api, ApiConfig(client_ca_file=str(tmp_path / bad)), ManualClock())
            with pytest.raises(ConfigError, match="client_ca_file"):
                await broken.keep()


async def test_who_may_read_it(config: ApiConfig) -> None:
    async with in_memory_api(ManualClock(), config=config) as api:
        for user, may in (("system:kube-scheduler", True), ("jane", False)):
            review = {
                "spec": {
                    "user": user,
                    "resourceAttributes": {
                        "verb": "get",
                        "resource": "configmaps",
                        "namespace": AUTHENTICATION.namespace,
                        "name": AUTHENTICATION.name,
                    },
                }
            }
            resource = api.core.registry.find("authorization.k8s.io", "v1", "subjectaccessreviews")
            assert resource is not None
            body = json.dumps(review).encode()
            made = await api.core.pipeline.create(APISERVER, resource, "", body, WriteOptions())
            assert json.loads(made.json)["status"]["allowed"] is may
