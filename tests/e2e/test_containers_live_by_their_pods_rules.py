"""Real containers: order, restarts, back-off, ends, environment, limits, images that cannot be had."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cluster import LocalCluster
from manifests import BUSYBOX, config_map, container, pod, secret
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(podman, namespace(podman))


def test_init_containers_run_in_order_before_the_others(space: Space) -> None:
    shared = "cat /proc/sys/kernel/random/uuid"
    steps = [container(f"echo step {n}; {shared}", name=f"step-{n}") for n in (1, 2)]
    space.apply(pod("staged", container(f"echo main; {FOREVER}"), initContainers=steps))
    space.running("staged")
    first, second = (space.container("staged", init=True, index=n)["state"]["terminated"] for n in (0, 1))
    assert (first["reason"], first["exitCode"], second["reason"]) == ("Completed", 0, "Completed")
    started = space.container("staged")["state"]["running"]["startedAt"]
    assert first["finishedAt"] <= second["startedAt"] <= second["finishedAt"] <= started
    assert space.kubectl("logs", "staged", "-c", "step-1").startswith("step 1\n")


def test_a_failing_init_container_holds_the_others_back(space: Space) -> None:
    space.apply(
        pod("once", container("true"), initContainers=[container("exit 7", name="init")], restartPolicy="Never"),
        pod("again", container("true"), initContainers=[container("exit 7", name="init")]),
    )
    space.wait(lambda: space.status("once")["phase"] == "Failed")
    assert space.container("once", init=True)["state"]["terminated"]["exitCode"] == 7
    assert "waiting" in space.container("once")["state"]
    space.wait(lambda: space.container("again", init=True)["restartCount"] >= 1)
    assert space.status("again")["phase"] == "Pending"
    shown = space.kubectl("get", "pods", "--no-headers")
    assert "Init:Error" in shown
    space.wait(lambda: "Init:CrashLoopBackOff" in space.kubectl("get", "pods", "--no-headers"))


def test_ends_are_told_by_code_and_reason(space: Space) -> None:
    space.apply(
        pod("well", container("echo done"), restartPolicy="Never"),
        pod("badly", container("echo broken >&2; exit 3"), restartPolicy="Never"),
        pod("retried", container("exit 4"), restartPolicy="OnFailure"),
        pod("missing", {**container(""), "command": ["/no/such/program"]}, restartPolicy="Never"),
    )
    well = space.ended("well", "Succeeded")
    assert (well["exitCode"], well["reason"]) == (0, "Completed")
    badly = space.ended("badly", "Failed")
    assert (badly["exitCode"], badly["reason"]) == (3, "Error")
    assert badly["startedAt"] <= badly["finishedAt"]
    assert space.kubectl("logs", "badly") == "broken\n"
    missing = space.ended("missing", "Failed")
    assert (missing["exitCode"], missing["reason"]) in {(127, "ContainerCannotRun"), (128, "StartError")}
    assert "/no/such/program" in missing["message"]
    space.wait(lambda: space.container("retried")["restartCount"] >= 1)
    assert space.container("retried")["lastState"]["terminated"]["exitCode"] == 4
    shown = space.kubectl("get", "pods", "--no-headers")
    for name, status in (("well", "Completed"), ("badly", "Error")):
        assert any(line.split()[0] == name and line.split()[2] == status for line in shown.splitlines()), shown


def test_a_crash_loop_backs_off(space: Space) -> None:
    space.apply(pod("looping", container("echo again; exit 1")))
    state = space.wait(lambda: space.container("looping")["state"].get("waiting"), what="the container waits")
    space.wait(lambda: space.container("looping")["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    state = space.container("looping")["state"]["waiting"]
    assert state["message"].startswith("back-off ")
    assert "restarting failed container=main pod=looping" in state["message"]
    assert space.container("looping")["restartCount"] >= 1
    space.wait(lambda: "Back-off restarting failed container main" in space.kubectl("events", "--for=pod/looping"))
    assert space.status("looping")["phase"] == "Running"


def test_a_container_that_takes_more_than_its_memory_is_killed(space: Space) -> None:
    hungry = container("exec tail /dev/zero", resources={"limits": {"memory": "24Mi"}})
    space.apply(pod("hungry", hungry, restartPolicy="Never"))
    ended = space.ended("hungry", "Failed")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_limits_are_the_control_groups_settings(space: Space, podman: LocalCluster) -> None:
    limited = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    space.apply(pod("limited", container(FOREVER, resources=limited), node="node-1"))
    space.running("limited")
    folders = podman.control_groups("node-1", space.container("limited")["containerID"].removeprefix("podman://"))

    def setting(*names: str) -> str:
        return next((folder / name).read_text() for folder in folders for name in names if (folder / name).exists())

    assert setting("memory.max", "memory.limit_in_bytes").strip() == str(64 << 20)
    quota = setting("cpu.max", "cpu.cfs_quota_us").split()
    period = quota[1] if len(quota) > 1 else setting("cpu.cfs_period_us").strip()
    assert int(quota[0]) * 2 == int(period)
    # 250m are 256 shares, or a weight of 10 as runc converts them.
    assert setting("cpu.weight", "cpu.shares").strip() in {"256", "10"}


def test_the_environment_is_put_together_from_all_its_sources(space: Space) -> None:
    space.apply(config_map("settings", colour="blue", size="5"), secret("keys", token="s3cret"))
    variables = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "OPTIONAL", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "a", "optional": True}}},
        {"name": "COMBINED", "value": "$(COLOUR)-$(APP)-$$(COLOUR)-$(UNKNOWN)"},
    ]
    sources = [{"configMapRef": {"name": "settings"}, "prefix": "SET_"}, {"secretRef": {"name": "keys"}}]
    main = container("pwd; env", env=variables, envFrom=sources, workingDir="/tmp", resources={"limits": {"cpu": "1"}})
    space.apply(pod("informed", main, restartPolicy="Never"))
    space.ended("informed", "Succeeded")
    where, *lines = space.kubectl("logs", "informed").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert where == "/tmp"
    expected = {
        "COLOUR": "blue",
        "TOKEN": "s3cret",
        "NODE": space.get("pod", "informed")["spec"]["nodeName"],
        "POD_IP": space.status("informed")["podIP"],
        "APP": "informed",
        "CPUS": "1",
        "COMBINED": "blue-informed-$(COLOUR)-$(UNKNOWN)",
        "SET_colour": "blue",
        "SET_size": "5",
        "token": "s3cret",
        "HOSTNAME": "informed",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "OPTIONAL" not in found


def test_a_container_whose_settings_are_missing_waits_for_them(space: Space) -> None:
    variable = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}
    space.apply(pod("patient", container('echo "$A"', env=[variable]), restartPolicy="Never"))
    space.wait(lambda: space.container("patient")["state"]["waiting"]["reason"] == "CreateContainerConfigError")
    assert 'configmap "late" not found' in space.container("patient")["state"]["waiting"]["message"]
    space.apply(config_map("late", a="here"))
    space.ended("patient", "Succeeded")
    assert space.kubectl("logs", "patient") == "here\n"


def test_images_that_cannot_be_had(space: Space) -> None:
    def waits(name: str) -> str:
        return space.container(name)["state"]["waiting"]["reason"]

    never = container("true", imagePullPolicy="Never") | {"image": "docker.io/library/never-pulled:1"}
    space.apply(
        pod("absent", container("true") | {"image": "docker.io/library/no-such-image:1"}),
        pod("never", never),
        pod("malformed", container("true") | {"image": "Not An Image"}),
    )
    space.wait(lambda: waits("absent") in {"ErrImagePull", "ImagePullBackOff"})
    space.wait(lambda: waits("absent") == "ImagePullBackOff")
    space.wait(lambda: waits("never") == "ErrImageNeverPull")
    space.wait(lambda: waits("malformed") == "InvalidImageName")
    assert space.status("absent")["phase"] == "Pending"
    told = space.kubectl("events", "--for=pod/absent")
    assert "Failed to pull image" in told


def test_containers_of_a_pod_share_its_network_and_restart_alone(space: Space) -> None:
    server = container("mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www", name="server")
    client = container(f"until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done; {FOREVER}", name="client")
    space.apply(pod("pair", server, client))
    space.running("pair")
    space.wait(lambda: space.kubectl("logs", "pair", "-c", "client").endswith("hello\n"))
    address = space.status("pair")["podIP"]
    space.kubectl("exec", "pair", "-c", "client", "--", "kill", "-TERM", "1")
    space.wait(lambda: space.container("pair", index=1)["restartCount"] == 1)
    assert space.container("pair", index=0)["restartCount"] == 0
    assert space.status("pair")["podIP"] == address
    space.running("pair")


def test_a_container_gets_its_grace_and_no_more(space: Space) -> None:
    polite = container("trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done")
    deaf = container("trap '' TERM; while :; do sleep 0.1; done")
    space.apply(pod("polite", polite, terminationGracePeriodSeconds=60), pod("deaf", deaf))
    space.running("polite", "deaf")
    following = space.start("logs", "-f", "polite")
    space.kubectl("delete", "pod", "polite", "deaf", "--timeout=45s")
    assert following.communicate(timeout=30)[0] == "bye\n"


def test_command_and_arguments_as_kubernetes_combines_them(space: Space) -> None:
    echo = {"name": "main", "image": BUSYBOX, "command": ["echo", "$(WHO)"], "args": ["$$(WHO)", "a b"]}
    space.apply(pod("combined", {**echo, "env": [{"name": "WHO", "value": "me"}]}, restartPolicy="Never"))
    space.ended("combined", "Succeeded")
    assert space.kubectl("logs", "combined") == "me $(WHO) a b\n"
