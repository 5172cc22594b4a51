"""Runtimes to run the contract over: the simulated one, and Podman and containerd (by CRI) of this session's own.

All understand the same containers: the image for real ones holds a script that reads the variables by which a
simulated container is told what to do.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from containerd_node import ContainerdNode
from image_registry import HOST

from orch.clock import SystemClock
from orch.objects.pods import Container
from orch_agent.runtimes.cri.runtime import CriRuntime
from orch_agent.runtimes.podman.runtime import PodmanRuntime
from orch_agent.runtimes.podman.service import PodmanService, PodmanSettings
from orch_agent.runtimes.protocol import ContainerInfo, ContainerSpec, Identity, Runtime, State
from orch_agent.runtimes.simulated import SimulatedRuntime

IMAGE = "localhost/orch/behave:1"
NODE = "contract"
_BEHAVE = b"""#!/bin/sh
trap 'sleep ${SIMULATED_STOP_SECONDS:-0}; exit 0' TERM
echo "$NAME started"
if [ -n "$SIMULATED_RUN_SECONDS" ]; then
  sleep "$SIMULATED_RUN_SECONDS"
  exit "${SIMULATED_EXIT_CODE:-0}"
fi
while true; do sleep 0.05; done
"""
_APPLETS = (
    "sh",
    "sleep",
    "cat",
    "echo",
    "env",
    "true",
    "false",
    "tail",
    "ip",
    "id",
    "stty",
    "hostname",
    "ls",
    "nc",
    "grep",
)
_serial = itertools.count(1)


def image_archive() -> bytes:
    """Return the root file system of the test image: a static busybox and what the tests run in it."""
    busybox = shutil.which("busybox") or "/bin/busybox"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, script in {"behave": _BEHAVE, "exit": b'#!/bin/sh\nexit "$1"\n'}.items():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.mode, entry.size = 0o755, len(script)
            tar.addfile(entry, io.BytesIO(script))
        for name in ("tmp", "etc", "dev", "proc", "sys"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
    return archive.getvalue()


class PodmanNode:
    """A network namespace with a Podman service of its own, supervised from a thread as the agent does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace = f"orch-test-{os.getpid()}"
        self.group = f"/orch-test-{os.getpid()}"
        self.volatile = Path(f"/run/orch-test-{os.getpid()}")
        self._states: list[str] = []
        self.service = self.make_service("podman", folder / "podman")
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run)

    def make_service(self, name: str, state: Path, *, hang_timeout: float = 60) -> PodmanService:
        """Return a service on storage of its own; what it mounts and keeps in /run is removed with the node's."""
        self._states.append(str(state))
        volatile = self.volatile / name
        settings = PodmanSettings(
            runroot=str(volatile / "run"),
            tmpdir=str(volatile / "tmp"),
            socket=str(volatile / "podman.sock"),
            cgroup_parent=self.group,
            exec_memory=1,
            registries_file=str(self.folder / "registries.conf"),
            hang_timeout=hang_timeout,
        )
        return PodmanService(settings, state, self.namespace, SystemClock())

    def start(self) -> None:
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "lo", "up"], check=True)
        insecure = f'[[registry]]\nlocation = "{HOST}"\ninsecure = true\n'
        (self.folder / "registries.conf").write_text(insecure)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.service.wait_ready(), self._loop).result(30)
        archive = self.folder / "image.tar"
        archive.write_bytes(image_archive())
        self.podman("import", "--change", 'ENTRYPOINT ["/bin/behave"]', str(archive), IMAGE)

    def podman(self, *arguments: str) -> str:
        """Run Podman on the node's storage and return its output."""
        command = self.service.command(*arguments)
        done = subprocess.run(command, env=self.service.environment(), check=True, capture_output=True, timeout=60)
        return done.stdout.decode()

    def stop(self) -> None:
        """Remove all that was started; fail if anything is left."""
        self.podman("rm", "--all", "--force", "--time", "0")
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(30)
        # Podman clears up after its containers from processes of their own, each of which mounts the storage.
        wait_until(lambda: not self._processes(), "processes stay")
        folders = (*self._states, str(self.volatile))
        for mounted in sorted(_mounts_below(folders), key=len, reverse=True):
            subprocess.run(["umount", mounted], check=True, capture_output=True)
        shutil.rmtree(self.volatile)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=True)
        wait_until(lambda: not self._groups(), "control groups stay")
        assert not self._processes()
        assert not _mounts_below(folders)
        namespaces = [each.name for each in Path("/run/netns").iterdir() if each.name.startswith(self.namespace)]
        assert not namespaces, namespaces

    def _processes(self) -> list[str]:
        """Return what runs for the node."""
        lines = (_command_line(pid) for pid in Path("/proc").glob("[0-9]*"))
        return [line for line in lines if str(self.volatile) in line]

    def _groups(self) -> list[Path]:
        """Remove the node's control groups; return those that are still in use."""
        used: list[Path] = []
        for controller in Path("/sys/fs/cgroup").iterdir():
            for group in (controller / self.group.lstrip("/") / "conmon", controller / self.group.lstrip("/")):
                if group.is_dir():
                    try:
                        group.rmdir()
                    except OSError:
                        used.append(group)
        return used

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self.service.run())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()


def wait_until(condition: Callable[[], bool], otherwise: str, timeout: float = 20) -> None:
    """Fail with `otherwise` unless the condition comes true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(otherwise)
        time.sleep(0.1)


def _mounts_below(folders: tuple[str, ...]) -> list[str]:
    mounted = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [path for path in mounted if path.startswith(folders)]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture(scope="session")
def podman_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanNode]:
    node = PodmanNode(tmp_path_factory.mktemp("node"))
    node.start()
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def containerd_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerdNode]:
    node = ContainerdNode(tmp_path_factory.mktemp("containerd"), image_archive())
    node.start()
    node.load(IMAGE, {"Entrypoint": ["/bin/behave"]})
    try:
        yield node
    finally:
        node.stop()


class Node(Protocol):
    """What is real around a runtime."""

    group: str
    namespace: str


class Lab:
    """A runtime and the containers that a test makes with it."""

    def __init__(self, runtime: Runtime, node: Node | None) -> None:
        self.runtime = runtime
        self.group = node.group if node is not None else ""
        self.namespace = f"/run/netns/{node.namespace}" if node is not None else ""
        self.changed: list[str] = []
        self.uid = f"uid-{os.getpid()}-{next(_serial)}"

    def spec(self, name: str = "web", attempt: int = 0, **settings: Any) -> ContainerSpec:
        """Return a container; upper-case settings are its environment."""
        variables = {"NAME": name} | {key: str(value) for key, value in settings.items() if key.isupper()}
        identity = Identity(NODE, "default", "pod", self.uid, name, attempt)
        others = {key: value for key, value in settings.items() if not key.isupper()}
        return ContainerSpec(identity=identity, image=IMAGE, env=tuple(variables.items()), **others)

    @staticmethod
    def container(name: str) -> Container:
        return Container(name=name, image=IMAGE)

    async def run(self, name: str = "web", **settings: Any) -> str:
        """Create and start a container."""
        made = await self.runtime.create(self.spec(name, **settings))
        await self.runtime.start(made)
        return made

    async def inspect(self, container: str) -> ContainerInfo:
        info = await self.runtime.inspect(container)
        assert info is not None
        return info

    async def until(self, container: str, state: State, timeout: float = 20) -> ContainerInfo:
        """Wait for a state."""
        async with asyncio.timeout(timeout):
            while (info := await self.inspect(container)).state is not state:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return info

    async def until_true(self, condition: Callable[[], object], timeout: float = 20) -> None:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - a runtime's doing has no event here
                await asyncio.sleep(0.02)


@asynccontextmanager
async def _lab(runtime: Runtime, node: Node | None) -> AsyncGenerator[Lab]:
    made = Lab(runtime, node)
    watching = asyncio.create_task(runtime.run(made.changed.append))
    if node is not None:
        await made.until_true(lambda: made.changed)
    try:
        yield made
    finally:
        for info in await runtime.containers():
            await runtime.remove(info.id)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
async def podman_lab(podman_node: PodmanNode) -> AsyncGenerator[Lab]:
    runtime = PodmanRuntime(
        podman_node.service.socket, NODE, SystemClock(), cgroup_parent=podman_node.group, log_size_max=1 << 20
    )
    async with _lab(runtime, podman_node) as made:
        yield made
    await runtime.close()


@pytest.fixture
async def cri_lab(containerd_node: ContainerdNode) -> AsyncGenerator[Lab]:
    runtime = CriRuntime(
        containerd_node.settings,
        NODE,
        SystemClock(),
        cgroup_parent=containerd_node.group,
        logs=containerd_node.folder / "logs",
        streams_in=f"/run/netns/{containerd_node.namespace}",
    )
    async with _lab(runtime, containerd_node) as made:
        yield made
    await runtime.close()


@pytest.fixture
async def simulated_lab() -> AsyncGenerator[Lab]:
    runtime = SimulatedRuntime(SystemClock())
    await runtime.pull(IMAGE)
    async with _lab(runtime, None) as made:
        yield made


@pytest.fixture(
    params=[
        "simulated",
        pytest.param("podman", marks=pytest.mark.podman),
        pytest.param("cri", marks=pytest.mark.containerd),
    ]
)
def lab(request: pytest.FixtureRequest) -> Lab:
    return request.getfixturevalue(f"{request.param}_lab")
