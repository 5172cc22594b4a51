from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orch.clock import ManualClock
from orch_agent.eviction.thresholds import EvictionSettings, reserved_by, thresholds_of
from orch_agent.housekeeping import share_of
from orch_agent.node import Machine, Node, NodeSettings
from orch_agent.runtimes.protocol import Features
from orch_agent.runtimes.simulated import SimulatedRuntime
from orch_agent.stats import machine as kernel

GI = 1 << 30
INFO = {"architecture": "amd64", "operatingSystem": "linux"}


def make(huge_pages: dict[str, int] | None = None, **settings: Any) -> Node:
    found = Machine(cpus=4, memory_bytes=8 * GI, disk_bytes=100 * GI, info=INFO, huge_pages=huge_pages or {})
    kept = partial(reserved_by, thresholds_of(EvictionSettings()))
    wanted = NodeSettings(name="n", address="192.0.2.1", pod_cidr="", **{"kept": kept, **settings})
    return Node(wanted, found, SimulatedRuntime(ManualClock()), simulated=True)


def test_capacity_is_what_the_machine_has() -> None:
    node = make({"hugepages-1Gi": 0, "hugepages-2Mi": 512 << 20})
    assert node.capacity == {
        "cpu": "4",
        "ephemeral-storage": f"{100 * GI >> 10}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "512Mi",
        "memory": f"{8 * GI >> 10}Ki",
        "pods": "110",
    }


def test_allocatable_is_less_what_is_reserved_and_what_evictions_keep() -> None:
    node = make(
        {"hugepages-2Mi": 512 << 20},
        reserved={"cpu": "250m", "memory": "256Mi", "ephemeral-storage": "1Gi"},
        system_reserved={"cpu": "250m", "memory": "128Mi"},
    )
    assert node.allocatable == {
        "cpu": "3500m",
        "ephemeral-storage": f"{89 * GI >> 10}Ki",
        "hugepages-2Mi": "512Mi",
        "memory": f"{(8 << 10) - 512 - 256 - 128 - 100 << 10}Ki",
        "pods": "110",
    }


def test_more_reserved_than_there_is_leaves_nothing() -> None:
    assert make(reserved={"memory": "1Ti"}).allocatable["memory"] == "0Ki"


def test_what_is_set_overrides_what_is_found() -> None:
    node = make(
        capacity={"cpu": "500m", "memory": "1Gi", "pods": "20", "example.com/widget": "3"}, reserved={"memory": "1Mi"}
    )
    assert (node.capacity["cpu"], node.allocatable["example.com/widget"]) == ("500m", "3")
    share = share_of(node)
    assert (share.memory, share.pods_memory, share.of_machine) == (GI, GI - (1 << 20), True)
    assert not share_of(make()).of_machine


@pytest.mark.parametrize(
    ("pressures", "kind", "reason", "message"),
    [
        (set(), "MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        (
            {"MemoryPressure"},
            "MemoryPressure",
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ),
        (set(), "DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ({"DiskPressure"}, "DiskPressure", "KubeletHasDiskPressure", "kubelet has disk pressure"),
        (set(), "PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ({"PIDPressure"}, "PIDPressure", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ],
)
def test_conditions_speak_as_kubelets_do(pressures: set[str], kind: str, reason: str, message: str) -> None:
    node = make()
    node.pressures = lambda: frozenset(pressures)
    document = msgspec.json.decode(node.document(ManualClock().now()))
    found = next(each for each in document["status"]["conditions"] if each["type"] == kind)
    assert (found["status"], found["reason"], found["message"]) == (str(kind in pressures), reason, message)


def test_pressure_and_images_make_a_node_worth_reporting() -> None:
    node = make()
    before = node.fingerprint()
    node.pressures = lambda: frozenset({"DiskPressure"})
    under_pressure = node.fingerprint()
    node.images = lambda: [{"names": ["a:1"], "sizeBytes": 5}]
    assert len({before, under_pressure, node.fingerprint()}) == 3
    assert msgspec.json.decode(node.document(ManualClock().now()))["status"]["images"] == [
        {"names": ["a:1"], "sizeBytes": 5}
    ]


def test_what_the_runtime_can_is_told() -> None:
    told = msgspec.json.decode(make().document(ManualClock().now()))["status"]
    features = {"recursiveReadOnlyMounts": True, "userNamespaces": False}
    assert told["runtimeHandlers"] == [{"name": "", "features": features}]
    assert told["features"] == {"supplementalGroupsPolicy": True}
    less = Features(handlers=("", "kata"), strict_groups=False)
    other = Node(make().settings, make().machine, SimulatedRuntime(ManualClock()), features=less)
    told = msgspec.json.decode(other.document(ManualClock().now()))["status"]
    assert [each["name"] for each in told["runtimeHandlers"]] == ["", "kata"]
    assert told["features"] == {"supplementalGroupsPolicy": False}


# -- what the kernel says ----------------------------------------------------------------------------------------------


def test_huge_pages_are_found(tmp_path: Path) -> None:
    for size, pages in ((2048, 3), (1_048_576, 0), (64, 5)):
        folder = tmp_path / f"kernel/mm/hugepages/hugepages-{size}kB"
        folder.mkdir(parents=True)
        (folder / "nr_hugepages").write_text(f"{pages}\n")
    assert kernel.huge_pages(tmp_path) == {"hugepages-1Gi": 0, "hugepages-2Mi": 6 << 20, "hugepages-64Ki": 320 << 10}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    meminfo = {
        "MemTotal": 1000,
        "MemFree": 300,
        "Inactive(file)": 200,
        "AnonPages": 100,
        "SwapTotal": 50,
        "SwapFree": 20,
    }
    (tmp_path / "meminfo").write_text("".join(f"{name}: {value} kB\n" for name, value in meminfo.items()))
    (tmp_path / "vmstat").write_text("pgfault 7\npgmajfault 1\n")
    (tmp_path / "stat").write_text("cpu  100 0 100 900 0 0 0 0 0 0\nbtime 1700000000\n")
    (tmp_path / "loadavg").write_text("0.1 0.2 0.3 1/321 999\n")
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/pid_max").write_text("32768\n")
    (tmp_path / "sys/kernel/threads-max").write_text("1000\n")
    (tmp_path / "net").mkdir()
    numbers = " ".join(str(number) for number in range(1, 17))
    (tmp_path / "net/dev").write_text(f"Inter-|\n face |\n    lo: {numbers}\n  eth0: {numbers}\n")
    return tmp_path


def test_a_machine_uses_what_it_could_not_give_back(proc: Path) -> None:
    found = kernel.look(proc)
    assert (found.memory.usage, found.memory.working_set, found.memory_available) == (700 << 10, 500 << 10, 500 << 10)
    assert (found.memory.swap, found.swap_total, found.memory.page_faults) == (30 << 10, 50 << 10, 7)
    assert (found.processes, found.most_processes, found.booted_at) == (321, 1000, 1_700_000_000)
    assert found.cpu_nanos == 2_000_000_000
    (interface,) = found.networks
    assert (interface.name, interface.rx_bytes, interface.rx_errors, interface.tx_bytes, interface.tx_errors) == (
        "eth0",
        1,
        3,
        9,
        11,
    )


@pytest.mark.parametrize(("capabilities", "least"), [("000001ffffffffff", -1000), ("000001fffeffffff", -5)])
def test_who_may_not_lower_a_score_keeps_to_its_own(tmp_path: Path, capabilities: str, least: int) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
    (tmp_path / "self/oom_score_adj").write_text("-5\n")
    assert kernel.least_oom_score(tmp_path) == least
