from collections.abc import AsyncIterator

import pytest
from asgi import Connection
from definitions import Extended

from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application


@pytest.fixture
async def api() -> AsyncIterator[Extended]:
    async with in_memory_api() as memory:
        yield Extended(Connection(application(memory.core, ApiConfig())))
