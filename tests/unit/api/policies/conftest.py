from collections.abc import AsyncIterator

import pytest
from asgi import Connection
from policies import Governed

from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application


@pytest.fixture
async def api() -> AsyncIterator[Governed]:
    async with in_memory_api() as memory:
        yield Governed(memory, Connection(application(memory.core, ApiConfig())))
