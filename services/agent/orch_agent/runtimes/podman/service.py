"""Podman's REST service as a child process: written configuration, start, watch, stop.

Containers do not depend on it: each has a conmon of its own, so the service may die and be started again, and the
agent too, without any of them noticing. One that does not answer any more is ended, and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.config import Duration
from orch.errors import UnavailableError
from orch_agent.runtimes.podman.capabilities import DEFAULT

_LOG: Final = logging.getLogger(__name__)
_RESTARTS: Final = Counter("orch_agent_podman_restarts_total", "Times that the Podman service was started again.")
_HANGS: Final = Counter("orch_agent_podman_hangs_total", "Times that the Podman service was ended as it hung.")
LONGEST_RUNROOT: Final = 50
LONGEST_SOCKET: Final = 107
_VOLATILE: Final = Path("/run/orch-agent")
_START_TIMEOUT: Final = 20.0
_STOP_TIMEOUT: Final = 2.0
_POLL: Final = 0.05
_PINGS: Final = 6
"""How often a service is asked, in the time after which one that is silent counts as hanging."""
_PING: Final = b"GET /_ping HTTP/1.0\r\nHost: podman\r\n\r\n"
_FIRST_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 10.0


class PodmanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Podman keeps its data and how it runs containers.

    Folders that are not set are made: `root` under the agent's state, the others under /run, as they hold what must not
    outlive the machine's uptime. (Elsewhere they are cleared after a boot. Podman wants a runroot of at most 50
    characters, and the kernel a socket of at most 107.) `cgroup_parent` is the node's group. `image_stores` are
    read-only stores shared among nodes. `exec_memory` is for how many seconds Podman remembers a command that has
    ended, holding two processes for it. `handlers` are OCI runtimes (names or paths) by the handlers of runtime
    classes. A service that has not answered for `hang_timeout` is started again.
    """

    binary: str = "podman"
    root: str = ""
    runroot: str = ""
    tmpdir: str = ""
    socket: str = ""
    image_stores: tuple[str, ...] = ()
    registries_file: str = ""
    oci_runtime: str = "runc"
    handlers: dict[str, str] = {}
    cgroup_parent: str = ""
    nofile: int = 20_000
    nproc: int = 32_768
    exec_memory: int = 10
    hang_timeout: Duration = 60.0


class PodmanService:
    """One node's Podman service, inside the network namespace that is the node. `placed` puts it into its group."""

    def __init__(
        self,
        settings: PodmanSettings,
        state: Path,
        network_namespace: str,
        clock: Clock,
        *,
        placed: Callable[[int], None] | None = None,
    ) -> None:
        self._settings = settings
        self._state = state = state.absolute()
        self._network_namespace = network_namespace
        self._clock = clock
        self._placed = placed
        self._process: asyncio.subprocess.Process | None = None
        volatile = _VOLATILE / hashlib.sha256(str(state).encode()).hexdigest()[:12]
        self._root = Path(settings.root or state / "containers").absolute()
        self._runroot = Path(settings.runroot or volatile / "run").absolute()
        self._tmpdir = Path(settings.tmpdir or volatile / "tmp").absolute()
        self.socket = Path(settings.socket or volatile / "podman.sock").absolute()

    async def run(self) -> None:
        """Keep the service running until cancelled, then stop it; its containers go on."""
        delay = _FIRST_RETRY
        while True:
            begun = self._clock.monotonic()
            try:
                await asyncio.to_thread(self._prepare)
                outcome = await self._serve()
            except OSError as error:  # such as a disk that is full
                outcome = f"cannot be started: {error}"
            finally:
                await self._stop()
            if self._clock.monotonic() - begun > _LONGEST_RETRY:
                delay = _FIRST_RETRY
            _RESTARTS.inc()
            _LOG.error("the Podman service %s; it starts again in %.1f s", outcome, delay)
            await self._clock.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY)

    def command(self, *arguments: str) -> list[str]:
        """Return Podman's command line for the node's own storage."""
        stores = [f"--storage-opt=additionalimagestore={store}" for store in self._settings.image_stores]
        folders = ["--root", str(self._root), "--runroot", str(self._runroot), "--tmpdir", str(self._tmpdir)]
        return [self._settings.binary, *folders, *stores, *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment that makes Podman read the node's configuration instead of the machine's."""
        registries = self._settings.registries_file
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self._state / "containers.conf"),
            **({"CONTAINERS_REGISTRIES_CONF": registries} if registries else {}),
        }

    async def wait_ready(self) -> None:
        """Wait until the service takes connections. Raises UnavailableError after 20 s."""
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while not await self._answers():
                    await self._clock.sleep(_POLL)
        except TimeoutError as error:
            raise UnavailableError(f"Podman does not answer on {self.socket}; see {self._log}") from error

    @property
    def exits(self) -> Path:
        """The folder in which monitors say how their containers ended."""
        return self._tmpdir / "exits"

    @property
    def _log(self) -> Path:
        return self._state / "podman.log"

    @property
    def _pid_file(self) -> Path:
        return self._state / "podman.pid"

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def _serve(self) -> str:
        """Start the service; return, when it serves no more, what became of it. Raises OSError."""
        await self._end_predecessor()
        self.socket.unlink(missing_ok=True)
        command = [
            # The service must not outlive an agent that was killed: the next one would meet it. It keeps no state but
            # on disk, and asked politely it waits for connections whose other end is gone.
            *("setpriv", "--pdeathsig", "KILL"),
            *(("nsenter", f"--net=/run/netns/{self._network_namespace}") if self._network_namespace else ()),
            *self.command("system", "service", "--time=0", f"unix://{self.socket}"),
        ]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                # conmon, when the kernel kills a container for its memory, leaves a note in the folder it works in.
                cwd=self._tmpdir,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
            )
        self._pid_file.write_text(str(self._process.pid))
        if self._placed is not None:
            # What it starts, the monitors of containers among it, is then where the service is.
            self._placed(self._process.pid)
        return await self._until_silent(self._process)

    async def _until_silent(self, process: asyncio.subprocess.Process) -> str:
        """Return when the process has ended, or has not answered for too long."""
        ended = asyncio.ensure_future(process.wait())
        patience = self._settings.hang_timeout
        pause, limit = patience / _PINGS, max(patience, _START_TIMEOUT)
        answered = self._clock.monotonic()
        try:
            while self._clock.monotonic() - answered < limit:
                await asyncio.wait((ended,), timeout=pause)
                if ended.done():
                    return f"ended with code {ended.result()}"
                if await self._pings(pause):
                    answered, limit = self._clock.monotonic(), patience
        finally:
            ended.cancel()
        _HANGS.inc()
        process.kill()  # it would not listen to anything else
        return "does not answer any more"

    async def _pings(self, timeout: float) -> bool:
        """Tell whether the service answers a question that takes none of its locks."""
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(_PING)
                    return bool(await reader.readline())
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._pid_file.unlink(missing_ok=True)

    async def _end_predecessor(self) -> None:
        """Make sure that the service of an agent that was killed is gone."""
        if not self._pid_file.exists():
            return
        text = self._pid_file.read_text().strip()
        while text.isdecimal() and str(self.socket) in _command_line(int(text)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(text), signal.SIGKILL)
            await self._clock.sleep(_POLL)
        self._pid_file.unlink(missing_ok=True)

    def _prepare(self) -> None:
        """Make the folders, forget what was running before the machine was booted, and write the configuration."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        marker = self._state / "boot-id"
        self._state.mkdir(parents=True, exist_ok=True)
        if marker.exists() and marker.read_text() != boot:
            shutil.rmtree(self._runroot, ignore_errors=True)
            shutil.rmtree(self._tmpdir, ignore_errors=True)
        marker.write_text(boot)
        for folder in (self._root, self._runroot, self._tmpdir, self.socket.parent):
            folder.mkdir(parents=True, exist_ok=True)
        settings = self._settings
        capabilities = ", ".join(f'"CAP_{name}"' for name in DEFAULT)
        (self._state / "containers.conf").write_text(
            "[containers]\n"
            f'default_ulimits = ["nofile={settings.nofile}:{settings.nofile}", '
            f'"nproc={settings.nproc}:{settings.nproc}"]\n'
            f"default_capabilities = [{capabilities}]\n"
            # Those of a pod are set once, when its namespaces are made; no container shall change them.
            "default_sysctls = []\n"
            "[engine]\n"
            f'runtime = "{settings.oci_runtime}"\n'
            'cgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\n'
            f"exit_command_delay = {settings.exec_memory}\n"
            # Locks in shared memory are one set for the whole machine; nodes that share it would meet there.
            'lock_type = "file"\n'
        )


def _command_line(pid: int) -> str:
    """Return a process's command line, "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
