"""What a node measures, and how it tells it: summary, metrics, samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orch.clock import ManualClock
from orch_agent.runtimes.protocol import Identity, Layers, StoredImage, Usage
from orch_agent.stats.disk import file_system, measure
from orch_agent.stats.exposition import cadvisor_metrics, exposition, resource_metrics, scrape_error
from orch_agent.stats.meter import NodeMeter, Share
from orch_agent.stats.model import (
    ContainerStats,
    DiskUse,
    FileSystem,
    MemoryUse,
    NetworkUse,
    NodeStats,
    PodStats,
    Throttling,
    VolumeStats,
)
from orch_agent.stats.sample import Samples
from orch_agent.stats.summary import Rates, summary
from orch_agent.volumes.usage import VolumeUsage

MI = 1 << 20
SECOND = 1_000_000_000


def figures(time: float = 1000.0, cpu: int = 5) -> NodeStats:
    container = ContainerStats(
        name="web",
        id="abc",
        cpu_nanos=cpu * SECOND,
        memory=MemoryUse(usage=9 * MI, working_set=7 * MI, rss=5 * MI, swap=1, page_faults=3, major_page_faults=2),
        throttling=Throttling(10, 4, 2 * SECOND),
        processes=3,
        layer=DiskUse(2 * MI, 5),
        logs=DiskUse(MI, 1),
    )
    pod = PodStats(
        namespace="default",
        name="web-1",
        uid="u1",
        containers=(container,),
        volumes=(
            VolumeStats(name="scratch", used=DiskUse(4 * MI, 2)),
            VolumeStats(name="cache", used=DiskUse(8 * MI, 2), in_memory=True),
        ),
        networks=(NetworkUse(name="eth0", rx_bytes=100, tx_bytes=50),),
        cpu_nanos=(cpu + 1) * SECOND,
        memory=MemoryUse(usage=20 * MI, working_set=15 * MI),
        processes=4,
    )
    disk = FileSystem(1000 * MI, 400 * MI, 5000, 4000)
    return NodeStats(
        time=time,
        cpu_nanos=50 * SECOND,
        memory=MemoryUse(usage=300 * MI, working_set=200 * MI),
        memory_capacity=1000 * MI,
        memory_available=800 * MI,
        pods_memory_available=700 * MI,
        node_fs=disk,
        image_fs=disk,
        images_bytes=64 * MI,
        most_processes=1000,
        processes=100,
        networks=(NetworkUse(name="veth1"), NetworkUse(name="eth0", rx_bytes=9)),
        pods={"u1": pod},
    )


def told(**options: Any) -> dict[str, Any]:
    started = {"u1": "2026-01-01T00:00:00Z", "u1/web": "2026-01-01T00:00:01Z"}
    return summary("node-1", figures(), Rates(), started, **options)


def test_a_summary_tells_of_the_node() -> None:
    node = told()["node"]
    assert node["memory"]["availableBytes"] == 800 * MI
    assert node["memory"]["workingSetBytes"] == 200 * MI
    assert (node["fs"]["usedBytes"], node["fs"]["inodesUsed"]) == (600 * MI, 1000)
    assert node["runtime"]["imageFs"]["usedBytes"] == 64 * MI
    assert (node["rlimit"]["maxpid"], node["rlimit"]["curproc"]) == (1000, 100)
    assert (node["network"]["name"], node["network"]["rxBytes"]) == ("eth0", 9)
    assert [each["name"] for each in node["network"]["interfaces"]] == ["veth1", "eth0"]
    assert node["systemContainers"][0]["name"] == "pods"


def test_a_summary_tells_of_pods_containers_and_volumes() -> None:
    (pod,) = told()["pods"]
    assert pod["podRef"] == {"name": "web-1", "namespace": "default", "uid": "u1"}
    assert pod["startTime"] == "2026-01-01T00:00:00Z"
    assert pod["memory"]["workingSetBytes"] == 15 * MI
    assert pod["ephemeral-storage"]["usedBytes"] == 7 * MI
    assert pod["process_stats"] == {"process_count": 4}
    assert {each["name"]: each["usedBytes"] for each in pod["volume"]} == {"scratch": 4 * MI, "cache": 8 * MI}
    (container,) = pod["containers"]
    assert container["startTime"] == "2026-01-01T00:00:01Z"
    assert (container["rootfs"]["usedBytes"], container["logs"]["usedBytes"]) == (2 * MI, MI)
    assert container["memory"]["majorPageFaults"] == 2


def test_a_brief_summary_tells_of_processors_and_memory_alone() -> None:
    document = told(only_cpu_and_memory=True)
    assert set(document["node"]) == {"nodeName", "systemContainers", "startTime", "cpu", "memory"}
    assert set(document["pods"][0]) == {"podRef", "startTime", "containers", "cpu", "memory"}
    assert set(document["pods"][0]["containers"][0]) == {"name", "startTime", "cpu", "memory"}


def test_rates_are_known_from_the_second_question_on() -> None:
    rates = Rates()
    rates.take(figures())
    assert rates.of("u1", "web") is None
    rates.take(figures(time=1004.0, cpu=7))
    assert rates.of("u1", "web") == SECOND // 2
    rates.take(figures(time=1005.0, cpu=1))  # another attempt of the container
    assert rates.of("u1", "web") is None


def parsed(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.values()))] = sample.value
    return found


def test_resource_metrics_have_kubelets_names() -> None:
    stats = figures()
    found = parsed(exposition(resource_metrics(stats, {"u1/web": "1970-01-01T00:01:40Z"}), stats.time))
    labels = ("default", "web", "web-1")
    assert found["container_cpu_usage_seconds_total"] == {labels: 5}
    assert found["container_memory_working_set_bytes"] == {labels: 7 * MI}
    assert found["container_start_time_seconds"] == {labels: 100}
    assert found["pod_memory_working_set_bytes"] == {("default", "web-1"): 15 * MI}
    assert found["node_cpu_usage_seconds_total"] == {(): 50}
    assert found["resource_scrape_error"] == {(): 0}
    assert parsed(exposition([scrape_error(failed=True)], 5))["resource_scrape_error"] == {(): 1}


def test_cadvisors_metrics_have_its_names_and_labels() -> None:
    stats = figures()
    text = exposition(cadvisor_metrics(stats, 4, {"u1/web": "nginx:1"}), stats.time)
    found = parsed(text)
    web, whole = ("abc", "abc", "default", "nginx:1", "web", "web-1"), ("", "", "", "", "default", "web-1")
    assert found["container_memory_working_set_bytes"] == {web: 7 * MI, whole: 15 * MI}
    assert found["container_cpu_cfs_throttled_seconds_total"][web] == 2
    assert found["container_fs_usage_bytes"][web] == 3 * MI
    assert found["container_network_receive_bytes_total"] == {("", "", "", "", "default", "eth0", "web-1"): 100}
    assert found["machine_cpu_cores"] == {(): 4}
    assert 'container_memory_failures_total{container="web",id="abc",image="nginx:1"' in text


def test_samples_carry_all_of_it() -> None:
    sample = Samples("node-1").of(figures())
    assert (sample.node, sample.unix_nanos, sample.memory_bytes) == ("node-1", 1000 * SECOND, 200 * MI)
    assert (sample.memory_available, sample.node_fs.available, sample.processes) == (800 * MI, 400 * MI, 100)
    (pod,) = sample.pods
    assert (pod.memory_bytes, pod.processes, pod.networks[0].rx_bytes) == (15 * MI, 4, 100)
    assert {each.name: (each.used.bytes, each.in_memory) for each in pod.volumes} == {
        "scratch": (4 * MI, False),
        "cache": (8 * MI, True),
    }
    (container,) = pod.containers
    assert (container.cpu_nanos, container.rss_bytes, container.throttled_nanos) == (5 * SECOND, 5 * MI, 2 * SECOND)
    assert (container.layer.bytes, container.logs.inodes) == (2 * MI, 1)


# -- measuring -------------------------------------------------------------------------------------------------------


def test_folders_take_blocks_and_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_bytes(b"x" * 100_000)
    before = measure(str(tmp_path))
    assert before.bytes >= 100_000
    assert before.inodes == 3
    (tmp_path / "again").hardlink_to(tmp_path / "sub/file")
    (tmp_path / "link").symlink_to("/")
    found = measure(str(tmp_path))
    assert found.inodes == 4
    assert found.bytes - before.bytes < 100_000
    assert measure(str(tmp_path / "gone")) == DiskUse()


def test_a_sparse_file_takes_what_it_holds(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert measure(str(tmp_path)).bytes < MI


def test_file_systems(tmp_path: Path) -> None:
    found = file_system(tmp_path)
    assert 0 < found.available <= found.capacity
    assert file_system(tmp_path / "gone") == FileSystem()


class Played:
    """A runtime and a node's groups of which only figures are asked."""

    def __init__(self) -> None:
        self.looks = 0

    async def usage(self) -> list[Usage]:
        return [Usage(Identity("n", "default", "web-1", "u1", "web"), SECOND, 7 * MI, id="abc", processes=2)]

    async def layers(self) -> list[Layers]:
        self.looks += 1
        return [Layers(Identity("n", "default", "web-1", "u1", "web"), "abc", DiskUse(3 * MI, 9), DiskUse(MI, 1))]

    async def images(self) -> list[StoredImage]:
        return [StoredImage(id="i", size=5 * MI)]

    async def image_file_system(self) -> str:
        return ""

    async def volumes(self, uid: str) -> list[VolumeUsage]:
        assert uid == "u1"
        return [VolumeUsage(name="scratch", bytes=2 * MI, files=3)]


@pytest.fixture
def played() -> Played:
    return Played()


async def test_disks_are_measured_now_and_then_and_remembered(played: Played) -> None:
    clock = ManualClock()
    share = Share(memory=100 * MI, pods_memory=50 * MI, of_machine=True)
    meter = NodeMeter(played, None, clock, share, folder="", volumes=played.volumes, pods=lambda: ["u1"])  # type: ignore[arg-type] - a simulated node has no groups
    first = await meter.stats()
    assert (first.pods["u1"].disk(layers=True, logs=True, volumes=True), played.looks) == (DiskUse(), 0)
    await meter.stats(fresh=True)
    await meter.stats(fresh=True)
    found = await meter.stats()
    assert played.looks == 1
    assert found.pods["u1"].disk(layers=True, logs=True, volumes=True) == DiskUse(6 * MI, 13)
    assert (found.memory_available, found.pods_memory_available, found.images_bytes) == (93 * MI, 43 * MI, 5 * MI)
    await clock.advance(10)
    await meter.stats(fresh=True)
    assert played.looks == 2
    meter.forget_disks()
    await meter.stats(fresh=True)
    assert played.looks == 3


def test_what_a_sample_says_of_an_idle_pod_is_not_made_anew() -> None:
    samples, stats = Samples("node-1"), figures()
    first = samples.of(stats)
    again = samples.of(msgspec.structs.replace(stats, time=stats.time + 1))
    assert again.pods == first.pods
    uid, pod = next(iter(stats.pods.items()))
    busier = msgspec.structs.replace(pod, processes=pod.processes + 1)
    later = samples.of(msgspec.structs.replace(stats, pods={**stats.pods, uid: busier}))
    assert next(each for each in later.pods if each.uid == uid).processes == pod.processes + 1
    assert [each.uid for each in samples.of(msgspec.structs.replace(stats, pods={})).pods] == []
