from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.permissions import ADMIN, API, permissions_of
from orch.bus.subjects import LOGS, log_subject, logs_of_pods
from orch.clock import ManualClock, SystemClock
from orch.errors import BusError, ConfigError, UnavailableError
from orch.runtime.pod_logs import collected_lines
from orch_agent.logs.collector import LogCollector
from orch_agent.logs.settings import LogSettings
from orch_agent.runtimes.protocol import ContainerInfo, Identity, LogLine, State
from orch_agent.runtimes.simulated import SimulatedRuntime
from orch_pb.v1 import logs_pb2


def record(text: str, stream: str = "stdout") -> str:
    return f"2026-01-01T00:00:01.123456789+00:00 {stream} F {text}\n"


class Files:
    """A runtime of which only the logs are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def log_file(self, container: str) -> Path | None:
        return self.folder / container


class Node:
    """Node n with two containers, c-0 and d-0, of pod p."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker(permissions=permissions_of)
        self.bus = self.broker.connect("system:node:n")
        self.reader = self.broker.connect(ADMIN)
        self.folder = folder
        self.clock = ManualClock()
        self.collectors: list[LogCollector] = []
        self.infos = [self.info("c"), self.info("d")]
        for info in self.infos:
            (folder / info.id).touch()

    def info(self, container: str, attempt: int = 0, state: State = State.RUNNING) -> ContainerInfo:
        identity = Identity(node="n", namespace="default", pod="p", uid="u", container=container, attempt=attempt)
        return ContainerInfo(id=f"{container}-{attempt}", identity=identity, state=state, image="i")

    def collector(self, **settings: Any) -> LogCollector:
        runtime: Any = Files(self.folder)
        wanted: dict[str, Any] = {"rest": 0, **settings}
        config, state = LogSettings(**wanted), self.folder / "collected.json"
        made = LogCollector("n", self.bus, self.clock, runtime, lambda: self.infos, config, state)
        self.collectors.append(made)
        return made

    def write(self, container: str, *texts: str) -> None:
        with (self.folder / container).open("a") as log:
            log.write("".join(map(record, texts)))

    async def collected(self, container: str = "") -> list[bytes]:
        subject = logs_of_pods("default", "p", container)
        return [line.data async for lines in collected_lines(self.reader, subject) for line in lines]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncGenerator[Node]:
    made = Node(tmp_path)
    await made.broker.connect(API).ensure_stream(LOGS)
    yield made
    for collector in made.collectors:
        collector.close()


async def test_what_is_written_comes_once_and_can_be_asked_for_by_container(node: Node) -> None:
    collector = node.collector()
    node.write("c-0", "one", "two")
    node.write("d-0", "other")
    await collector.collect()
    await collector.collect()
    node.write("c-0", "three")
    await collector.collect()
    assert await node.collected("c") == [b"one\n", b"two\n", b"three\n"]
    assert sorted(await node.collected()) == [b"one\n", b"other\n", b"three\n", b"two\n"]
    node.infos = [node.info("c", state=State.EXITED), node.info("c", attempt=1)]
    node.write("c-0", "last words")
    node.write("c-1", "again")
    await collector.collect()
    assert (await node.collected("c"))[3:] == [b"last words\n", b"again\n"]


async def test_the_last_is_collected_before_a_pod_goes(node: Node) -> None:
    collector = node.collector()
    node.write("c-0", "at once over")
    await collector.finish([node.info("c", state=State.EXITED)])
    assert await node.collected() == [b"at once over\n"]
    node.broker.stop()
    node.write("c-0", "lost")
    await collector.finish([node.info("c", state=State.EXITED)])  # and nothing waits for it for ever


async def test_a_new_process_goes_on_where_the_one_before_was(node: Node) -> None:
    node.write("c-0", "one")
    await node.collector().collect()
    other = node.collector()
    node.write("c-0", "two")
    running = asyncio.create_task(other.run())
    async with asyncio.timeout(10):
        while await node.collected() != [b"one\n", b"two\n"]:  # noqa: ASYNC110 - what was read has no event
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await node.collected() == [b"one\n", b"two\n"]
    (node.folder / "collected.json").write_text("{")
    node.write("c-0", "three")
    await node.collector().collect()  # one that does not know: what it sends again is told from what is new
    assert await node.collected() == [b"one\n", b"two\n", b"three\n"]


async def test_nothing_is_lost_while_the_bus_is_away(node: Node) -> None:
    collector = node.collector()
    node.write("c-0", "one")
    node.broker.stop()
    for _ in range(2):
        with pytest.raises((UnavailableError, BusError)):
            await collector.collect()
        node.write("c-0", "more")
    node.broker.start()
    await collector.collect()
    assert await node.collected() == [b"one\n", b"more\n", b"more\n"]


async def test_what_comes_too_fast_is_left_out_and_marked(node: Node) -> None:
    collector = node.collector(most_behind=100_000, most_bytes=10_000)
    node.write("c-0", *(f"{number}" for number in range(20_000)))
    node.write("d-0", "unhurt")
    for _ in range(4):
        await collector.collect()
    note, *lines = await node.collected("c")
    assert b"bytes of this log were left out" in note
    assert lines[-1] == b"19999\n"
    assert len(lines) < 3000
    assert await node.collected("d") == [b"unhurt\n"]
    taken = node.broker.streams["LOGS"]
    assert sum(len(message.data) for message in taken.newest((">",))) < 100_000


async def test_a_log_with_little_news_rests_and_ends_at_once(node: Node) -> None:
    collector = node.collector(rest=5)
    for text in ("one", "two"):
        node.write("c-0", text)
        await collector.collect()
    assert await node.collected() == [b"one\n"]
    await node.clock.advance(5)
    await collector.collect()
    assert await node.collected() == [b"one\n", b"two\n"]
    node.write("c-0", "three")
    node.infos[0] = node.info("c", state=State.EXITED)
    await collector.collect()
    assert len(await node.collected()) == 3


async def test_a_log_that_cannot_be_read_keeps_no_other_from_being_collected(node: Node) -> None:
    (node.folder / "c-0").unlink()
    (node.folder / "c-0").mkdir()
    node.write("d-0", "other")
    await node.collector().collect()
    assert await node.collected() == [b"other\n"]


async def test_a_runtime_without_files_is_asked(node: Node) -> None:
    class Memory(SimulatedRuntime):
        async def inspect(self, container: str) -> ContainerInfo | None:
            return node.infos[0]

        async def logs(self, container: str, query: Any) -> AsyncGenerator[Sequence[LogLine]]:
            yield self.said

        said: Sequence[Any] = ()

    runtime = Memory(SystemClock())
    collector = LogCollector("n", node.bus, ManualClock(), runtime, lambda: node.infos[:1], LogSettings(rest=0), None)
    for count in (1, 3):
        runtime.said = [LogLine("2026-01-01T00:00:00Z", 1, b"%d\n" % number) for number in range(count)]
        await collector.collect()
    assert await node.collected() == [b"0\n", b"1\n", b"2\n"]


async def test_what_is_no_piece_of_a_log_hides_no_other(node: Node) -> None:
    for subject, data in (
        (log_subject("n", "default", "p", "u", "c", 0, "1"), b"\xff"),
        (log_subject("n", "default", "p", "u", "c", 0, "2"), logs_pb2.LogPiece(lines=b"no").SerializeToString()),
        ("orch.logs.n.default.p.u.c.first.3", b""),
        ("orch.logs.n.default.p.u.c.0.4.more", b""),
    ):
        await node.bus.append(subject, data)
    node.write("c-0", "one")
    await node.collector().collect()
    assert await node.collected() == [b"one\n"]


async def test_a_piece_is_never_unpacked_beyond_its_bounds(node: Node) -> None:
    bomb = zlib.compress(record("x" * 90).encode() * 500_000, 9)
    piece = logs_pb2.LogPiece(lines=bomb, size=1)
    await node.bus.append(log_subject("n", "default", "p", "u", "c", 0, "1"), piece.SerializeToString())
    assert sum(map(len, await node.collected())) < 4 << 20


def test_settings_that_cannot_be_meant() -> None:
    LogSettings().check("logs")
    for settings, path in ((LogSettings(interval=0), "logs.interval"), (LogSettings(most_bytes=0), "logs.most_bytes")):
        with pytest.raises(ConfigError, match=path):
            settings.check("logs")
