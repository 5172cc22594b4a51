"""`kubectl logs` and `kubectl exec` on real containers."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from local_cluster import BIN, LocalCluster
from manifests import container, pod
from space import Space
from terminals import terminal

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

TICKS = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


@pytest.fixture(scope="module")
def space(podman: LocalCluster) -> Iterator[Space]:
    """A namespace with one pod of two containers, one of which talks and one of which is quiet."""
    podman.kubectl("create", "namespace", "talk")
    made = Space(podman, "talk")
    quiet = container("trap 'exit 0' TERM; while :; do sleep 0.1; done", name="quiet")
    made.apply(pod("talker", container(TICKS, name="talks"), quiet))
    made.running("talker")
    yield made
    podman.kubectl("delete", "namespace", "talk", "--wait=false")


def test_logs_follow_while_lines_come(space: Space) -> None:
    following = space.start("logs", "-f", "talker", "-c", "talks", "--tail=1")
    try:
        first = int(following.stdout.readline().split()[1])
        rest = [following.stdout.readline() for _ in range(5)]
    finally:
        following.kill()
        following.communicate()
    assert rest == [f"tick {first + n}\n" for n in range(1, 6)]


def test_a_part_of_the_log(space: Space) -> None:
    space.wait(lambda: space.kubectl("logs", "talker", "-c", "talks").count("\n") > 10)
    every = space.kubectl("logs", "talker", "-c", "talks").splitlines()
    assert every[:3] == ["tick 1", "tick 2", "tick 3"]
    last = space.kubectl("logs", "talker", "-c", "talks", "--tail=3").splitlines()
    numbers = [int(line.split()[1]) for line in last]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert space.kubectl("logs", "talker", "-c", "talks", "--limit-bytes=7") == "tick 1\n"
    stamped = space.kubectl("logs", "talker", "-c", "talks", "--timestamps").splitlines()
    assert all(RFC3339.match(line) for line in stamped), stamped[:3]
    stamps = [line.split()[0] for line in stamped]
    assert stamps == sorted(stamps)
    # kubectl sends whole seconds.
    since = space.kubectl("logs", "talker", "-c", "talks", f"--since-time={stamps[9]}", "--timestamps").splitlines()
    expected = [line for line in stamped if line >= stamps[9][:19]]
    assert since[: len(expected)] == expected
    recent = space.kubectl("logs", "talker", "-c", "talks", "--since=1s").splitlines()
    assert 0 < len(recent) < 10


def test_logs_of_several_containers(space: Space) -> None:
    told = space.kubectl("logs", "talker", "--all-containers", "--prefix", "--tail=1")
    assert told.startswith("[pod/talker/talks] tick ")
    # Without -c, kubectl takes the first and says so.
    assert "Defaulted container" in space.kubectl("logs", "talker", "--tail=1")
    told = space.kubectl("logs", "-l", "app=talker", "-c", "talks", "--tail=2")
    assert told.count("tick") == 2
    told = space.kubectl("logs", "talker", "-c", "none", check=False)
    assert "container none is not valid for pod talker" in told


def test_the_log_of_the_previous_attempt(space: Space) -> None:
    space.apply(pod("reborn", container("cat /proc/sys/kernel/random/uuid; sleep 1; exit 1")))
    space.wait(lambda: space.container("reborn")["restartCount"] >= 1)
    space.wait(lambda: "running" in space.container("reborn")["state"] or space.kubectl("logs", "reborn"))
    before = space.kubectl("logs", "reborn", "--previous")
    assert len(before.strip()) == 36
    told = space.kubectl("logs", "talker", "-c", "talks", "--previous", check=False)
    assert 'previous terminated container "talks" in pod "talker" not found' in told
    space.kubectl("delete", "pod", "reborn", "--wait=false")


def test_a_log_ends_with_its_container(space: Space) -> None:
    space.apply(pod("short", container("for i in 1 2 3; do echo $i; sleep 0.3; done"), restartPolicy="Never"))
    space.wait(lambda: "waiting" not in space.container("short")["state"])
    assert space.kubectl("logs", "-f", "short") == "1\n2\n3\n"


def test_a_log_of_many_lines_arrives_whole(space: Space) -> None:
    space.apply(pod("many", container("seq 1 200000"), restartPolicy="Never"))
    space.ended("many", "Succeeded")
    expected = "".join(f"{n}\n" for n in range(1, 200_001))
    assert space.kubectl("logs", "many") == expected


def test_a_command_has_its_outputs_and_its_exit_code(space: Space) -> None:
    argv = (BIN / "kubectl", "-n", "talk", "exec", "talker", "-c", "quiet", "--")
    environ = {**os.environ, **space.cluster.environ}

    def run(*command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*argv, *command], capture_output=True, timeout=60, env=environ, check=False, **options)

    done = run("sh", "-c", "echo out; echo err >&2; exit 17")
    assert (done.returncode, done.stdout) == (17, b"out\n")
    assert done.stderr == b"err\ncommand terminated with exit code 17\n"
    assert run("true").returncode == 0
    missing = run("/no/such/command")
    assert missing.returncode != 0
    assert b"no such file or directory" in missing.stderr.lower()


def test_input_of_megabytes_reaches_a_command_whole(space: Space) -> None:
    content = os.urandom(5_000_000)
    done = subprocess.run(
        [BIN / "kubectl", "-n", "talk", "exec", "-i", "talker", "-c", "quiet", "--", "sha256sum"],
        input=content,
        capture_output=True,
        timeout=90,
        env={**os.environ, **space.cluster.environ},
        check=True,
    )
    assert done.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
    echoed = subprocess.run(
        [BIN / "kubectl", "-n", "talk", "exec", "-i", "talker", "-c", "quiet", "--", "cat"],
        input=content,
        capture_output=True,
        timeout=90,
        env={**os.environ, **space.cluster.environ},
        check=True,
    )
    assert hashlib.sha256(echoed.stdout).digest() == hashlib.sha256(content).digest()


def test_a_terminal(space: Space) -> None:
    """`exec -it` gives a terminal of our size, that echoes, takes ^C, and follows when ours is resized."""
    with terminal(space, "exec", "-it", "talker", "-c", "quiet", "--", "sh") as (screen, process):
        screen.read_until(b"# ")
        screen.type(b"tty; stty size\n")
        screen.read_until(b"/dev/pts/")
        screen.read_until(b"40 100")
        screen.resize(50, 120)
        deadline = time.monotonic() + 30
        told = b""
        while b"50 120" not in told:
            assert time.monotonic() < deadline, told
            screen.type(b"stty size; echo =\n")
            told = screen.read_until(b"\n=")
        # The quotes tell what a command shows from its own echo.
        screen.type(b"(trap 'echo inter''rupted; exit' INT; echo wait''ing; while :; do sleep 0.1; done)\n")
        screen.read_until(b"waiting")
        screen.type(b"\x03")
        screen.read_until(b"interrupted")
        screen.read_until(b"# ")  # the shell throws away what was typed before it asks again
        screen.type(b"exit 5\n")
        screen.read_until(b"exit code 5")
        assert process.wait(timeout=30) == 5


def test_attaching_to_what_is_not_there(space: Space) -> None:
    told = space.kubectl("exec", "nobody", "--", "true", check=False)
    assert 'pods "nobody" not found' in told
    told = space.kubectl("exec", "talker", "-c", "none", "--", "true", check=False)
    assert "container none is not valid for pod talker" in told or "container not found" in told


def test_logs_outlive_pods_and_are_answered_while_their_node_is_silent(space: Space) -> None:
    lines = "for i in 1 2 3; do echo line $i; done; echo last >&2"
    script = f"{lines}; trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done"
    space.apply(pod("passing", container(script)))
    space.wait(lambda: "last" in space.kubectl("logs", "passing"))
    node = space.get("pod", "passing")["spec"]["nodeName"]
    pod_name = f"{space.name}/passing"
    space.wait(lambda: "last" in space.cluster.orch("logs", pod_name, check=False))
    supervisor = space.cluster.report.pid.pid
    os.kill(supervisor, signal.SIGSTOP)  # nobody starts the agent again meanwhile
    try:
        killed = space.cluster.kill(f"agent-{node}")
        told = space.kubectl("logs", "passing", "--tail=2")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    space.wait(lambda: space.cluster.restarted(f"agent-{node}", killed))
    assert "line 3\nlast\n" in told
    assert "this is what was collected" in told
    space.kubectl("delete", "pod", "passing")
    told = space.cluster.orch("logs", pod_name, "-c", "main", "--since", "10m")
    heading, *found = told.splitlines()
    assert heading.startswith(f"==> {space.name}/passing (")
    assert heading.endswith(f"on {node} <==")
    assert found == ["line 1", "line 2", "line 3", "last", "bye"]
    assert "nothing was collected" in space.cluster.orch("logs", f"{space.name}/never", check=False)
