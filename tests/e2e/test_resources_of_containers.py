"""Real containers: their groups, what they may use, what becomes of those that use more, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster
from manifests import container, pod
from prometheus_client.parser import text_string_to_metric_families
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
NODE = "node-1"
MI = 1 << 20


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(podman, namespace(podman))


def settings(space: Space, group: str) -> dict[str, str]:
    """Return the settings of a group below the node's, under v1's names; "" is the node's own."""
    root, place = Path("/sys/fs/cgroup"), f"orch-{space.cluster.name}/{NODE}/{group}".rstrip("/")
    names = {
        "cpu.shares": root / "cpu" / place / "cpu.shares",
        "quota": root / "cpu" / place / "cpu.cfs_quota_us",
        "memory": root / "memory" / place / "memory.limit_in_bytes",
    }
    if (root / "cgroup.controllers").exists():
        names = {"memory": root / place / "memory.max"}
    return {name: path.read_text().strip() for name, path in names.items()}


def is_v1() -> bool:
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def ask(space: Space, path: str) -> str:
    return space.cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy{path}")


def families(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def test_pods_live_in_groups_by_quality_of_service_and_are_resized(space: Space) -> None:
    exact = {"cpu": "100m", "memory": "48Mi"}
    burst = {"requests": {"cpu": "200m", "memory": "16Mi"}, "limits": {"cpu": "400m", "memory": "64Mi"}}
    space.apply(
        pod("exact", container(FOREVER, resources={"limits": exact, "requests": exact}), node=NODE),
        pod("burst", container(FOREVER, resources=burst), node=NODE),
        pod("plain", container(FOREVER), node=NODE),
    )
    space.running("exact", "burst", "plain")
    places = {"exact": "", "burst": "burstable/", "plain": "besteffort/"}
    groups = {name: f"{level}pod{space.get('pod', name)['metadata']['uid']}" for name, level in places.items()}
    assert settings(space, groups["exact"])["memory"] == str(48 * MI)
    if is_v1():
        assert settings(space, groups["exact"])["cpu.shares"] == "102"
        assert settings(space, groups["burst"]) == {"cpu.shares": "204", "quota": "40000", "memory": str(64 * MI)}
        assert settings(space, groups["plain"])["cpu.shares"] == "2"
        assert int(settings(space, "burstable")["cpu.shares"]) >= 204
    own = f"libpod-{space.container('burst')['containerID'].removeprefix('podman://')}"
    assert settings(space, f"{groups['burst']}/{own}")["memory"] == str(64 * MI)

    # More is given to the running container; what the node does not have is refused, and told.
    resize(space, "burst", {"requests": {"cpu": "300m", "memory": "16Mi"}, "limits": {"cpu": "600m", "memory": "96Mi"}})
    space.wait(lambda: space.container("burst")["resources"]["limits"] == {"cpu": "600m", "memory": "96Mi"})
    assert settings(space, f"{groups['burst']}/{own}")["memory"] == str(96 * MI)
    assert settings(space, groups["burst"])["memory"] == str(96 * MI)
    assert space.container("burst")["restartCount"] == 0
    assert space.container("burst")["allocatedResources"] == {"cpu": "300m", "memory": "16Mi"}
    resize(space, "burst", {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}})
    pending = space.wait(lambda: condition(space, "burst", "PodResizePending"))
    assert pending["reason"] == "Infeasible"
    assert pending["message"].startswith("Node didn't have enough capacity: cpu, requested: 900000, capacity: ")
    resize(space, "burst", {"requests": {"cpu": "300m"}, "limits": {"cpu": "600m"}})
    space.wait(lambda: not condition(space, "burst", "PodResizePending"))

    # What they use is told in kubelet's words.
    summary = json.loads(ask(space, "/stats/summary"))
    assert summary["node"]["memory"]["availableBytes"] > 0
    told = {each["podRef"]["name"]: each for each in summary["pods"] if each["podRef"]["namespace"] == space.name}
    assert set(told) == {"exact", "burst", "plain"}
    assert all(each["containers"][0]["memory"]["workingSetBytes"] > 0 for each in told.values())
    assert all(each["network"]["name"] == "eth0" for each in told.values())
    assert told["burst"]["process_stats"]["process_count"] >= 1
    metrics = list(families(ask(space, "/metrics/cadvisor")))
    names = {
        name for name, labels, _ in metrics if labels.get("pod") == "burst" and labels.get("namespace") == space.name
    }
    assert {"container_memory_working_set_bytes", "container_network_receive_bytes_total"} <= names
    images = space.cluster.get("node", NODE)["status"].get("images") or []
    assert all(image["sizeBytes"] > 0 for image in images)

    space.kubectl("delete", "pod", "exact", "burst", "plain", "--wait=true")
    root = Path("/sys/fs/cgroup") / ("memory" if is_v1() else "") / f"orch-{space.cluster.name}/{NODE}"
    assert [group for group in groups.values() if (root / group).exists()] == []


def test_who_takes_more_than_it_may_is_ended(space: Space) -> None:
    fill = "dd if=/dev/zero of=%s bs=1M count=30; " + FOREVER
    scratch = {"name": "scratch", "emptyDir": {"sizeLimit": "5Mi"}}
    mounted = container(fill % "/scratch/big", volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}])
    limited = container(fill % "/big", resources={"limits": {"ephemeral-storage": "10Mi"}})
    child = container("tail /dev/zero & sleep 600; sleep 600", resources={"limits": {"memory": "24Mi"}})
    space.apply(
        pod("child", child, restartPolicy="Never", node=NODE),
        pod("full", mounted, volumes=[scratch], node=NODE),
        pod("fat", limited, node=NODE),
    )
    ended = space.ended("child", "Failed")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    words = {
        "full": 'Usage of EmptyDir volume "scratch" exceeds the limit "5Mi". ',
        "fat": "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ",
    }
    for name, message in words.items():
        space.ended(name, "Failed")
        status = space.status(name)
        assert (status["reason"], status["message"]) == ("Evicted", message)
        disrupted = condition(space, name, "DisruptionTarget")
        assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")


def resize(space: Space, name: str, resources: dict[str, Any]) -> None:
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    space.kubectl("patch", "pod", name, "--subresource", "resize", "-p", json.dumps(patch))


def condition(space: Space, name: str, kind: str) -> dict[str, Any]:
    found = space.status(name).get("conditions") or []
    return next((each for each in found if each["type"] == kind), {})
