from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orch_cli import process
from orch_cli.process import Pid, Program, Supervised, read_pid, rotate, start_ticks, stop_remaining


@asynccontextmanager
async def running(folder: Path, *argv: str, stop_timeout: float = 5) -> AsyncIterator[Supervised]:
    program = Program(name="it", argv=argv, stage=0, stop_timeout=stop_timeout)
    supervised = Supervised(program, logs=folder, pids=folder)
    task = asyncio.create_task(supervised.run())
    try:
        yield supervised
    finally:
        await supervised.stop()
        await task


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"])


async def until(condition: Callable[[], bool], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - another process's doing has no event
            await asyncio.sleep(0.01)


async def test_what_dies_is_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, "sleep", "600") as supervised:
        await until(lambda: supervised.report.pid is not None)
        first = supervised.report.pid
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: supervised.report.pid not in (None, first))
        assert supervised.report.restarts == 1
        assert supervised.report.last_exit == "killed by SIGKILL"
        assert read_pid(tmp_path / "it.pid") == supervised.report.pid
    assert not (tmp_path / "it.pid").exists()


async def test_a_program_that_ends_at_once_is_tried_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_BACK_OFF", 0.02)
    monkeypatch.setattr(process, "LONGEST_BACK_OFF", 0.1)
    starts = tmp_path / "starts"
    async with running(tmp_path, "sh", "-c", f"date +%s.%N >>{starts}; exit 3") as supervised:
        await until(lambda: supervised.report.restarts >= 5)
        assert supervised.report.last_exit == "exit code 3"
    moments = [float(line) for line in starts.read_text().split()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    for pause, at_least in zip(pauses, (0.02, 0.04, 0.08, 0.1, 0.1), strict=False):
        assert pause >= at_least


async def test_a_program_that_is_not_there_is_reported(tmp_path: Path) -> None:
    async with running(tmp_path, "/nowhere/to/be/found") as supervised:
        await until(lambda: supervised.report.last_exit != "")
        assert "exit code 127" in supervised.report.last_exit
        assert "/nowhere/to/be/found" in (tmp_path / "it.log").read_text()


async def test_one_that_ignores_sigterm_is_killed_in_the_end(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    async with running(
        tmp_path, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done", stop_timeout=0.2
    ) as supervised:
        await until(lambda: log.exists() and "up" in log.read_text())
        pid = supervised.report.pid
        assert pid is not None
        await supervised.stop()
        assert not pid.alive()
        assert supervised.report.last_exit == "killed by SIGKILL"


async def test_stopping_is_possible_at_any_moment(tmp_path: Path) -> None:
    for pause in (0, 0.001, 0.003, 0.01):
        async with running(tmp_path, "sleep", "600") as supervised:
            await asyncio.sleep(pause)
            await supervised.stop()
            assert supervised.report.pid is None


async def test_what_a_killed_supervisor_left_is_ended_first(tmp_path: Path) -> None:
    left = sleeper()
    try:
        (tmp_path / "it.pid").write_text(f'{{"pid":{left.pid},"started":{start_ticks(left.pid)}}}')
        async with running(tmp_path, "sleep", "600") as supervised:
            await until(lambda: supervised.report.pid is not None)
            assert left.wait(timeout=5) == -signal.SIGTERM
    finally:
        left.kill()
        left.wait()


def test_a_process_of_the_same_number_but_another_start_is_left_alone() -> None:
    other = sleeper()
    try:
        impostor = Pid(other.pid, start_ticks(other.pid) - 100)
        assert not impostor.alive()
        stop_remaining(impostor, timeout=1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_program_ends_with_its_supervisor(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from orch_cli.process import Program, Supervised; "
        "folder = Path(sys.argv[1]); program = Program(name='it', argv=('sleep', '600'), stage=0); "
        "asyncio.run(Supervised(program, logs=folder, pids=folder).run())"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        deadline = time.monotonic() + 10
        while (pid := read_pid(tmp_path / "it.pid")) is None:
            assert time.monotonic() < deadline
        supervisor.kill()
        supervisor.wait()
        while pid.alive():
            assert time.monotonic() < deadline
    finally:
        supervisor.kill()
        supervisor.wait()


def test_a_log_is_rotated_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    with log.open("ab", buffering=0) as writer:
        for generation in range(4):
            writer.write(b"%d" % generation * 100)
            rotate(log, limit=100)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "it.log.1").read_bytes() == b"3" * 100
    assert (tmp_path / "it.log.2").read_bytes() == b"2" * 100
    assert not (tmp_path / "it.log.3").exists()
