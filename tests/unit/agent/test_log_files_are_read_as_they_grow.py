from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orch.clock import ManualClock, SystemClock
from orch_agent.runtimes.logfile import read_log
from orch_agent.runtimes.protocol import STDERR, STDOUT, LogQuery


def record(second: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-01-01T00:00:{second:02d}.123456789+00:00 {stream} {tag} {text}\n"


async def ended() -> bool:
    return True


async def read(path: Path, **query: Any) -> list[Any]:
    return [line async for lines in read_log(path, LogQuery(**query), ManualClock(), ended) for line in lines]


async def test_lines_keep_time_stream_and_newline(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record(1, "one  two ") + record(2, "", "stderr"))
    first, second = await read(log)
    assert (first.time, first.stream, first.data) == ("2026-01-01T00:00:01.123456789Z", STDOUT, b"one  two \n")
    assert (second.stream, second.data) == (STDERR, b"\n")


async def test_parts_of_a_long_line_are_one_line_for_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record(1, "a") + record(2, "b1", tag="P") + record(2, "b2", tag="P") + record(2, "b3"))
    assert [line.data for line in await read(log, tail=1)] == [b"b1", b"b2", b"b3\n"]
    assert await read(log, tail=0) == []


async def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record(1, "a") + record(5, "b"))
    since = datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert [line.data for line in await read(log, since=since)] == [b"b\n"]
    assert [line.data for line in await read(log, since=since, tail=5)] == [b"b\n"]


async def test_a_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert await read(tmp_path / "none") == []


async def test_a_follower_sees_what_is_written_later_even_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record(1, "one"))
    over = False
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def is_over() -> bool:
        return over

    async def follow() -> None:
        async for lines in read_log(log, LogQuery(follow=True), SystemClock(), is_over):
            for line in lines:
                seen.put_nowait(line.data)

    following = asyncio.create_task(follow())
    async with asyncio.timeout(10):
        assert await seen.get() == b"one\n"
        with log.open("a") as more:
            more.write(record(2, "two"))
        assert await seen.get() == b"two\n"
        fresh = tmp_path / "fresh"
        fresh.write_text(record(3, "three"))
        fresh.replace(log)
        assert await seen.get() == b"three\n"
        over = True
        await following
