"""What only real containers have: control groups, users, networks, terminals, and a service that may die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from orch.clock import SystemClock
from orch.errors import UnavailableError
from orch_agent.network.addresses import AddressBook
from orch_agent.network.connections import DialError, TcpConnection, connect
from orch_agent.network.sandbox import NetnsSandboxes, NetworkSettings, Sandbox
from orch_agent.pods.files import PodFiles
from orch_agent.runtimes.image_names import qualified
from orch_agent.runtimes.logfile import files_of
from orch_agent.runtimes.podman.runtime import PodmanRuntime
from orch_agent.runtimes.protocol import STDOUT, ExecSpec, Limits, LogQuery, Mount, State

pytestmark = pytest.mark.podman


@pytest.fixture
def lab(podman_lab: Any) -> Any:
    return podman_lab


async def output(lab: Any, container: str, *command: str, tty: bool = False) -> str:
    session = await lab.runtime.exec(container, ExecSpec(command=command, tty=tty))
    try:
        async with asyncio.timeout(20):
            return b"".join([data async for _, data in session.output()]).decode().replace("\r\n", "\n").strip()
    finally:
        await session.close()


async def test_limits_are_settings_of_the_control_group(lab: Any) -> None:
    limits = Limits(cpu_shares=102, cpu_quota=50_000, memory=64 << 20, pids=50, oom_score_adj=500)
    made = await lab.run(limits=limits)
    group = f"{lab.group.lstrip('/')}/libpod-{made}"
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        assert (root / group / "memory.max").read_text().strip() == str(64 << 20)
        assert (root / group / "cpu.max").read_text().split() == ["50000", "100000"]
        assert (root / group / "pids.max").read_text().strip() == "50"
    else:
        assert (root / "memory" / group / "memory.limit_in_bytes").read_text().strip() == str(64 << 20)
        assert (root / "cpu" / group / "cpu.shares").read_text().strip() == "102"
        assert (root / "cpu" / group / "cpu.cfs_quota_us").read_text().strip() == "50000"
        assert (root / "pids" / group / "pids.max").read_text().strip() == "50"
    assert await output(lab, made, "cat", "/proc/1/oom_score_adj") == "500"


async def test_it_is_told_as_whom_a_container_was_started(lab: Any) -> None:
    made = await lab.run(user=1000, group=2000, supplemental_groups=(7,), stop_signal="SIGUSR1")
    info = await lab.runtime.inspect(made)
    assert (info.user.uid, info.user.gid, info.stop_signal) == (1000, 2000, "SIGUSR1")
    assert set(info.user.supplemental_groups) == set(map(int, (await output(lab, made, "id", "-G")).split()))


async def test_running_out_of_memory_is_told_from_a_kill(lab: Any) -> None:
    made = await lab.run(command=("tail", "/dev/zero"), limits=Limits(memory=32 << 20))
    info = await lab.until(made, State.EXITED)
    assert info.exit_code == 137
    assert info.oom_killed


async def test_command_arguments_user_and_folder_are_the_containers(lab: Any) -> None:
    made = await lab.run(
        command=("sh", "-c"),
        args=("id -u; id -g; pwd; exit 0",),
        user=1234,
        group=4321,
        working_dir="/made/for/it",
    )
    await lab.until(made, State.EXITED)
    lines = [line.data async for lines in lab.runtime.logs(made, LogQuery()) for line in lines]
    assert lines == [b"1234\n", b"4321\n", b"/made/for/it\n"]


async def test_mounts_hostname_and_a_file_system_that_is_read_only(lab: Any, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.write_text("visible")
    mount = Mount(source=str(shown), target="/tmp/shown", read_only=True)
    made = await lab.run(mounts=(mount,), hostname="web-1", read_only=True, network_namespace=lab.namespace)
    assert await output(lab, made, "cat", "/tmp/shown") == "visible"
    assert await output(lab, made, "hostname") == "web-1"
    assert "Read-only" in await output(lab, made, "sh", "-c", "echo x > /new 2>&1; true")


async def test_a_terminal_has_one_output_and_a_size(lab: Any) -> None:
    made = await lab.run()
    session = await lab.runtime.exec(made, ExecSpec(command=("sh",), stdin=True, tty=True))
    try:
        await session.resize(132, 43)
        await session.write(b"stty size; exit 5\n")
        written = b""
        async with asyncio.timeout(20):
            async for stream, data in session.output():
                assert stream == STDOUT
                written += data
        assert b"43 132" in written
        assert await session.exit_code() == 5
    finally:
        await session.close()


async def test_stderr_is_told_apart(lab: Any) -> None:
    made = await lab.run(command=("sh", "-c", "echo out; echo err >&2"))
    await lab.until(made, State.EXITED)
    lines = {line.data: line.stream async for lines in lab.runtime.logs(made, LogQuery()) for line in lines}
    assert lines == {b"out\n": 1, b"err\n": 2}


async def test_a_cancelled_create_leaves_a_container_that_is_listed_or_none(lab: Any) -> None:
    creating = asyncio.create_task(lab.runtime.create(lab.spec()))
    await asyncio.sleep(0)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    before = await lab.runtime.containers(lab.uid)
    assert len(before) <= 1


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("registry.example/a/b:1", "registry.example/a/b:1"),
        ("nginx@sha256:0a", "docker.io/library/nginx@sha256:0a"),
    ],
)
def test_short_names_are_docker_hubs_as_in_kubernetes(image: str, name: str) -> None:
    assert qualified(image) == name


# -- the service -------------------------------------------------------------------------------------------------


async def test_containers_outlive_the_service_and_are_found_again(podman_node: Any, lab: Any) -> None:
    made = await lab.run()
    pid = int((podman_node.folder / "podman" / "podman.pid").read_text())
    lab.changed.clear()
    os.kill(pid, signal.SIGKILL)
    await lab.until_true(lambda: "" in lab.changed, timeout=30)
    [info] = await lab.runtime.containers(lab.uid)
    assert (info.id, info.state) == (made, State.RUNNING)
    await lab.runtime.kill(made)
    await lab.until_true(lambda: lab.uid in lab.changed)


async def test_a_service_that_hangs_is_replaced(podman_node: Any, tmp_path: Path) -> None:
    service = podman_node.make_service("hanging", tmp_path, hang_timeout=0.6)
    running = asyncio.create_task(service.run())
    try:
        await service.wait_ready()
        hanging = int((tmp_path / "podman.pid").read_text())
        await asyncio.sleep(0.2)  # so that it has been asked once
        os.kill(hanging, signal.SIGSTOP)
        runtime = PodmanRuntime(service.socket, "node", SystemClock(), cgroup_parent="/orch", log_size_max=1 << 20)
        with pytest.raises(UnavailableError):  # who asks meanwhile hears of it, too, and not never
            await runtime.version()
        async with asyncio.timeout(20):
            while os.path.exists(f"/proc/{hanging}"):  # noqa: ASYNC110, ASYNC240, PTH110 - another's doing has no event
                await asyncio.sleep(0.05)
        await service.wait_ready()
        assert (await runtime.version()).startswith("podman://")
        await runtime.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_service_that_a_killed_agent_left_is_replaced(podman_node: Any, tmp_path: Path) -> None:
    first = podman_node.make_service("replaced", tmp_path)
    running = asyncio.create_task(first.run())
    await first.wait_ready()
    pid_file = tmp_path / "podman.pid"
    old = int(pid_file.read_text())

    def replaced() -> bool:
        text = pid_file.read_text() if pid_file.exists() else ""
        return text.isdecimal() and int(text) != old

    second = podman_node.make_service("replaced", tmp_path)
    replacing = asyncio.create_task(second.run())
    try:
        async with asyncio.timeout(20):
            while not replaced():  # noqa: ASYNC110 - another process's doing has no event
                await asyncio.sleep(0.05)
        await second.wait_ready()
    finally:
        for task in (running, replacing):
            task.cancel()
        await asyncio.gather(running, replacing, return_exceptions=True)


# -- the network -------------------------------------------------------------------------------------------------


@pytest.fixture
async def sandboxes(podman_node: Any, tmp_path: Path) -> AsyncGenerator[NetnsSandboxes]:
    made = NetnsSandboxes(network_settings(podman_node), AddressBook("10.211.1.0/24", tmp_path / "addresses.json"))
    await made.prepare()
    yield made
    for uid in await made.owners():
        await made.remove(uid)


def network_settings(podman_node: Any) -> NetworkSettings:
    return NetworkSettings(
        network_namespace=podman_node.namespace,
        pod_namespace_prefix=f"{podman_node.namespace}-pod-",
        blackholes=("10.211.0.0/16", "10.212.0.0/16"),
    )


def namespaces() -> list[str]:
    return [each.name for each in Path("/run/netns").iterdir()]


def in_namespace(name: str, *command: str) -> str:
    done = subprocess.run(["ip", "netns", "exec", name, *command], check=False, capture_output=True, timeout=20)
    return (done.stdout + done.stderr).decode()


async def test_pods_of_one_node_reach_one_another(lab: Any, sandboxes: NetnsSandboxes) -> None:
    first, made = await sandboxes.ensure("uid-1")
    assert made
    assert first.address == "10.211.1.2"
    second, _ = await sandboxes.ensure("uid-2")
    await lab.run("server", command=("nc", "-l", "-p", "8080", "-e", "echo", "hi"), network_namespace=first.namespace)
    client = await lab.run("client", network_namespace=second.namespace)
    async with asyncio.timeout(20):
        while await output(lab, client, "nc", "-w", "2", first.address, "8080") != "hi":  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_what_is_nobodys_address_is_swallowed(podman_node: Any, sandboxes: NetnsSandboxes) -> None:
    made, _ = await sandboxes.ensure("uid-1")
    name = Path(made.namespace).name
    assert "10.211.1.1" in in_namespace(name, "ip", "route", "show", "default")
    routes = in_namespace(podman_node.namespace, "ip", "route")
    assert "blackhole 10.211.0.0/16" in routes
    assert "blackhole 10.212.0.0/16" in routes


async def test_a_sandbox_is_kept_over_a_restart_and_made_anew_when_it_is_broken(
    podman_node: Any, sandboxes: NetnsSandboxes, tmp_path: Path
) -> None:
    made, _ = await sandboxes.ensure("uid-1")
    again = NetnsSandboxes(network_settings(podman_node), AddressBook("10.211.1.0/24", tmp_path / "addresses.json"))
    await again.prepare()
    assert list(await again.owners()) == ["uid-1"]
    assert await again.ensure("uid-1") == (made, False)
    in_namespace(Path(made.namespace).name, "ip", "address", "flush", "dev", "eth0")
    third = NetnsSandboxes(network_settings(podman_node), AddressBook("10.211.1.0/24", tmp_path / "addresses.json"))
    assert await third.ensure("uid-1") == (made, True)


async def test_a_removed_sandbox_leaves_nothing(podman_node: Any, sandboxes: NetnsSandboxes) -> None:
    made: Sandbox
    made, _ = await sandboxes.ensure("uid-1")
    await sandboxes.remove("uid-1")
    await sandboxes.remove("uid-1")
    assert Path(made.namespace).name not in namespaces()
    assert "veth" not in in_namespace(podman_node.namespace, "ip", "link")
    assert list(await sandboxes.owners()) == []


async def test_a_container_leaves_its_last_words(lab: Any, tmp_path: Path) -> None:
    files = PodFiles(tmp_path)
    container = lab.container("web")
    mounts = await files.prepare(lab.uid, container, 0)
    script = "echo -n bye > /dev/termination-log"
    made = await lab.run(command=("sh", "-c", script), mounts=mounts)
    assert (await lab.until(made, State.EXITED)).exit_code == 0
    assert await files.termination_message(lab.uid, "web", 0) == "bye"
    assert await files.owners() == [lab.uid]
    await files.remove(lab.uid)
    assert await files.owners() == []


async def test_a_terminal_is_attached_to_and_resized(lab: Any) -> None:
    made = await lab.run(command=("sh",), stdin=True, tty=True)
    session = await lab.runtime.attach(made, stdin=True)
    await session.resize(101, 41)
    await session.resize(100, 40)
    output = session.output()
    seen = b""
    async with asyncio.timeout(20):
        while b"40 100" not in seen:
            await session.write(b"stty size\n")
            stream, data = await anext(output)
            assert stream == STDOUT
            seen += data
    await session.close()


async def test_processes_can_be_shared(lab: Any) -> None:
    target = await lab.run("target")
    looking = await lab.run("look", processes_of=target, command=("sh", "-c", "cat /proc/1/cmdline; sleep 100"))

    async def said() -> bytes:
        batches = [lines async for lines in lab.runtime.logs(looking, LogQuery())]
        return b"".join(line.data for lines in batches for line in lines)

    async with asyncio.timeout(20):
        while not (words := await said()):  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.05)
    assert b"behave" in words


async def test_ports_are_reached_from_inside_of_their_network(lab: Any) -> None:
    await lab.run(command=("nc", "-ll", "-p", "8077", "-e", "cat"), network_namespace=lab.namespace)
    connection: TcpConnection | None = None
    async with asyncio.timeout(20):
        while connection is None:
            try:
                connection = await connect(lab.namespace, ("127.0.0.1", "::1"), 8077)
            except DialError:
                await asyncio.sleep(0.05)
    await connection.write(b"there and back")
    assert await connection.read() == b"there and back"
    await connection.end()
    assert await connection.read() == b""
    await connection.close()
    with pytest.raises(DialError, match=r"dial tcp 127\.0\.0\.1:8077: connect: connection refused"):
        await connect("", ("127.0.0.1",), 8077)  # our own network is another one
    with pytest.raises(DialError, match="no such file or directory"):
        await connect("/run/netns/none-of-ours", ("127.0.0.1",), 80)


async def test_a_stop_signal_of_its_own_takes_the_place_of_the_image_s(lab: Any) -> None:
    made = await lab.run(SIMULATED_STOP_SECONDS=60, stop_signal="SIGKILL")
    await lab.runtime.terminate(made)
    assert (await lab.until(made, State.EXITED)).exit_code == 137


async def test_logs_stay_bounded_and_what_was_written_before_is_kept(lab: Any) -> None:
    rounds = "for n in 1 2 3; do seq 1 15000; sleep 1.2; done"  # more than two files' worth in all
    made = await lab.run(command=("sh", "-c", rounds))
    expected = b"".join(b"%d\n" % number for _ in range(3) for number in range(1, 15_001))
    async with asyncio.timeout(20):
        for query in (LogQuery(follow=True), LogQuery()):
            found = [line.data async for lines in lab.runtime.logs(made, query) for line in lines]
            assert b"".join(found) == expected
    path = await lab.runtime.log_file(made)
    files = files_of(path)
    assert len(files) == 3
    assert all(each.stat().st_size <= 1 << 20 for _, each in files)
    [layers] = [each for each in await lab.runtime.layers() if each.id == made]
    assert layers.logs.bytes < 4 << 20  # a file with two names is counted once
    await lab.runtime.remove(made)
    assert not path.parent.exists()


async def test_a_log_that_is_written_at_full_speed_stays_bounded(lab: Any) -> None:
    made = await lab.run(command=("busybox", "yes", "and so on"))
    path = await lab.runtime.log_file(made)
    begun: set[int] = set()
    async with asyncio.timeout(30):
        while len(begun) < 8:  # more than are kept
            begun.add(path.stat().st_ino)
            assert sum(each.stat().st_size for _, each in files_of(path)) < 8 << 20
            await asyncio.sleep(0.01)
    await lab.runtime.kill(made)
    await lab.until(made, State.EXITED)
