"""What a node answers of itself through the api's nodes/proxy: the paths that kubelet serves, as far as they are known.

/healthz · /pods · /runningpods · /metrics · /metrics/resource · /stats/summary · /configz
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orch.bus import subjects
from orch.bus.protocol import Bus, Subscription
from orch.bus.streams import FrameStream, serve_streams
from orch.clock import Clock, rfc3339
from orch.errors import BadRequestError, NotFoundError, OrchError
from orch_agent.node import MAX_PODS, Node
from orch_agent.pods.assignments import Assignments
from orch_agent.pods.host import PodSettings
from orch_pb.v1 import node_pb2

_LOG: Final = logging.getLogger(__name__)
_HEAD_CHANNEL: Final = 0
_BODY_CHANNEL: Final = 1
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
_NANO: Final = 1_000_000_000


class Answer(msgspec.Struct, frozen=True):
    """What is answered: a status, a body and what it is."""

    body: bytes
    content_type: str = _JSON
    status: int = 200


_NOT_FOUND: Final = Answer(b"404 page not found\n", _TEXT, 404)
_NOT_ALLOWED: Final = Answer(b"405: Method Not Allowed", _TEXT, 405)


class NodeQueries:
    """Answers questions to one node, or to all nodes of a simulated fleet."""

    def __init__(
        self, bus: Bus, assignments: Assignments, nodes: Mapping[str, Node], settings: PodSettings, clock: Clock
    ) -> None:
        self._bus = bus
        self._assignments = assignments
        self._nodes = nodes
        self._settings = settings
        self._clock = clock
        self._paths: Mapping[str, Callable[[Node], Awaitable[Answer]]] = {
            "/healthz": self._health,
            "/pods": self._pods,
            "/runningpods": self._running_pods,
            "/metrics": self._metrics,
            "/metrics/resource": self._resource_metrics,
            "/stats/summary": self._summary,
            "/configz": self._configuration,
        }

    async def serve(self, node: str) -> list[Subscription]:
        """Serve the questions to `node`; "" means every node."""
        subject = subjects.node_rpc_subject(node, "query") if node else subjects.node_rpc_requests("query")
        return [await serve_streams(self._bus, subject, self._answer)]

    async def _answer(self, request: bytes, stream: FrameStream) -> None:
        try:
            asked = node_pb2.NodeQuery.FromString(request)
        except DecodeError as error:
            raise BadRequestError("the request is not a NodeQuery") from error
        node = self._nodes.get(asked.node)
        if node is None:
            raise NotFoundError.of("nodes", "", asked.node)
        find = self._paths.get(asked.path.rstrip("/"))
        if find is None:
            answer = _NOT_FOUND
        elif asked.method not in {"GET", "HEAD"}:
            answer = _NOT_ALLOWED
        else:
            answer = await find(node)
        head = node_pb2.NodeAnswer(status=answer.status, content_type=answer.content_type)
        await stream.send(_HEAD_CHANNEL, head.SerializeToString())
        await stream.send(_BODY_CHANNEL, answer.body)
        await stream.end(_BODY_CHANNEL)

    async def _health(self, node: Node) -> Answer:
        if node.problem:
            return Answer(f"[-]runtime failed: {node.problem}\nhealthz check failed\n".encode(), _TEXT, 500)
        return Answer(b"ok", _TEXT)

    async def _pods(self, node: Node) -> Answer:
        return _list(item.json for item in self._assignments.pods_of(node.settings.name))

    async def _running_pods(self, node: Node) -> Answer:
        pods = self._assignments.pods_of(node.settings.name)
        return _list(item.json for item in pods if item.object.status.phase == "Running")

    async def _metrics(self, node: Node) -> Answer:
        """Return the process's metrics: for a simulated fleet, those of all its nodes together."""
        _ = node
        return Answer(generate_latest(), CONTENT_TYPE_LATEST)

    async def _resource_metrics(self, node: Node) -> Answer:
        """Return what metrics-server reads."""
        try:
            sample = await node.sample()
        except OrchError as error:
            _LOG.warning("usage of node %s cannot be told: %s", node.settings.name, error)
            return Answer(b"# TYPE scrape_error gauge\nscrape_error 1\n", _EXPOSITION)
        return Answer("".join(_exposition(sample)).encode(), _EXPOSITION)

    async def _summary(self, node: Node) -> Answer:
        try:
            sample = await node.sample()
        except OrchError as error:
            return Answer(f"Internal Error: {error}".encode(), _TEXT, 500)
        now = rfc3339(self._clock.now())
        started = {item.uid: item.object.status.start_time for item in self._assignments.pods_of(node.settings.name)}
        document = {
            "node": {
                "nodeName": node.settings.name,
                **_usage(now, sample.cpu_nanos, sample.memory_bytes, available=node.memory_capacity),
            },
            "pods": [_pod_summary(now, pod, started.get(pod.uid, "")) for pod in sample.pods],
        }
        return Answer(msgspec.json.encode(document))

    async def _configuration(self, node: Node) -> Answer:
        settings, back_off = node.settings, self._settings.back_off
        document = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "maxPods": int(MAX_PODS),
            "podCIDR": settings.pod_cidr,
            "podPidsLimit": self._settings.pids_limit,
            "streamingConnectionIdleTimeout": "4h0m0s",
            "registerWithTaints": list(settings.taints),
            "kubeReserved": dict(settings.reserved),
            "crashLoopBackOff": {"maxContainerRestartPeriod": f"{back_off.restart_longest:g}s"},
        }
        return Answer(msgspec.json.encode({"kubeletconfig": document}))


def _list(pods: Iterator[bytes]) -> Answer:
    items = b",".join(pods)
    return Answer(b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + items + b"]}")


def _usage(now: str, cpu: int, memory: int, *, available: int = 0) -> dict[str, Any]:
    spare = {"availableBytes": max(available - memory, 0)} if available else {}
    return {
        "cpu": {"time": now, "usageCoreNanoSeconds": cpu},
        "memory": {"time": now, **spare, "usageBytes": memory, "workingSetBytes": memory},
    }


def _pod_summary(now: str, pod: node_pb2.PodUsage, started: str) -> dict[str, Any]:
    cpu = sum(container.cpu_nanos for container in pod.containers)
    memory = sum(container.memory_bytes for container in pod.containers)
    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        **({"startTime": started} if started else {}),
        "containers": [
            {"name": container.container, **_usage(now, container.cpu_nanos, container.memory_bytes)}
            for container in pod.containers
        ],
        **_usage(now, cpu, memory),
    }


def _exposition(sample: node_pb2.UsageSample) -> Iterator[str]:
    """Yield Prometheus' text of a sample, under kubelet's names."""
    stamp = sample.unix_nanos // 1_000_000
    containers = [(pod, container) for pod in sample.pods for container in pod.containers]
    yield "# TYPE container_cpu_usage_seconds_total counter\n"
    for pod, container in containers:
        yield f"container_cpu_usage_seconds_total{_labels(pod, container)} {container.cpu_nanos / _NANO} {stamp}\n"
    yield "# TYPE container_memory_working_set_bytes gauge\n"
    for pod, container in containers:
        yield f"container_memory_working_set_bytes{_labels(pod, container)} {container.memory_bytes} {stamp}\n"
    yield "# TYPE node_cpu_usage_seconds_total counter\n"
    yield f"node_cpu_usage_seconds_total {sample.cpu_nanos / _NANO} {stamp}\n"
    yield "# TYPE node_memory_working_set_bytes gauge\n"
    yield f"node_memory_working_set_bytes {sample.memory_bytes} {stamp}\n"
    yield "# TYPE pod_cpu_usage_seconds_total counter\n"
    for pod in sample.pods:
        seconds = sum(container.cpu_nanos for container in pod.containers) / _NANO
        yield f"pod_cpu_usage_seconds_total{_labels(pod)} {seconds} {stamp}\n"
    yield "# TYPE pod_memory_working_set_bytes gauge\n"
    for pod in sample.pods:
        memory = sum(container.memory_bytes for container in pod.containers)
        yield f"pod_memory_working_set_bytes{_labels(pod)} {memory} {stamp}\n"
    yield "# TYPE scrape_error gauge\nscrape_error 0\n"


def _labels(pod: node_pb2.PodUsage, container: node_pb2.ContainerUsage | None = None) -> str:
    """Return labels; the names of Kubernetes hold nothing that would have to be escaped."""
    first = f'container="{container.container}",' if container is not None else ""
    return f'{{{first}namespace="{pod.namespace}",pod="{pod.name}"}}'
