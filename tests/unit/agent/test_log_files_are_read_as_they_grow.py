from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orch.clock import ManualClock, SystemClock
from orch_agent.runtimes.logfile import LogReader, files_of, read_log
from orch_agent.runtimes.podman.rotation import keep
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


async def test_files_of_former_times_are_part_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for second in range(1, 7):  # as conmon does it: a fresh file takes the name of the one before
        fresh = tmp_path / "log.tmp"
        fresh.write_text(record(second, f"a{second}") + record(second, f"b{second}"))
        fresh.replace(log)
        assert keep(str(log), 3, now + timedelta(seconds=second))
        assert not keep(str(log), 3, now + timedelta(seconds=second, milliseconds=1))
    assert len(os.listdir(tmp_path)) == 4  # noqa: PTH208 - of which two are one file
    assert [path.name for _, path in files_of(log)][-1] == "log"
    everything = [b"a4\n", b"b4\n", b"a5\n", b"b5\n", b"a6\n", b"b6\n"]
    assert [line.data for line in await read(log)] == everything
    for tail in range(8):
        assert [line.data for line in await read(log, tail=tail)] == (everything[-tail:] if tail else [])
    assert [line.data for line in await read(log, tail=9, since=now + timedelta(seconds=6))] == everything[-2:]


async def test_a_follower_misses_no_file_though_several_were_begun_meanwhile(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reader = LogReader(log)
    assert reader.read() == []
    log.write_text(record(1, "one"))
    assert [line.data for line in reader.read()] == [b"one\n"]
    with log.open("a") as more:
        more.write(record(2, "two"))
    for second, text in ((3, "three"), (4, "four")):
        log.rename(tmp_path / f"log.2026010{second}")  # as it is done for CRI runtimes
        log.write_text(record(second, text))
    assert reader.behind() == sum(len(record(2, text)) for text in ("two", "three", "four"))
    found = [line.data for _ in range(3) for line in reader.read()]
    assert found == [b"two\n", b"three\n", b"four\n"]
    assert reader.behind() == 0
    place, again = reader.position, LogReader(log)
    assert again.go(place)
    assert again.read() == []
    reader.close()
    again.close()


async def test_the_end_of_a_long_log_is_found_without_reading_it_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(record(1, f"{number}", tag="F" if number % 3 else "P") for number in range(20_000)))
    reader = LogReader(log)
    reader.skip_to(10, None)
    assert reader.position.offset > log.stat().st_size - (256 << 10)
    reader.close()
    everything = [line.data for line in await read(log)]
    found = [line.data for line in await read(log, tail=500)]
    assert found == everything[-len(found) :]
    assert sum(data.endswith(b"\n") for data in found) == 500
