"""Real containers: hooks, sidecars, own restart rules, deadlines and last words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cluster import LocalCluster
from manifests import container, pod
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(podman, namespace(podman))


def hook(command: str) -> dict[str, object]:
    return {"exec": {"command": ["sh", "-c", command]}}


def test_hooks_run_after_the_start_and_before_the_end(space: Space) -> None:
    lifecycle = {"postStart": hook("echo hello > /proc/1/fd/1"), "preStop": hook("echo bye > /proc/1/fd/1")}
    refused = {"postStart": hook("echo secret; exit 3")}
    space.apply(
        pod("polite", container(FOREVER, lifecycle=lifecycle), terminationGracePeriodSeconds=20),
        pod("refused", container(FOREVER, lifecycle=refused)),
    )
    space.running("polite")
    following = space.start("logs", "-f", "polite")
    space.wait(lambda: "PostStartHook failed" in space.kubectl("events", "--for=pod/refused"))
    waiting = space.wait(lambda: space.container("refused")["state"].get("waiting"))
    assert waiting["reason"] in {"ContainerCreating", "PostStartHookError", "CrashLoopBackOff"}
    space.wait(lambda: space.container("refused")["restartCount"] >= 1)
    assert "secret" not in space.kubectl("events", "--for=pod/refused")
    space.kubectl("delete", "pod", "polite", "--timeout=45s")
    assert following.communicate(timeout=30)[0] == "hello\nbye\n"


def test_a_sidecar_starts_before_and_ends_after_the_others(space: Space) -> None:
    proxy = container(
        f"sleep 1; touch /up; {FOREVER}",
        name="proxy",
        restartPolicy="Always",
        startupProbe={"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1, "failureThreshold": 60},
    )
    space.apply(pod("job", container("sleep 1"), initContainers=[proxy], restartPolicy="Never"))
    ended = space.ended("job", "Succeeded")
    beside = space.container("job", init=True)["state"]["terminated"]
    assert beside["startedAt"] < ended["startedAt"]
    assert beside["finishedAt"] >= ended["finishedAt"]
    assert space.container("job", init=True)["restartCount"] == 0


def test_a_container_s_own_rules_say_whether_it_runs_again(space: Space) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    rule = {"restartPolicy": "Never", "restartPolicyRules": rules}
    space.apply(
        pod("ruled", container("exit 42", **rule), container("exit 1", name="other", **rule), restartPolicy="Always")
    )
    space.wait(lambda: space.container("ruled")["restartCount"] >= 1)
    space.wait(lambda: "terminated" in space.container("ruled", index=1)["state"])
    assert space.container("ruled", index=1)["restartCount"] == 0
    assert space.container("ruled", index=1)["state"]["terminated"]["exitCode"] == 1
    assert space.status("ruled")["phase"] == "Running"


def test_last_words_come_from_the_file_or_the_log(space: Space) -> None:
    space.apply(
        pod("written", container("echo gone > /dev/termination-log; exit 1"), restartPolicy="Never"),
        pod(
            "logged",
            container("echo well; echo broken >&2; exit 1", terminationMessagePolicy="FallbackToLogsOnError"),
            restartPolicy="Never",
        ),
        pod("late", container(FOREVER), activeDeadlineSeconds=3),
    )
    assert space.ended("written", "Failed")["message"] == "gone\n"
    assert space.ended("logged", "Failed")["message"] == "well\nbroken\n"
    space.wait(lambda: space.status("late")["phase"] == "Failed")
    assert space.status("late")["reason"] == "DeadlineExceeded"
    assert space.status("late")["message"] == "Pod was active on the node longer than the specified deadline"
