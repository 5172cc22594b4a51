"""One supervised process: started, watched, restarted with back-off, stopped in an orderly way, its log kept small.

A process is started through `setpriv --pdeathsig`, so that it ends when its supervisor is killed; what should have
survived even that is found again by its pid file, whose process id is trusted only together with its start time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from orch_cli.pki import write_private

_log = logging.getLogger(__name__)

FIRST_BACK_OFF = 0.2
LONGEST_BACK_OFF = 10.0
STEADY_AFTER = 30.0
"""A process that ran this many seconds starts over with the first back-off."""

LOG_LIMIT = 16 << 20
LOG_GENERATIONS = 2


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `stop_timeout` seconds after SIGTERM comes SIGKILL; the highest `stage` is stopped first."""

    name: str
    argv: tuple[str, ...]
    stage: int
    environ: Mapping[str, str] = {}
    stop_timeout: float = 12


class Pid(msgspec.Struct, frozen=True):
    """A process, told apart from a later one of the same number by its start in clock ticks since boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Say whether this very process still runs."""
        return start_ticks(self.pid) == self.started


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a process fares, for `orch status`."""

    name: str
    pid: Pid | None
    restarts: int
    last_exit: str = ""


def start_ticks(pid: int) -> int:
    """Return when the process started, in clock ticks since boot; 0 when it does not run (a zombie does not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def started_ago(pid: Pid) -> float:
    """Return the process's age in seconds."""
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, since_boot - pid.started / os.sysconf("SC_CLK_TCK"))


def read_pid(path: Path) -> Pid | None:
    """Return what a pid file says, None when there is none or it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pid)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def stop_remaining(pid: Pid, *, timeout: float) -> None:
    """End a process that is not our child: SIGTERM, then after `timeout` seconds SIGKILL. Returns when it is gone."""
    for sent, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        if not pid.alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid.pid, sent)
        deadline = time.monotonic() + patience
        while pid.alive() and time.monotonic() < deadline:
            time.sleep(0.02)


class Supervised:
    """Keeps one program running until it is told to stop. Without a folder for logs, it writes where we write."""

    def __init__(self, program: Program, *, logs: Path | None, pids: Path) -> None:
        self.program = program
        self._log_file = logs / f"{program.name}.log" if logs else None
        self._pid_file = pids / f"{program.name}.pid"
        self._pid: Pid | None = None
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._restarts = 0
        self._last_exit = ""

    @property
    def report(self) -> ProcessReport:
        """How the process fares now."""
        return ProcessReport(name=self.program.name, pid=self._pid, restarts=self._restarts, last_exit=self._last_exit)

    async def run(self) -> None:
        """Run the program again and again until `stop`. What a killed supervisor left of it is ended first."""
        try:
            left = read_pid(self._pid_file)
            if left is not None:
                await asyncio.to_thread(stop_remaining, left, timeout=self.program.stop_timeout)
            await self._run_again_and_again()
        finally:
            self._finished.set()

    async def stop(self) -> None:
        """End the process, gently first, and do not start it again. Returns when it is gone."""
        self._stopping.set()
        await self._finished.wait()

    async def _run_again_and_again(self) -> None:
        back_off = FIRST_BACK_OFF
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - began >= STEADY_AFTER:
                back_off = FIRST_BACK_OFF
            _log.warning("%s ended (%s); next start in %.1f s", self.program.name, self._last_exit, back_off)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), back_off)
            back_off = min(back_off * 2, LONGEST_BACK_OFF)
            self._restarts += 1

    async def _run_once(self) -> None:
        try:
            process = await self._start()
        except OSError as error:
            self._last_exit = f"cannot be started: {error}"
            return
        self._pid = Pid(process.pid, start_ticks(process.pid))
        write_private(self._pid_file, msgspec.json.encode(self._pid))
        try:
            code = await self._wait(process)
        except asyncio.CancelledError:
            _signal(process, signal.SIGKILL)
            raise
        finally:
            self._pid = None
            self._pid_file.unlink(missing_ok=True)
        self._last_exit = _describe(code)

    async def _start(self) -> asyncio.subprocess.Process:
        output = None
        if self._log_file is not None:
            rotate(self._log_file)
            output = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                "setpriv",
                *("--pdeathsig", "TERM", "--", *self.program.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.program.environ},
                start_new_session=True,
            )
        finally:
            if output is not None:
                os.close(output)

    async def _wait(self, process: asyncio.subprocess.Process) -> int:
        """Return the exit code. When told to stop meanwhile, end the process first."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                _signal(process, signal.SIGTERM)
                await asyncio.wait((ended,), timeout=self.program.stop_timeout)
            if not ended.done():
                _log.warning("%s did not end within %g s and is killed", self.program.name, self.program.stop_timeout)
                _signal(process, signal.SIGKILL)
            return await ended
        finally:
            stopping.cancel()
            ended.cancel()


async def stop_in_order(group: Sequence[Supervised], *, stopped: Callable[[str], None] = lambda _names: None) -> None:
    """Stop the programs, those of the highest stage first; call `stopped` with the names of each stage when it is."""
    stages: dict[int, list[Supervised]] = {}
    for each in group:
        stages.setdefault(each.program.stage, []).append(each)
    for stage in sorted(stages, reverse=True):
        await asyncio.gather(*(each.stop() for each in stages[stage]))
        stopped(", ".join(each.program.name for each in stages[stage]))


def rotate(log_file: Path, *, limit: int = LOG_LIMIT) -> None:
    """Move a log that has outgrown `limit` aside. Its writer appends and goes on at the start of the emptied file.

    What is written between copy and truncation is lost: a line or two, once in many megabytes.
    """
    if not log_file.exists() or log_file.stat().st_size < limit:
        return
    for generation in range(LOG_GENERATIONS, 1, -1):
        older = log_file.with_name(f"{log_file.name}.{generation - 1}")
        if older.exists():
            older.replace(log_file.with_name(f"{log_file.name}.{generation}"))
    shutil.copyfile(log_file, log_file.with_name(f"{log_file.name}.1"))
    os.truncate(log_file, 0)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _describe(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
