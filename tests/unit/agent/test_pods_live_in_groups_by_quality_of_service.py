from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch_agent.pods.groups import PodGroups
from orch_agent.pods.resources import Policy, group_limits, limits_of, pod_limits, pod_requests
from orch_agent.runtimes.cgroups import Hierarchy
from orch_agent.runtimes.protocol import Limits

POLICY = Policy(memory_capacity=8 << 30, memory_allocatable=7 << 30, pids=100)


def resources(cpu: str = "", memory: str = "", *, limits: Any = None) -> dict[str, Any]:
    asked = {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}
    return {"resources": {"requests": asked, "limits": limits or {}}}


GUARANTEED = resources(limits={"cpu": "500m", "memory": "64Mi"})
BURSTABLE = resources("250m", "32Mi")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("cpu", "memory", "pids"):
        (tmp_path / name).mkdir()
    return tmp_path


def groups_in(tree: Path) -> PodGroups:
    return PodGroups(Hierarchy(tree), "/orch/node-1", POLICY, whole=Limits(cpu_shares=4096, memory=4 << 30))


def shares(tree: Path, level: str = "") -> int:
    return int((tree / f"cpu/orch/node-1{level}/cpu.shares").read_text())


def empty(tree: Path, group: str) -> None:
    """Remove a group's files, which with the kernel go with their folder."""
    for path in tree.glob(f"*/orch/node-1/{group}/*"):
        path.unlink()


async def test_each_class_has_its_place_and_the_node_its_bounds(node: Any, tree: Path) -> None:
    groups = groups_in(tree)
    await groups.prepare()
    pods = {
        "/orch/node-1/podg": node.pod({"name": "a", **GUARANTEED}, uid="g"),
        "/orch/node-1/burstable/podb": node.pod({"name": "a", **BURSTABLE}, uid="b"),
        "/orch/node-1/besteffort/podn": node.pod(uid="n"),
    }
    for place, pod in pods.items():
        assert await groups.ensure(pod) == place
        assert (tree / f"memory{place}").is_dir()
    assert await groups.owners() == ["b", "g", "n"]
    assert (tree / "memory/orch/node-1/memory.limit_in_bytes").read_text() == str(4 << 30)
    assert (shares(tree), shares(tree, "/podg"), shares(tree, "/besteffort")) == (4096, 512, 2)
    assert (tree / "memory/orch/node-1/podg/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tree / "pids/orch/node-1/podg/pids.max").read_text() == "100"


async def test_burstable_pods_have_together_the_shares_that_they_ask_for(node: Any, tree: Path) -> None:
    groups = groups_in(tree)
    await groups.prepare()
    for uid in ("a", "b"):
        await groups.ensure(node.pod({"name": "a", **BURSTABLE}, uid=uid))
    assert shares(tree, "/burstable") == 512
    empty(tree, "burstable/poda")
    await groups.remove("a")
    await groups.remove("a")
    assert shares(tree, "/burstable") == 256
    assert await groups.owners() == ["b"]


async def test_a_new_process_leaves_shares_until_it_knows_the_pods(node: Any, tree: Path) -> None:
    first = groups_in(tree)
    await first.prepare()
    (tree / "pids/orch/node-1/burstable/pids.max").write_text("max")
    pod = node.pod({"name": "a", **BURSTABLE}, uid="a")
    await first.ensure(pod)
    second = groups_in(tree)
    await second.prepare()
    assert shares(tree, "/burstable") == 256
    await second.widen(pod)
    assert shares(tree, "/burstable") == 256


async def test_a_pod_that_changes_is_widened_first(node: Any, tree: Path) -> None:
    groups = groups_in(tree)
    await groups.prepare()
    old = node.pod({"name": "a", **resources("100m", "32Mi", limits={"cpu": "500m", "memory": "64Mi"})}, uid="a")
    new = node.pod({"name": "a", **resources("200m", "16Mi", limits={"cpu": "250m", "memory": "128Mi"})}, uid="a")
    folder = tree / "cpu/orch/node-1/burstable/poda"
    await groups.ensure(old)
    await groups.widen(new)
    assert ((folder / "cpu.shares").read_text(), (folder / "cpu.cfs_quota_us").read_text()) == ("204", "50000")
    await groups.ensure(new)
    assert (folder / "cpu.cfs_quota_us").read_text() == "25000"


async def test_simulated_nodes_have_no_groups(node: Any) -> None:
    groups = PodGroups(None, "", POLICY)
    await groups.prepare()
    assert await groups.ensure(node.pod()) == ""
    await groups.remove("u1")
    assert (await groups.owners(), groups.use("u1"), groups.use_of_all()) == ([], None, None)


def test_a_pod_asks_for_the_most_that_any_of_its_times_takes(node: Any) -> None:
    pod = node.pod(
        {"name": "a", **resources("100m", "64Mi")},
        {"name": "b", **resources("200m", "64Mi", limits={"memory": "1Gi"})},
        initContainers=[
            {"name": "side", "restartPolicy": "Always", **resources("50m")},
            {"name": "big", **resources("900m", "1Mi")},
        ],
        overhead={"cpu": "10m"},
    )
    assert pod_requests(pod) == {"cpu": 960, "memory": 128 << 20}
    assert pod_limits(pod) == {"memory": 1 << 30}


def test_what_not_all_containers_limit_is_not_limited_for_the_pod(node: Any) -> None:
    both = resources("100m", limits={"cpu": "1", "memory": "1Gi"})
    assert group_limits(node.pod({"name": "a", **both}, {"name": "b", **both}), POLICY).memory == 2 << 30
    mixed = group_limits(node.pod({"name": "a", **both}, {"name": "b", **resources("1")}), POLICY)
    assert (mixed.memory, mixed.cpu_quota, mixed.cpu_shares) == (0, 0, 1126)
    whole = group_limits(node.pod({"name": "a", **BURSTABLE}, resources={"limits": {"memory": "3Gi"}}), POLICY)
    assert whole.memory == 3 << 30


def test_memory_is_protected_and_slowed_down_only_when_that_is_wanted(node: Any) -> None:
    pod = node.pod({"name": "a", **resources("1", "100Mi", limits={"memory": "200Mi"})})
    assert limits_of(pod, pod.spec.containers[0], POLICY).memory_high == 0
    wanted = Policy(memory_capacity=8 << 30, memory_allocatable=7 << 30, memory_qos=True)
    found = limits_of(pod, pod.spec.containers[0], wanted)
    assert (found.memory_min, found.memory_high) == (100 << 20, 190 << 20)
    guaranteed = node.pod({"name": "a", **GUARANTEED})
    assert limits_of(guaranteed, guaranteed.spec.containers[0], wanted).memory_high == 0


def test_a_process_without_the_right_gives_no_score_below_its_own(node: Any) -> None:
    pod = node.pod({"name": "a", **GUARANTEED})
    assert limits_of(pod, pod.spec.containers[0], POLICY).oom_score_adj == -997
    held = Policy(memory_capacity=8 << 30, least_oom_score=-10)
    assert limits_of(pod, pod.spec.containers[0], held).oom_score_adj == -10
