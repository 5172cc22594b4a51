"""What only containers behind CRI have: sandboxes on networks of the agent's making, and a service that may die."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orch.clock import ManualClock, SystemClock
from orch.errors import UnavailableError
from orch_agent.network.addresses import AddressBook
from orch_agent.network.sandbox import NetnsSandboxes, NetworkSettings
from orch_agent.runtimes.cri.network import install
from orch_agent.runtimes.cri.runtime import CriRuntime
from orch_agent.runtimes.cri.settings import CriSettings
from orch_agent.runtimes.protocol import (
    STDOUT,
    UNCONFINED,
    ContainerError,
    ExecSpec,
    Limits,
    LogQuery,
    Mount,
    SandboxSpec,
    State,
)

pytestmark = pytest.mark.containerd


@pytest.fixture
def lab(cri_lab: Any) -> Any:
    return cri_lab


@pytest.fixture
async def sandboxes(containerd_node: Any, tmp_path: Path) -> AsyncGenerator[NetnsSandboxes]:
    settings = NetworkSettings(
        network_namespace=containerd_node.namespace, pod_namespace_prefix=f"{containerd_node.namespace}-pod-"
    )
    made = NetnsSandboxes(settings, AddressBook("10.213.1.0/24", tmp_path / "addresses.json"))
    await made.prepare()
    yield made
    for uid in await made.owners():
        await made.remove(uid)


async def output(lab: Any, container: str, *command: str, whole: bool = False) -> str:
    session = await lab.runtime.exec(container, ExecSpec(command=command, whole=whole))
    try:
        async with asyncio.timeout(20):
            return b"".join([data async for _, data in session.output()]).decode().strip()
    finally:
        await session.close()


async def said(lab: Any, container: str) -> str:
    batches = [lines async for lines in lab.runtime.logs(container, LogQuery())]
    return b"".join(line.data for lines in batches for line in lines).decode()


async def answered(lab: Any) -> list[Any]:
    """Return the pod's containers, [] from a service that is not there."""
    try:
        return list(await lab.runtime.containers(lab.uid))
    except UnavailableError:
        return []


def mount_table() -> str:
    return Path("/proc/self/mountinfo").read_text()


async def sandbox_ids(lab: Any) -> list[str]:
    return [each.id for each in await lab.runtime._sandboxes.of_pod(lab.uid)]


# -- sandboxes ---------------------------------------------------------------------------------------------------


async def test_a_pod_is_on_the_network_that_the_agent_made(
    lab: Any, containerd_node: Any, sandboxes: NetnsSandboxes
) -> None:
    made, _ = await sandboxes.ensure(lab.uid)
    first = await lab.run("first", network_namespace=made.namespace, hostname="web-1")
    second = await lab.run(
        "second", network_namespace=made.namespace, command=("nc", "-ll", "-p", "8080", "-e", "echo", "hi")
    )
    assert made.address in await output(lab, first, "ip", "-o", "address", "show", "dev", "eth0")
    assert await output(lab, first, "hostname") == "web-1"
    async with asyncio.timeout(20):
        while await output(lab, first, "nc", "-w", "2", "127.0.0.1", "8080") != "hi":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert len(await sandbox_ids(lab)) == 1
    await lab.runtime.remove(second)
    assert len(await sandbox_ids(lab)) == 1
    await lab.runtime.remove(first)
    assert await sandbox_ids(lab) == []
    assert not [*(containerd_node.folder / "logs").glob(f"*{lab.uid}*")]
    mounts = mount_table()
    assert mounts.count(f" {made.namespace} ") == 1  # what was mounted over the runtime's own is unmounted
    assert str(containerd_node.volatile / "state/netns") not in mounts


async def test_a_sandbox_whose_process_died_is_replaced_on_the_same_network(
    lab: Any, containerd_node: Any, sandboxes: NetnsSandboxes
) -> None:
    made, _ = await sandboxes.ensure(lab.uid)
    first = await lab.run("first", network_namespace=made.namespace)
    [sandbox] = await sandbox_ids(lab)
    pids = dict(line.split()[:2] for line in containerd_node.ctr("tasks", "list").splitlines()[1:])
    os.kill(int(pids[sandbox]), signal.SIGKILL)
    assert (await lab.inspect(first)).state is State.RUNNING

    async def not_ready() -> bool:
        return any(each.state for each in await lab.runtime._sandboxes.of_pod(lab.uid))

    async with asyncio.timeout(20):
        while not await not_ready():  # noqa: ASYNC110 - another process's doing has no event
            await asyncio.sleep(0.05)
    second = await lab.run("second", network_namespace=made.namespace)
    assert made.address in await output(lab, second, "ip", "-o", "address", "show", "dev", "eth0")
    assert len(await sandbox_ids(lab)) == 2
    await lab.runtime.remove(first)
    assert sandbox not in await sandbox_ids(lab)


async def test_a_container_that_cannot_be_made_leaves_no_sandbox(lab: Any) -> None:
    with pytest.raises(ContainerError, match="localhost/orch/none:1"):
        await lab.runtime.create(msgspec.structs.replace(lab.spec(), image="localhost/orch/none:1"))
    assert await sandbox_ids(lab) == []
    with pytest.raises(ContainerError, match="orch-netns: the agent has made no network namespace /run/netns/none"):
        await lab.runtime.create(lab.spec(network_namespace="/run/netns/none"))
    assert await sandbox_ids(lab) == []


async def test_a_sandbox_that_an_agent_left_empty_is_swept_away(lab: Any) -> None:
    await lab.runtime._sandboxes.ensure(lab.spec())
    assert len(await sandbox_ids(lab)) == 1
    await lab.runtime._sandboxes.sweep()
    assert await sandbox_ids(lab) == []


def test_the_plug_in_is_installed_beside_others(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/loopback").write_text("the machine's own")
    settings = CriSettings(cni_bin_dir=str(tmp_path / "bin"), cni_conf_dir=str(tmp_path / "net.d"))
    install(settings)
    install(settings)
    assert (tmp_path / "bin/loopback").read_text() == "the machine's own"
    assert (tmp_path / "bin/orch-netns").stat().st_mode & 0o777 == 0o755
    assert [each.name for each in (tmp_path / "net.d").iterdir()] == ["00-orch.conflist"]
    install(CriSettings(cni_bin_dir=str(tmp_path / "none"), cni_conf_dir=""))
    assert not (tmp_path / "none").exists()


# -- containers --------------------------------------------------------------------------------------------------


async def test_a_pod_on_the_nodes_network_has_the_nodes_name(lab: Any) -> None:
    made = await lab.run(hostname="of-the-node", sandbox=SandboxSpec(host_processes=True, host_ipc=True))
    assert await output(lab, made, "hostname") == socket.gethostname()


async def test_limits_are_settings_of_the_control_group(lab: Any) -> None:
    limits = Limits(cpu_shares=102, cpu_quota=50_000, memory=64 << 20, pids=50, oom_score_adj=500)
    made = await lab.run(limits=limits, cgroup_parent=f"{lab.group}/burstable/podx")
    group, root = f"{lab.group.lstrip('/')}/burstable/podx/{made}", Path("/sys/fs/cgroup")
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
    [usage] = await lab.runtime.usage()
    assert usage.memory_bytes > 0
    [layers] = await lab.runtime.layers()
    assert (layers.id, layers.logs.inodes) == (made, 1)


async def test_running_out_of_memory_is_told_from_a_kill(lab: Any) -> None:
    made = await lab.run(command=("tail", "/dev/zero"), limits=Limits(memory=32 << 20))
    info = await lab.until(made, State.EXITED)
    assert info.exit_code == 137
    assert info.oom_killed


async def test_command_user_folder_and_outputs_are_the_containers(lab: Any) -> None:
    script = "id -u; id -g; pwd; echo err >&2; hostname > /dev/null; exit 3"
    made = await lab.run(command=("sh", "-c"), args=(script,), user=1234, group=4321, working_dir="/made/for/it")
    assert (await lab.until(made, State.EXITED)).exit_code == 3
    lines = {line.data: line.stream async for lines in lab.runtime.logs(made, LogQuery()) for line in lines}
    assert lines == {b"1234\n": 1, b"4321\n": 1, b"/made/for/it\n": 1, b"err\n": 2}


async def test_rights_are_what_kubernetes_gives(lab: Any) -> None:
    script = "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; grep -q ' /proc/sys .*ro' /proc/self/mountinfo"
    shell = ("sh", "-c", f"{script} && echo guarded; touch /new 2>/dev/null || echo kept")
    guarded = await lab.run("guarded", command=shell, no_new_privileges=True, read_only=True)
    await lab.until(guarded, State.EXITED)
    words = (await said(lab, guarded)).split()
    assert words[1::2][:3] == ["00000000a80425fb", "1", "2"]
    assert {"guarded", "kept"} <= set(words)
    free = await lab.run(
        "free", command=shell, seccomp=UNCONFINED, capabilities_dropped=("ALL",), capabilities_added=("CHOWN",)
    )
    await lab.until(free, State.EXITED)
    assert (await said(lab, free)).split()[1::2][:3] == ["0000000000000001", "0", "0"]


async def test_a_privileged_container_has_the_nodes_devices(lab: Any) -> None:
    plain = await lab.run("plain", sandbox=SandboxSpec(privileged=True), command=("ls", "/dev"))
    privileged = await lab.run(
        "all", sandbox=SandboxSpec(privileged=True), privileged=True, command=("ls", "/dev"), seccomp=UNCONFINED
    )
    for made in (plain, privileged):
        await lab.until(made, State.EXITED)
    assert "kmsg" not in await said(lab, plain)
    assert "kmsg" in await said(lab, privileged)


async def test_what_a_pod_shares(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "shown").write_text("visible")
    shared = SandboxSpec(shares_processes=True, sysctls=(("kernel.shm_rmid_forced", "1"),))
    await lab.run("first", sandbox=shared, command=("sh", "-c", "echo here > /dev/shm/note; sleep 100"))
    mount = Mount(source=str(tmp_path / "shown"), target="/tmp/shown", read_only=True)
    second = await lab.run("second", sandbox=shared, mounts=(mount,))
    look = "cat /proc/sys/kernel/shm_rmid_forced /tmp/shown; cat /proc/*/cmdline 2>/dev/null"  # some end meanwhile
    seen = ""
    async with asyncio.timeout(20):
        while "sleep\x00100" not in seen:
            seen = await output(lab, second, "sh", "-c", look)
            assert seen.startswith("1\nvisible")
        while await output(lab, second, "cat", "/dev/shm/note") != "here":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_processes_of_another_container_can_be_seen(lab: Any) -> None:
    target = await lab.run("target")
    looking = await lab.run("look", processes_of=target)
    assert "behave" in await output(lab, looking, "cat", "/proc/1/cmdline")
    assert "/bin/behave" in await output(lab, target, "cat", "/proc/1/cmdline")


async def test_what_the_runtime_can_is_asked(lab: Any) -> None:
    features = await lab.runtime.features()
    major = int((await lab.runtime.version()).partition("://")[2].partition(".")[0])
    assert "" in features.handlers
    assert features.strict_groups is (major >= 2)


async def test_a_stop_signal_of_its_own_takes_the_place_of_the_image_s(lab: Any) -> None:
    made = await lab.run(SIMULATED_STOP_SECONDS=60, stop_signal="SIGKILL")
    await lab.runtime.terminate(made)
    assert (await lab.until(made, State.EXITED)).exit_code == 137


async def test_terminals_have_one_output_and_a_size(lab: Any) -> None:
    made = await lab.run(command=("sh",), stdin=True, tty=True)
    command = await lab.runtime.exec(made, ExecSpec(command=("sh",), stdin=True, tty=True))
    attached = await lab.runtime.attach(made, stdin=True)
    for session, size in ((command, (132, 43)), (attached, (100, 40))):
        await session.resize(*size)
        shown, seen = session.output(), b""
        async with asyncio.timeout(20):
            while f"{size[1]} {size[0]}".encode() not in seen:
                await session.write(b"stty size\n")
                stream, data = await anext(shown)
                assert stream == STDOUT
                seen += data
        await session.close()


async def test_a_probes_command_is_killed_with_its_call(lab: Any) -> None:
    made = await lab.run()
    assert await output(lab, made, "echo", "hi", whole=True) == "hi"
    session = await lab.runtime.exec(made, ExecSpec(command=("sleep", "1234"), whole=True))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(session.output()), 0.5)
    await session.kill()
    await session.close()
    async with asyncio.timeout(20):
        while "1234" in await output(lab, made, "sh", "-c", "cat /proc/[0-9]*/cmdline"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# -- the service -------------------------------------------------------------------------------------------------


async def test_containers_outlive_the_service_and_are_found_again(containerd_node: Any, lab: Any) -> None:
    made = await lab.run()
    containerd_node.kill_service()
    with pytest.raises(UnavailableError, match=r"containerd\.sock does not answer"):
        await lab.runtime.containers()
    lab.changed.clear()
    containerd_node.start_service()  # not in another thread: with that, it would end
    async with asyncio.timeout(20):
        while not (found := await answered(lab)):  # noqa: ASYNC110 - it is tried again after a moment
            await asyncio.sleep(0.05)
    assert [(info.id, info.state) for info in found] == [(made, State.RUNNING)]
    assert await output(lab, made, "echo", "again") == "again"
    await lab.runtime.kill(made)
    await lab.until_true(lambda: lab.uid in lab.changed)


async def test_another_agent_process_adopts_containers(containerd_node: Any, lab: Any) -> None:
    made = await lab.run(command=("cat",), stdin=True)
    other = CriRuntime(
        containerd_node.settings,
        "contract",
        SystemClock(),
        cgroup_parent=lab.group,
        logs=containerd_node.folder / "logs",
        streams_in=lab.namespace,
    )
    try:
        [found] = await other.containers(lab.uid)
        assert found == await lab.inspect(made)
        assert [each.id for each in await other.usage()] == [made]
        session = await other.attach(made, stdin=True)
        await session.end_input()
        await session.close()
        await lab.until(made, State.EXITED)
        await other.remove(made)
        assert await other.inspect(made) is None
    finally:
        await other.close()


async def test_logs_stay_bounded(containerd_node: Any, lab: Any) -> None:
    made = await lab.run(command=("sh", "-c", "while true; do echo 0123456789; sleep 0.01; done"))
    folder = containerd_node.folder / "logs" / f"default_pod_{lab.uid}" / "web"
    other = CriRuntime(
        containerd_node.settings,
        "contract",
        ManualClock(),
        cgroup_parent=lab.group,
        logs=containerd_node.folder / "logs",
        streams_in=lab.namespace,
        log_max_size=100,
        log_max_files=2,
    )
    try:
        for _ in range(3):
            await lab.until_true(lambda: (folder / "0.log").exists() and (folder / "0.log").stat().st_size > 100)
            await other._rotation.rotate()
            await other._clock.advance(1)
        names = sorted(path.name for path in folder.iterdir())
        assert len(names) == 2
        assert names[0] == "0.log"
        assert names[1].startswith("0.log.20")
        async with asyncio.timeout(20):
            while "0123456789" not in await said(lab, made):  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.02)
        await lab.runtime.remove(made)
        assert not folder.exists()
    finally:
        await other.close()


async def test_images_are_told_and_removed(containerd_node: Any, lab: Any) -> None:
    containerd_node.load("localhost/orch/other:1", {"User": "ana", "Labels": {"other": "image"}})
    assert await lab.runtime.image_user("localhost/orch/other:1") == "ana"
    images = {name: image for image in await lab.runtime.images() for name in image.names}
    assert images["localhost/orch/pause:1"].pinned
    assert not images["localhost/orch/other:1"].pinned
    assert images["localhost/orch/other:1"].size > 1 << 20
    await lab.runtime.remove_image(images["localhost/orch/other:1"].id)
    await lab.runtime.remove_image(images["localhost/orch/other:1"].id)
    assert await lab.runtime.find_image("localhost/orch/other:1") is None
    assert str(containerd_node.folder) in await lab.runtime.image_file_system()
