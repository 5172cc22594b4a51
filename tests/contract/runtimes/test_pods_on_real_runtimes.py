"""What holds for pods whoever runs their containers: a whole agent with Podman, and one with containerd."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from agent_cluster import cancelled
from image_registry import HOST, ImageRegistry
from whole_agent import PIDS, WholeAgent

from orch.bus import rpc, subjects
from orch.clock import SystemClock
from orch_agent.runtimes.cgroups import Hierarchy
from orch_agent.runtimes.cri.runtime import CriRuntime
from orch_agent.runtimes.podman.runtime import PodmanRuntime
from orch_pb.v1 import rpc_pb2

IMAGE = "localhost/orch/behave:1"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
LAST_WORDS = "trap 'cat /scratch/* > /dev/termination-log; exit 3' TERM; while :; do sleep 0.05; done"
BOMB = "trap '' TERM; f() { f & f & exec sleep 60; }; f 2>/dev/null & exec sleep 600"


def container(script: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **fields}


def by_podman(node: Any, folder: Path) -> WholeAgent:
    def make(name: str, parent: str) -> PodmanRuntime:
        service = node.service
        return PodmanRuntime(
            service.socket, name, SystemClock(), cgroup_parent=parent, log_size_max=1 << 18, exits_folder=service.exits
        )

    return WholeAgent(node, folder, "podman", make)


def by_containerd(node: Any, folder: Path) -> WholeAgent:
    def make(name: str, parent: str) -> CriRuntime:
        inside = f"/run/netns/{node.namespace}"
        logs = folder / "logs"
        return CriRuntime(node.settings, name, SystemClock(), cgroup_parent=parent, logs=logs, streams_in=inside)

    return WholeAgent(node, folder, "containerd", make)


Made = tuple[WholeAgent, Any]


@pytest.fixture(
    params=[pytest.param("podman", marks=pytest.mark.podman), pytest.param("cri", marks=pytest.mark.containerd)]
)
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Made]:
    """A cluster of one node that is down, and what runs its containers; nothing may be left of its pods in the end."""
    if request.param == "podman":
        node: Any = request.getfixturevalue("podman_node")
        cluster = by_podman(node, tmp_path)
    else:
        node = request.getfixturevalue("containerd_node")
        cluster = by_containerd(node, tmp_path)
    for stream in subjects.STREAMS:
        await cluster.bus.ensure_stream(stream)
    served = await rpc.serve(cluster.bus, "get", rpc_pb2.GetRequest, cluster.answer)
    async with cancelled(cluster.run()):
        yield cluster, node
    await served.stop()
    await cluster.bus.close()
    try:
        await cluster.nothing_is_left()
    finally:
        await cluster.clear()


def restart_service(node: Any) -> None:
    """Kill what runs the containers; Podman's service is started again by its supervisor, containerd here."""
    if hasattr(node, "kill_service"):
        node.kill_service()
        node.start_service()
    else:
        os.kill(int((node.folder / "podman" / "podman.pid").read_text()), signal.SIGKILL)


async def test_a_pod_from_its_first_container_to_its_last_word(made: Made) -> None:
    cluster, _ = made
    cluster.secret("key", password="opens")
    shown = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "key", "mountPath": "/key"}]
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
    ]
    main = container(
        LAST_WORDS,
        volumeMounts=shown,
        lifecycle={
            "postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /scratch/b"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /scratch/c"]}},
        },
        readinessProbe={"exec": {"command": ["cat", "/scratch/a"]}, "periodSeconds": 1},
    )
    first = [
        container("echo prepared > /scratch/a", "setup", volumeMounts=shown),
        container(FOREVER, "side", restartPolicy="Always"),
    ]
    async with cluster.running():
        pod = await cluster.run_pod("whole", main, initContainers=first, volumes=volumes)
        await cluster.ready("whole")
        look = "cat /scratch/* /key/password; busybox stat -Lc ' %a' /key/password; busybox stat -fc %T /key; id -u"
        said = await cluster.exec("whole", "sh", "-c", look)
        assert said.split() == ["prepared", "hooked", "opens", "400", "tmpfs", "0"]
        address, before = cluster.status("whole")["podIP"], cluster.container("whole")["containerID"]
        await cluster.runtime.kill(before.partition("://")[2])
        await cluster.until(lambda: cluster.container("whole")["restartCount"] == 1, "it runs again")
        await cluster.ready("whole")
        assert cluster.status("whole")["podIP"] == address
        assert cluster.container("whole")["lastState"]["terminated"]["exitCode"] == 137
        await cluster.delete_pod(pod)
        ended = cluster.container("whole")["state"]["terminated"]
        assert (ended["exitCode"], ended["message"].split()) == (3, ["prepared", "hooked", "stopping"])
        await cluster.nothing_is_left()


async def test_pods_outlive_their_agent_and_what_runs_their_containers(made: Made) -> None:
    cluster, node = made
    async with cluster.running():
        old = await cluster.run_pod("old", container(FOREVER))
        await cluster.ready("old")
    before = cluster.container("old")
    cluster.pods.clear()
    async with cluster.running():
        await cluster.ready("old")
        restart_service(node)
        new = await cluster.run_pod("new", container(FOREVER))
        await cluster.ready("new")
        after = cluster.container("old")
        assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
        assert await cluster.exec("old", "echo", "there") == "there\n"
        await cluster.delete_pod(old)
        await cluster.delete_pod(new)
        await cluster.nothing_is_left()


async def test_who_forks_without_end_takes_its_own_share_alone(made: Made) -> None:
    cluster, _ = made
    bomb = container(BOMB, resources={"limits": {"cpu": "200m", "memory": "64Mi"}})
    async with cluster.running():
        quiet = await cluster.run_pod("quiet", container(FOREVER))
        exploding = await cluster.run_pod("exploding", bomb)
        await cluster.ready("quiet", "exploding")
        group = f"{cluster.parent}/poduid-exploding"
        await cluster.until(lambda: refused(group), "it has asked for more than it may have")
        use = Hierarchy().use(group)
        assert use is not None
        assert PIDS // 2 < use.processes <= PIDS
        assert await cluster.exec("quiet", "echo", "there") == "there\n"
        await cluster.delete_pod(exploding, grace=1)
        assert cluster.container("exploding")["restartCount"] == 0
        await cluster.delete_pod(quiet)
        await cluster.nothing_is_left()


def refused(group: str) -> bool:
    """Whether a group, or one below it, was refused a process."""
    found = [each for part in ("", "pids/") for each in Path(f"/sys/fs/cgroup/{part}{group}").rglob("pids.events")]
    return any(int(each.read_text().split()[1]) for each in found)


async def test_commands_are_heard_to_their_end_whether_they_read_their_input_or_not(made: Made) -> None:
    cluster, node = made
    numbers = b"".join(b"%d\n" % number for number in range(1, 20_001))
    content = os.urandom(3_000_000)
    async with cluster.running():
        pod = await cluster.run_pod("fed", container(FOREVER))
        await cluster.ready("fed")
        said, complaints, end = await cluster.feed("fed", content, "cat")
        assert (said == content, complaints, end["status"]) == (True, b"", "Success")
        # containerd 1.6 does not tell the end of a command that leaves much unread.
        unread = content[:50_000] if hasattr(node, "kill_service") else content
        for _ in range(5):
            said, complaints, end = await cluster.feed("fed", unread, "sh", "-c", "busybox seq 1 20000; exit 3")
            assert (said, complaints) == (numbers, b"")
            assert end["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        await cluster.delete_pod(pod)


async def test_images_that_cannot_be_used_are_told_and_hold_nobody_up(made: Made) -> None:
    cluster, node = made
    wrong = {"broken": "corrupt", "foreign": "elsewhere", "absent": "none"}
    with ImageRegistry(f"/run/netns/{node.namespace}") as registry:
        registry.add("corrupt", corrupt=True)
        registry.add("elsewhere", architecture="s390x")
        async with cluster.running():
            pods = [
                await cluster.run_pod(name, {"name": "main", "image": f"{HOST}/{image}:1"})
                for name, image in wrong.items()
            ]
            pods.append(await cluster.run_pod("fine", container(FOREVER)))
            await cluster.ready("fine")
            for name in wrong:
                await cluster.until(waits(cluster, name, "ImagePullBackOff"), f"{name} backs off")
                assert cluster.status(name)["phase"] == "Pending"
            for each in pods:
                await cluster.delete_pod(each)
            await cluster.nothing_is_left()


def waits(cluster: WholeAgent, pod: str, reason: str) -> Callable[[], bool]:
    return lambda: cluster.container(pod).get("state", {}).get("waiting", {}).get("reason") == reason
