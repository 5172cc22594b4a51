from collections.abc import AsyncIterator

import certificates
import pytest
from asgi import Connection
from https_server import https_server
from policies import Governed
from webhook_server import AdmissionServer

from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application


@pytest.fixture
async def api() -> AsyncIterator[Governed]:
    async with in_memory_api() as memory:
        yield Governed(memory, Connection(application(memory.core, ApiConfig())))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Files:
    return certificates.make(tmp_path_factory.mktemp("webhook"), "hook.default.svc")


@pytest.fixture
async def server(files: certificates.Files) -> AsyncIterator[AdmissionServer]:
    found = AdmissionServer(files)
    async with https_server(found.files, found) as found.port:
        yield found
