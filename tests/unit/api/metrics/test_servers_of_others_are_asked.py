"""Autoscalers' metrics from a server that an APIService names, as prometheus-adapter and KEDA are installed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from asgi import Connection
from https_server import Asked, https_server

from orch.bus import rpc
from orch.errors import ApiError, ServiceUnavailableError
from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application
from orch_pb.v1.autoscaling_pb2 import MetricsReply, MetricsRequest

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
STAMP = "2026-01-01T00:00:00Z"


class Adapter:
    """Serves both groups."""

    def __init__(self, files: certificates.Files) -> None:
        self.files = files
        self.bundle = base64.b64encode(Path(files.ca).read_bytes()).decode()
        self.port = 0
        self.asked: list[Asked] = []
        self.status = 200
        self.items: list[dict[str, Any]] = []

    async def __call__(self, asked: Asked) -> tuple[int, Any]:
        if asked.target in {EXTERNAL, CUSTOM} or asked.target.startswith("/openapi"):
            return 200, {"kind": "APIResourceList", "groupVersion": asked.target[6:], "resources": []}
        self.asked.append(asked)
        if self.status != 200:
            return self.status, {"kind": "Status", "message": "no such metric", "reason": "NotFound", "code": 404}
        return 200, {"kind": "List", "items": self.items}


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[Adapter]:
    found = Adapter(certificates.make(tmp_path, "adapter.default.svc"))
    async with https_server(found.files, found) as found.port:
        yield found


@pytest.fixture
async def api(adapter: Adapter) -> AsyncIterator[InMemoryApi]:
    config = ApiConfig(proxy_client_cert_file=adapter.files.cert, proxy_client_key_file=adapter.files.key)
    async with in_memory_api(config=config) as api:
        http = Connection(application(api.core, ApiConfig()))
        service = {"metadata": {"name": "adapter"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
        assert (await http("POST", "/api/v1/namespaces/default/services", service)).status == 201
        for path in (EXTERNAL, CUSTOM):
            group, version = path.removeprefix("/apis/").split("/")
            spec = {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": "default", "name": "adapter", "port": adapter.port},
                "caBundle": adapter.bundle,
            }
            made = await http("POST", SERVICES, {"metadata": {"name": f"{version}.{group}"}, "spec": spec})
            assert made.status == 201, made.body
        async with asyncio.timeout(15):
            while api.core.api_services.find("custom.metrics.k8s.io", "v1beta2") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield api


async def ask(api: InMemoryApi, **request: str) -> MetricsReply:
    bus = api.broker.connect("system:kube-controller-manager")
    return await rpc.call(bus, "metrics", MetricsRequest(namespace="default", **request), MetricsReply)


async def test_values_of_an_external_metric(api: InMemoryApi, adapter: Adapter) -> None:
    adapter.items = [{"metricName": "queue", "timestamp": STAMP, "value": "1500m"}, {"value": "2k"}]
    found = await ask(api, metric="queue", metric_selector="a=b")
    assert [one.value for one in found.values] == [1500, 2_000_000]
    (asked,) = adapter.asked
    assert asked.target == f"{EXTERNAL}/namespaces/default/queue?labelSelector=a%3Db"
    assert asked.all("x-remote-user") == ["system:kube-controller-manager"]


async def test_values_of_pods(api: InMemoryApi, adapter: Adapter) -> None:
    described = {"kind": "Pod", "namespace": "default", "name": "web-1"}
    adapter.items = [{"describedObject": described, "timestamp": STAMP, "windowSeconds": 30, "value": "7"}]
    (found,) = (await ask(api, resource="pods", selector="app=web", metric="qps")).values
    assert (found.name, found.value, found.window) == ("web-1", 7000, 30_000_000_000)
    assert adapter.asked[0].target == f"{CUSTOM}/namespaces/default/pods/*/qps?labelSelector=app%3Dweb"


async def test_what_the_server_refuses_is_passed_on(api: InMemoryApi, adapter: Adapter) -> None:
    adapter.status = 404
    assert str(ApiError.decode((await ask(api, metric="queue")).status)) == "no such metric"
    adapter.status, adapter.items = 200, [{"value": "many"}]
    error = ApiError.decode((await ask(api, metric="queue")).status)
    assert isinstance(error, ServiceUnavailableError)
    assert "cannot be asked" in str(error)
