"""What a command that asks the running cluster holds: the bus and the API, both as the administrator."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import msgspec

from orch.bus.nats import NatsBus
from orch.bus.protocol import Bus, Message
from orch.errors import OrchError
from orch_cli.administrator import AdministratorApi
from orch_cli.identities import ADMIN, issue_identities
from orch_cli.layout import Layout
from orch_cli.state import load_state


class Session(msgspec.Struct, frozen=True):
    """One command's connections. `timeout`: seconds that any single question may take."""

    bus: Bus
    api: AdministratorApi
    timeout: float


@asynccontextmanager
async def open_session(layout: Layout, timeout: float) -> AsyncGenerator[Session]:
    """Connect to the cluster in a state folder. Raises OrchError when there is none or it does not answer."""
    state = load_state(layout)
    if state is None:
        raise OrchError(f"there is no cluster in {layout.root}")
    admin = issue_identities(layout.pki, state.node_names()).clients[ADMIN]
    bus = await NatsBus.connect(admin.nats(f"127.0.0.1:{state.ports.nats}"), timeout=timeout)
    try:
        yield Session(bus, AdministratorApi(state.ports.api, admin.pair, timeout), timeout)
    finally:
        await bus.close()


async def newest(bus: Bus, stream: str, subject: str) -> list[Message]:
    """Return the newest message of each subject of a stream that matches, in the stream's order."""
    found: list[Message] = []
    async with aclosing(bus.follow(stream, [subject])) as messages:
        async for message in messages:
            if isinstance(message, Message):
                found.append(message)
            elif message.value == "synced":
                break
    return found
