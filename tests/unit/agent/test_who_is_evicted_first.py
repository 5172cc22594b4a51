from __future__ import annotations

from typing import Any

import pytest

from orch.objects.pods import Pod
from orch_agent.eviction.pressure import Observation
from orch_agent.eviction.ranking import rank
from orch_agent.eviction.storage_limits import beyond_limits
from orch_agent.eviction.thresholds import EvictionSettings, Signal, thresholds_of
from orch_agent.eviction.verdict import node_is_low
from orch_agent.stats.model import ContainerStats, DiskUse, MemoryUse, PodStats, VolumeStats

MI = 1 << 20
GI = 1 << 30


def stats(uid: str, *containers: ContainerStats, memory: int = 0, processes: int = 1, volumes: Any = ()) -> PodStats:
    return PodStats(
        namespace="default",
        name="web-1",
        uid=uid,
        containers=containers,
        memory=MemoryUse(working_set=memory * MI),
        processes=processes,
        volumes=tuple(volumes),
    )


def wrote(layer: int = 0, logs: int = 0, name: str = "web", inodes: int = 1) -> ContainerStats:
    return ContainerStats(name=name, layer=DiskUse(layer * MI, inodes), logs=DiskUse(logs * MI, 1))


def pod(
    node: Any, uid: str, *, memory: str = "", storage: str = "", limit: str = "", priority: int = 0, **spec: Any
) -> Pod:
    requests = {name: text for name, text in (("memory", memory), ("ephemeral-storage", storage)) if text}
    limits = {"ephemeral-storage": limit} if limit else {}
    web = {"name": "web", "resources": {"requests": requests, "limits": limits}}
    return node.pod(web, uid=uid, priority=priority, **spec)


def order(signal: Signal, pods: list[Pod], known: list[PodStats], *, dedicated: bool = False) -> str:
    found = rank(signal, pods, {each.uid: each for each in known}, dedicated_image_fs=dedicated)
    return "".join(each.metadata.uid for each in found)


def test_memory_by_more_than_asked_then_priority_then_how_much_more(node: Any) -> None:
    pods = [
        pod(node, "a", memory="100Mi"),  # within its request
        pod(node, "b"),  # 50 more
        pod(node, "c", memory="100Mi"),  # 200 more
        pod(node, "d", priority=1000),  # 900 more, of a higher priority
    ]
    known = [stats("a", memory=90), stats("b", memory=50), stats("c", memory=300), stats("d", memory=900)]
    assert order(Signal.MEMORY, pods, known) == "cbda"
    assert order(Signal.ALLOCATABLE_MEMORY, pods, known) == "cbda"


def test_what_was_not_measured_goes_first(node: Any) -> None:
    pods = [pod(node, "a"), pod(node, "b")]
    assert order(Signal.MEMORY, pods, [stats("a", memory=900)]) == "ba"


def test_disk_by_more_than_asked_then_priority_then_how_much_more(node: Any) -> None:
    pods = [pod(node, "a", storage="1Gi"), pod(node, "b"), pod(node, "c"), pod(node, "d", priority=7)]
    volume = VolumeStats(name="v", used=DiskUse(500 * MI, 1))
    in_memory = VolumeStats(name="m", used=DiskUse(5 * GI, 1), in_memory=True)
    known = [
        stats("a", wrote(layer=900)),
        stats("b", wrote(layer=10), volumes=[volume]),
        stats("c", wrote(layer=300, logs=10), volumes=[in_memory]),
        stats("d", wrote(layer=2000)),
    ]
    assert order(Signal.NODE_FS, pods, known) == "bcda"
    # With a disk of their own, images and roots are counted there, and all else here.
    assert order(Signal.NODE_FS, pods[1:3], known, dedicated=True) == "bc"
    assert order(Signal.IMAGE_FS, pods[1:3], known, dedicated=True) == "cb"


def test_inodes_are_counted_where_they_are_short(node: Any) -> None:
    pods = [pod(node, "a"), pod(node, "b")]
    known = [stats("a", wrote(layer=900, inodes=5)), stats("b", wrote(layer=1, inodes=5000))]
    assert order(Signal.NODE_FS_INODES, pods, known) == "ba"


def test_process_ids_by_priority_then_number(node: Any) -> None:
    pods = [pod(node, "a"), pod(node, "b"), pod(node, "c", priority=5)]
    known = [stats("a", processes=10), stats("b", processes=90), stats("c", processes=500)]
    assert order(Signal.PIDS, pods, known) == "bac"


def test_words_of_a_node_that_is_short_of_memory(node: Any) -> None:
    threshold = thresholds_of(EvictionSettings())[0]
    victim = pod(node, "a", memory="50Mi")
    used = ContainerStats(name="web", memory=MemoryUse(working_set=80 * MI))
    found = node_is_low(threshold, Observation(90 * MI, GI), victim, stats("a", used))
    assert found.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. "
        "Container web was using 80Mi, request is 50Mi, has larger consumption of memory. "
    )
    assert found.annotations == {
        "starved_resource": "memory",
        "offending_containers": "web",
        "offending_containers_usage": "80Mi",
    }


def test_words_of_a_node_that_is_short_of_disk(node: Any) -> None:
    threshold = next(each for each in thresholds_of(EvictionSettings()) if each.signal is Signal.NODE_FS)
    found = node_is_low(threshold, Observation(9 * GI, 100 * GI), pod(node, "a"), stats("a", wrote(layer=3, logs=1)))
    assert found.message == (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 9Gi. "
        "Container web was using 4Mi, request is 0, has larger consumption of ephemeral-storage. "
    )


EXCEEDED = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "


@pytest.mark.parametrize(
    ("layer", "logs", "volume", "dedicated", "message"),
    [
        (1025, 0, 0, False, EXCEEDED),
        (600, 500, 0, False, EXCEEDED),
        (100, 0, 1000, False, EXCEEDED),
        (1024, 0, 0, False, None),
        (5000, 0, 0, True, None),
        (5000, 1025, 0, True, EXCEEDED),
    ],
)
def test_a_pod_may_take_what_its_containers_may_together(
    node: Any, layer: int, logs: int, volume: int, dedicated: bool, message: str | None
) -> None:
    volumes = [VolumeStats(name="v", used=DiskUse(volume * MI, 1))]
    known = stats("a", wrote(layer, logs), volumes=volumes)
    found = beyond_limits(pod(node, "a", limit="1Gi"), known, dedicated_image_fs=dedicated)
    assert (found.message if found is not None else None) == message


def test_a_container_may_take_what_it_may_itself(node: Any) -> None:
    one = {"name": "one", "resources": {"limits": {"ephemeral-storage": "10Mi"}}}
    two = {"name": "two", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}
    found = beyond_limits(node.pod(one, two), stats("u1", wrote(11, name="one")), dedicated_image_fs=False)
    assert found is not None
    assert found.message == 'Container one exceeded its local ephemeral storage limit "10Mi". '


@pytest.mark.parametrize(("limit", "used", "evicted"), [("5Mi", 6, True), ("5Mi", 5, False), ("", 900, False)])
@pytest.mark.parametrize("medium", ["", "Memory"])
def test_an_empty_folder_may_take_what_it_may(node: Any, limit: str, used: int, evicted: bool, medium: str) -> None:
    source = {"medium": medium, **({"sizeLimit": limit} if limit else {})}
    victim = node.pod(volumes=[{"name": "scratch", "emptyDir": source}])
    volumes = [VolumeStats(name="scratch", used=DiskUse(used * MI, 1), in_memory=bool(medium))]
    found = beyond_limits(victim, stats("u1", volumes=volumes), dedicated_image_fs=False)
    words = 'Usage of EmptyDir volume "scratch" exceeds the limit "5Mi". '
    assert (found.message if found is not None else "") == (words if evicted else "")
