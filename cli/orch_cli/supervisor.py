"""Runs a local cluster: starts its processes, says when it is ready, restarts what dies, stops all in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from orch.errors import OrchError
from orch_cli.cluster import Cluster
from orch_cli.layout import Layout
from orch_cli.pki import write_private
from orch_cli.process import Pid, ProcessReport, Supervised, rotate, start_ticks, started_ago, stop_in_order
from orch_cli.programs import NATS
from orch_cli.readiness import ApiProbe
from orch_cli.upkeep import Upkeep

_log = logging.getLogger(__name__)

Phase = Literal["starting", "ready", "stopping"]

_TICK: Final = 0.1
_ROTATE_EVERY: Final = 10.0
_SETTLED: Final = 2.0
_HOPELESS_RESTARTS: Final = 5
"""A process that was restarted this often before the cluster was ever ready will not get better by itself."""


_MISCONFIGURED: Final = "exit code 2"
"""How a service says that its configuration is wrong."""


class SupervisorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `orch status` and a detached `orch up` read. `progress` holds the lines that `orch up` prints."""

    pid: Pid
    phase: Phase
    progress: tuple[str, ...] = ()
    ready_after: float = 0
    processes: tuple[ProcessReport, ...] = ()


class StartFailedError(OrchError):
    """The cluster did not become ready; the message says what is wrong and where to look."""


def read_report(layout: Layout) -> SupervisorReport | None:
    """Return what the supervisor wrote last, None when there is none; whether it still lives is another question."""
    try:
        return msgspec.json.decode(layout.report_file.read_bytes(), type=SupervisorReport)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


class Supervisor:
    """Owns all processes of one cluster."""

    def __init__(self, cluster: Cluster, *, say: Callable[[str], None], began: float) -> None:
        self._cluster = cluster
        self._layout = cluster.layout
        self._say = say
        self._began = began
        self._pid = Pid(os.getpid(), start_ticks(os.getpid()))
        self._progress: list[str] = []
        self._phase: Phase = "starting"
        self._ready_after = 0.0
        self._supervised: list[Supervised] = []
        self._watching: list[asyncio.Task[None]] = []
        self._written = b""

    async def run(self, stop: asyncio.Event) -> None:
        """Bring the cluster up and keep it so until `stop` is set.

        Raises StartFailedError, having stopped everything, and OrchError for what could not be made or removed.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._watching += [tasks.create_task(self._keep_report()), tasks.create_task(self._keep_logs_small())]
                try:
                    await self._come_up(tasks, stop)
                    await stop.wait()
                finally:
                    await self._go_down()
                    for task in self._watching:
                        task.cancel()
        except* OrchError as group:
            raise group.exceptions[0] from None
        finally:
            self._layout.report_file.unlink(missing_ok=True)

    async def _come_up(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        self._layout.pids.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_report()
        programs, probe = await asyncio.to_thread(self._cluster.prepare)
        self._tell("certificates, keys and configuration are in place")
        for program in programs:
            supervised = Supervised(program, logs=self._layout.logs, pids=self._layout.pids)
            self._supervised.append(supervised)
            tasks.create_task(supervised.run())
        self._watching.append(tasks.create_task(Upkeep(self._cluster, self._nats).run(), name="upkeep"))
        self._tell(f"started {', '.join(each.program.name for each in self._supervised)}")
        waiting = asyncio.ensure_future(self._await_ready(probe))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()
            stopping.cancel()

    def _nats(self) -> Pid | None:
        return next((each.report.pid for each in self._supervised if each.program.name == NATS), None)

    async def _await_ready(self, probe: ApiProbe) -> None:
        deadline = time.monotonic() + self._cluster.start_deadline
        await self._settle_store(deadline)
        await self._poll(probe.ready, deadline, "the API does not answer /readyz")
        self._tell(f"the API answers at {self._cluster.server}")
        expected = frozenset(self._cluster.state.node_names())
        began = datetime.now(UTC) - timedelta(seconds=time.monotonic() - self._began)
        await self._poll(lambda: expected <= probe.ready_nodes(began), deadline, "not all nodes are Ready")
        await self._poll(self._all_run, deadline, "not all processes stay up")
        self._ready_after = time.monotonic() - self._began
        self._phase = "ready"
        self._tell(f"{len(expected)} {'nodes are' if len(expected) > 1 else 'node is'} Ready")

    async def _settle_store(self, deadline: float) -> None:
        """See to it that etcd serves its users alone. Services that were faster notice nothing of it."""
        settling = asyncio.create_task(self._cluster.settle_store(), name="etcd's users")
        try:
            await self._poll(settling.done, deadline, "etcd does not answer")
            if settling.result():
                self._tell("etcd has a user for each service, and serves nobody else")
        finally:
            settling.cancel()
            await asyncio.wait({settling})

    def _all_run(self) -> bool:
        """Say whether every process runs, and whatever had to be restarted has done so for a while."""
        pids = [(report.pid, report.restarts) for report in (each.report for each in self._supervised)]
        return all(pid is not None and (not restarts or started_ago(pid) > _SETTLED) for pid, restarts in pids)

    async def _poll(self, condition: Callable[[], bool], deadline: float, problem: str) -> None:
        pause = _TICK / 2
        while not await asyncio.to_thread(condition):
            self._refuse_hopeless()
            if time.monotonic() > deadline:
                raise StartFailedError(
                    f"{problem} after {self._cluster.start_deadline:.0f} s; the logs are in {self._layout.logs}"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 0.5)

    def _refuse_hopeless(self) -> None:
        for each in self._supervised:
            report = each.report
            if report.restarts >= _HOPELESS_RESTARTS or report.last_exit == _MISCONFIGURED:
                log_file = self._layout.logs / f"{report.name}.log"
                last = "\n".join(f"    {line}" for line in _last_lines(log_file))
                raise StartFailedError(f"{report.name} does not stay up ({report.last_exit}):\n{last}")

    async def _go_down(self) -> None:
        self._phase = "stopping"
        self._began = time.monotonic()
        await stop_in_order(self._supervised, stopped=lambda names: self._tell(f"stopped {names}"))
        await asyncio.to_thread(self._cluster.clear)

    def _tell(self, line: str) -> None:
        self._progress.append(f"{time.monotonic() - self._began:6.2f} s  {line}")
        self._say(self._progress[-1])
        self._write_report()

    async def _keep_report(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._write_report()

    def _write_report(self) -> None:
        report = SupervisorReport(
            pid=self._pid,
            phase=self._phase,
            progress=tuple(self._progress),
            ready_after=self._ready_after,
            processes=tuple(each.report for each in self._supervised),
        )
        encoded = msgspec.json.encode(report)
        if encoded != self._written:
            write_private(self._layout.report_file, encoded)
            self._written = encoded

    async def _keep_logs_small(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY)
            for each in self._supervised:
                await asyncio.to_thread(rotate, self._layout.logs / f"{each.program.name}.log")


def _last_lines(log_file: os.PathLike[str], count: int = 12) -> Sequence[str]:
    with contextlib.suppress(FileNotFoundError), open(log_file, "rb") as file:  # noqa: PTH123 - any path-like
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8192))
        return file.read().decode(errors="replace").splitlines()[-count:]
    return ()
