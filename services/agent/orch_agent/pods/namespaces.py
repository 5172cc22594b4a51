"""What the containers of a pod share beside their network: IPC, memory at /dev/shm, processes, settings of the kernel.

Podman's own pods would do it with one container more for each pod, at the price of a third of all starts. Here a
thread makes an IPC namespace and leaves it mounted under a name; only pods that share their processes get a process of
their own, whose one duty is to be the first and to reap orphans. All of it outlives the agent.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from orch.errors import OrchError
from orch_agent.pods.pause import CLONE_NEWIPC, CLONE_NEWNET, PauseError, enter, start, unshare
from orch_agent.runtimes.cgroups import GroupError, Hierarchy
from orch_agent.runtimes.protocol import SandboxSpec
from orch_agent.volumes.kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, unmount
from orch_agent.volumes.protocol import in_thread

_SHARED_MEMORY_SIZE: Final = "64m"
_SYSCTLS: Final = Path("/proc/sys")
_NETWORK: Final = "net."
_AS_PATH: Final = str.maketrans("./", "/.")
_END_TIMEOUT: Final = 5.0


class NamespaceError(OrchError):
    """The kernel refused a pod's namespaces or one of their settings."""


class PodNamespaces:
    """Makes and removes what pods share, by their uids, below `folder`; without one (no real containers) nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def ensure(self, uid: str, wanted: SandboxSpec, network: str, group: str = "") -> tuple[SandboxSpec, bool]:
        """Return `wanted` with what was made for it, and whether that had to be made. Raises NamespaceError.

        `network` is the pod's network namespace, a path, in which its sysctls are set; "" is the node's. `group` is
        the control group in which a process of the pod's own is to be.
        """
        if self._folder is None:
            return wanted, False
        try:
            return await in_thread(self._ensure, self._folder / uid, wanted, network, group)
        except (OSError, GroupError, PauseError) as error:
            raise NamespaceError(f"namespaces of the pod: {error}") from error

    async def remove(self, uid: str) -> None:
        """End and unmount what a pod shared; nothing if there is none. Raises NamespaceError."""
        if self._folder is None:
            return
        try:
            await in_thread(_remove, self._folder / uid)
        except OSError as error:
            raise NamespaceError(f"namespaces of the pod cannot be removed: {error}") from error

    async def owners(self) -> Sequence[str]:
        """Return the uids of the pods for which something stands."""
        folder = self._folder
        if folder is None or not folder.is_dir():
            return []
        return [entry.name for entry in await in_thread(lambda: list(folder.iterdir()))]

    @staticmethod
    def _ensure(folder: Path, wanted: SandboxSpec, network: str, group: str) -> tuple[SandboxSpec, bool]:
        ipc, memory, marker, pause = folder / "ipc", folder / "shm", folder / "complete", folder / "pause.pid"
        whole = marker.exists() and (not wanted.shares_processes or _process(pause))
        if not whole:
            _remove(folder)
            folder.mkdir(parents=True)
            folder.chmod(0o700)
            _in_thread(lambda: _set(wanted.sysctls, network, in_network=True))
            if not wanted.host_ipc:
                _make_memory(memory)
                ipc.touch()
                _in_thread(lambda: _make_ipc(ipc, wanted.sysctls))
            if wanted.shares_processes:
                own_ipc = "" if wanted.host_ipc else str(ipc)
                _in_thread(lambda: _start_pause(folder, network, own_ipc))
                _note_start(pause)
                if group:
                    Hierarchy().add(group, _process(pause))
            # The marker comes last: its presence is what says that all the rest is there.
            marker.touch()
        made = msgspec.structs.replace(
            wanted,
            ipc_namespace="" if wanted.host_ipc else str(ipc),
            shared_memory="" if wanted.host_ipc else str(memory),
            process_namespace=f"/proc/{_process(pause)}/ns/pid" if wanted.shares_processes else "",
        )
        return made, not whole


def _in_thread(work: Callable[[], None]) -> None:
    """Run in a thread that ends: one that has entered a namespace must serve nobody else. Raises what `work` raises."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run, name="namespaces")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _make_memory(path: Path) -> None:
    path.mkdir()
    mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"mode=1777,size={_SHARED_MEMORY_SIZE}")


def _make_ipc(path: Path, sysctls: Sequence[tuple[str, str]]) -> None:
    unshare(CLONE_NEWIPC)
    _set(sysctls, "", in_network=False)
    mount("/proc/thread-self/ns/ipc", path, flags=MS_BIND)


def _set(sysctls: Sequence[tuple[str, str]], network: str, *, in_network: bool) -> None:
    """Set those that belong to the network, or all the others, in the namespace that this thread is in."""
    chosen = [each for each in sysctls if each[0].startswith(_NETWORK) is in_network]
    if not chosen:
        return
    if in_network:
        if not network:
            raise NamespaceError(f"sysctl {chosen[0][0]} cannot be set in the node's own network")
        enter(network, CLONE_NEWNET)
    for name, value in chosen:
        path = PurePath(name.translate(_AS_PATH))
        if path.is_absolute() or ".." in path.parts:
            raise NamespaceError(f"sysctl {name} is no name of a setting")
        try:
            (_SYSCTLS / path).write_text(value)
        except OSError as error:
            raise NamespaceError(f"sysctl {name} cannot be set to {value!r}: {error.strerror}") from error


def _start_pause(folder: Path, network: str, ipc: str) -> None:
    root, pid_file = folder / "root", folder / "pause.pid"
    root.mkdir()
    # Opened before: the thread has no way to it afterwards.
    with pid_file.open("w") as note:
        pid = start(root, network, ipc)
        note.write(str(pid))


def _note_start(pid_file: Path) -> None:
    """Add to a process's id when it was started, which tells it from a later one with the same id."""
    pid = int(pid_file.read_text())
    pid_file.write_text(f"{pid} {_started(pid)}")


def _process(pid_file: Path) -> int:
    """Return the id of a pod's first process, 0 if it has ended: an id is given anew, but not with the same start."""
    try:
        pid, _, started = pid_file.read_text().partition(" ")
    except FileNotFoundError:
        return 0
    if not pid.isdecimal():
        return 0
    # An agent that was killed at once did not come to say when it started: then its name tells.
    same = _started(int(pid)) == started if started else _is_pause(int(pid))
    return int(pid) if same else 0


def _is_pause(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"/pause\0"
    except OSError:
        return False


def _started(pid: int) -> str:
    """Return when a process was started, in the kernel's ticks; "" when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19] if fields[0] not in {"Z", "X"} else ""


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    (folder / "complete").unlink(missing_ok=True)
    pid = _process(folder / "pause.pid")
    if pid:
        _end(pid)
    _reap(folder / "pause.pid")
    for name in ("ipc", "shm"):
        path = folder / name
        while path.exists() and _is_mounted(path):
            unmount(path)
    shutil.rmtree(folder)


def _end(pid: int) -> None:
    """Kill a pod's first process, and with it all others in its namespace; wait until it is gone."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(watched, signal.SIGKILL)
        if not select.select([watched], [], [], _END_TIMEOUT)[0]:
            raise NamespaceError(f"the first process of the pod, {pid}, does not end within {_END_TIMEOUT:g} s")
    except ProcessLookupError:
        return
    finally:
        os.close(watched)


def _reap(pid_file: Path) -> None:
    """Take note of the end of a process, if it was this agent's own."""
    pid = pid_file.read_text().partition(" ")[0] if pid_file.exists() else ""
    if pid.isdecimal():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(pid), os.WNOHANG)


def _is_mounted(path: Path) -> bool:
    """Return whether something is mounted at `path` itself."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split(" ")[4] == str(path) for line in lines)
