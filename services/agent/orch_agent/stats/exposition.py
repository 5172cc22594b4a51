"""A node's figures in Prometheus' text: /metrics/resource with kubelet's names, /metrics/cadvisor with cAdvisor's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from orch.clock import parse_rfc3339
from orch_agent.stats.model import ContainerStats, NetworkUse, NodeStats, PodStats

_NANO: Final = 1_000_000_000

Sample = tuple[Mapping[str, str], float]


class Family(msgspec.Struct, frozen=True):
    """A metric: its name, what it says, its kind (counter or gauge), and its samples."""

    name: str
    help: str
    kind: str
    samples: Iterable[Sample]


def exposition(families: Iterable[Family], unix: float) -> str:
    """Return the text of metrics that were measured at one moment."""
    stamp, lines = int(unix * 1000), list[str]()
    for family in families:
        lines += [f"# HELP {family.name} {family.help}\n", f"# TYPE {family.name} {family.kind}\n"]
        lines += [f"{family.name}{_labels(labels)} {_number(value)} {stamp}\n" for labels, value in family.samples]
    return "".join(lines)


def resource_metrics(stats: NodeStats, started: Mapping[str, str]) -> Iterator[Family]:
    """Yield what metrics-server reads; `started` are start times by "uid/container"."""
    yield from _of_containers(stats, started)
    yield from _of_node(stats)
    yield from _of_pods(stats)
    yield scrape_error(failed=False)


def _of_containers(stats: NodeStats, started: Mapping[str, str]) -> Iterator[Family]:
    containers = [(pod, each) for pod in stats.pods.values() for each in pod.containers]
    whose = [({"container": each.name, **_pod(pod)}, pod, each) for pod, each in containers]
    yield Family(
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        [(labels, each.cpu_nanos / _NANO) for labels, _, each in whose],
    )
    yield Family(
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        "gauge",
        [(labels, each.memory.working_set) for labels, _, each in whose],
    )
    yield Family(
        "container_start_time_seconds",
        "[STABLE] Start time of the container since unix epoch in seconds",
        "gauge",
        [
            (labels, parse_rfc3339(moment).timestamp())
            for labels, pod, each in whose
            if (moment := started.get(f"{pod.uid}/{each.name}"))
        ],
    )
    yield Family(
        "container_swap_usage_bytes",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        "gauge",
        [(labels, each.memory.swap) for labels, _, each in whose],
    )


def _of_node(stats: NodeStats) -> Iterator[Family]:
    yield Family(
        "node_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        "counter",
        [({}, stats.cpu_nanos / _NANO)],
    )
    yield Family(
        "node_memory_working_set_bytes",
        "[STABLE] Current working set of the node in bytes",
        "gauge",
        [({}, stats.memory.working_set)],
    )
    yield Family(
        "node_swap_usage_bytes",
        "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        "gauge",
        [({}, stats.memory.swap)],
    )


def _of_pods(stats: NodeStats) -> Iterator[Family]:
    pods = list(stats.pods.values())
    yield Family(
        "pod_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
        [(_pod(pod), pod.cpu_nanos / _NANO) for pod in pods],
    )
    yield Family(
        "pod_memory_working_set_bytes",
        "[STABLE] Current working set of the pod in bytes",
        "gauge",
        [(_pod(pod), pod.memory.working_set) for pod in pods],
    )
    yield Family(
        "pod_swap_usage_bytes",
        "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        "gauge",
        [(_pod(pod), pod.memory.swap) for pod in pods],
    )


def scrape_error(*, failed: bool) -> Family:
    """Return the metric that says whether the others could be measured."""
    return Family(
        "resource_scrape_error",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
        [({}, float(failed))],
    )


class _Metric(msgspec.Struct, frozen=True):
    name: str
    help: str
    kind: str
    read: Callable[[ContainerStats], float]


_OF_CONTAINERS: Final = (
    _Metric("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", "counter",
            lambda one: one.cpu_nanos / _NANO),
    _Metric("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", "counter",
            lambda one: one.throttling.periods),
    _Metric("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", "counter",
            lambda one: one.throttling.throttled_periods),
    _Metric("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.",
            "counter", lambda one: one.throttling.throttled_nanos / _NANO),
    _Metric("container_memory_usage_bytes",
            "Current memory usage in bytes, including all memory regardless of when it was accessed", "gauge",
            lambda one: one.memory.usage),
    _Metric("container_memory_working_set_bytes", "Current working set in bytes.", "gauge",
            lambda one: one.memory.working_set),
    _Metric("container_memory_rss", "Size of RSS in bytes.", "gauge", lambda one: one.memory.rss),
    _Metric("container_memory_cache", "Number of bytes of page cache memory.", "gauge",
            lambda one: max(one.memory.usage - one.memory.rss, 0)),
    _Metric("container_memory_swap", "Container swap usage in bytes.", "gauge", lambda one: one.memory.swap),
    _Metric("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.",
            "gauge", lambda one: one.layer.bytes + one.logs.bytes),
    _Metric("container_fs_inodes_total", "Number of Inodes", "gauge", lambda one: one.layer.inodes),
    _Metric("container_processes", "Number of processes running inside the container.", "gauge",
            lambda one: one.processes),
)  # fmt: skip

_OF_NETWORKS: Final[tuple[tuple[str, str, Callable[[NetworkUse], float]], ...]] = (
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", lambda one: one.rx_bytes),
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving",
     lambda one: one.rx_errors),
    ("container_network_receive_packets_total", "Cumulative count of packets received", lambda one: one.rx_packets),
    ("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving",
     lambda one: one.rx_dropped),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", lambda one: one.tx_bytes),
    ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting",
     lambda one: one.tx_errors),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted",
     lambda one: one.tx_packets),
    ("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting",
     lambda one: one.tx_dropped),
)  # fmt: skip


def cadvisor_metrics(stats: NodeStats, cpus: int, images: Mapping[str, str]) -> Iterator[Family]:
    """Yield what dashboards know from cAdvisor of containers, pods (containers without a name) and the machine.

    `images` are names of images by "uid/container".
    """
    pods = list(stats.pods.values())
    labelled = [(_cadvisor(pod, each, images), each) for pod in pods for each in (*pod.containers, _as_container(pod))]
    for metric in _OF_CONTAINERS:
        yield Family(metric.name, metric.help, metric.kind, [(labels, metric.read(one)) for labels, one in labelled])
    yield Family(
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        "counter",
        [sample for labels, one in labelled for sample in _faults(labels, one)],
    )
    networks = [
        ({**_cadvisor(pod, _as_container(pod), images), "interface": each.name}, each)
        for pod in pods
        for each in pod.networks
    ]
    for name, said, read in _OF_NETWORKS:
        yield Family(name, said, "counter", [(labels, read(each)) for labels, each in networks])
    yield Family("machine_cpu_cores", "Number of logical CPU cores.", "gauge", [({}, cpus)])
    yield Family(
        "machine_memory_bytes", "Amount of memory installed on the machine.", "gauge", [({}, stats.memory_capacity)]
    )
    yield Family(
        "machine_swap_bytes", "Amount of swap memory available on the machine.", "gauge", [({}, stats.swap_capacity)]
    )


def _faults(labels: Mapping[str, str], one: ContainerStats) -> Iterator[Sample]:
    for kind, count in (("pgfault", one.memory.page_faults), ("pgmajfault", one.memory.major_page_faults)):
        yield {**labels, "failure_type": kind, "scope": "hierarchy"}, count


def _as_container(pod: PodStats) -> ContainerStats:
    """Return a pod's own figures in the shape of a container without a name."""
    return ContainerStats(name="", cpu_nanos=pod.cpu_nanos, memory=pod.memory, processes=pod.processes)


def _cadvisor(pod: PodStats, container: ContainerStats, images: Mapping[str, str]) -> Mapping[str, str]:
    image = images.get(f"{pod.uid}/{container.name}", "")
    return {"container": container.name, "id": container.id, "image": image, "name": container.id, **_pod(pod)}


def _pod(pod: PodStats) -> Mapping[str, str]:
    return {"namespace": pod.namespace, "pod": pod.name}


def _labels(labels: Mapping[str, str]) -> str:
    """Return labels; the names of Kubernetes and of images hold nothing that would have to be escaped."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
