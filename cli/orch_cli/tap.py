"""The cluster's changes as they pass on the bus: `orch events` prints them, `orch nats` lets the NATS CLI in."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from contextlib import aclosing

from google.protobuf.message import DecodeError

from orch.bus.nats import NatsBus
from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import OBJECTS, inbox_prefix
from orch.errors import OrchError
from orch_cli.identities import ADMIN, Identity, issue_identities
from orch_cli.layout import Layout
from orch_cli.state import ClusterState, load_state
from orch_pb.v1 import object_pb2

Say = Callable[[str], None]


def nats_arguments(layout: Layout) -> int:
    """Print what the NATS CLI must be told to connect as the administrator."""
    state, admin = _administrator(layout)
    arguments = [
        f"--server=tls://127.0.0.1:{state.ports.nats}",
        f"--tlsca={admin.pair.authority}",
        f"--tlscert={admin.pair.certificate}",
        f"--tlskey={admin.pair.key}",
        f"--nkey={admin.seed_file}",
        f"--inbox-prefix={inbox_prefix(admin.user)}",
    ]
    print(shlex.join(arguments))
    return 0


def events(layout: Layout, *, known: bool) -> int:
    """Print every change of every object until interrupted; with `known`, first what there is."""
    state, admin = _administrator(layout)

    async def run() -> None:
        bus = await NatsBus.connect(admin.nats(f"127.0.0.1:{state.ports.nats}"))
        try:
            await tap(bus, lambda line: print(line, flush=True), known=known)
        finally:
            await bus.close()

    asyncio.run(run())
    return 0


async def tap(bus: Bus, say: Say, *, known: bool) -> None:
    """Say each change on a line, for ever."""
    live = known
    async with aclosing(bus.follow(OBJECTS.name, OBJECTS.subjects)) as messages:
        async for message in messages:
            if isinstance(message, Message):
                line = describe(message) if live else ""
                if line:
                    say(line)
            elif message is Signal.SYNCED:
                live = True


def describe(message: Message) -> str:
    """Return a change as a line: version, what happened, to what; "" for the relay's markers."""
    try:
        event = object_pb2.ObjectEvent.FromString(message.data)
    except DecodeError:
        return f"{message.subject}: not an ObjectEvent"
    if event.type == object_pb2.PROGRESS:
        return ""
    kind = f"{event.resource}.{event.group}" if event.group else event.resource
    name = f"{event.namespace}/{event.name}" if event.namespace else event.name
    trace = event.trace.traceparent.split("-")[1] if event.trace.traceparent else ""
    return f"{event.revision} {object_pb2.ChangeType.Name(event.type):<8} {kind} {name} {trace}".rstrip()


def _administrator(layout: Layout) -> tuple[ClusterState, Identity]:
    state = load_state(layout)
    if state is None:
        raise OrchError(f"there is no cluster in {layout.root}")
    return state, issue_identities(layout.pki, state.node_names()).clients[ADMIN]
