"""What a node answers of itself through the api's nodes/proxy: the paths that kubelet serves, as far as they are known.

/healthz · /pods · /runningpods · /metrics · /metrics/resource · /metrics/cadvisor · /stats/summary · /configz

What would write to the node or run something on it behind the api's back (/run, /exec, /checkpoint and the like) is not
served here: commands and logs go by pods' own subresources.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orch.bus import subjects
from orch.bus.protocol import Bus, Subscription
from orch.bus.streams import FrameStream, serve_streams
from orch.clock import Clock
from orch.errors import BadRequestError, NotFoundError, OrchError
from orch_agent.config import AgentConfig
from orch_agent.configuration import configuration_of
from orch_agent.node import Node
from orch_agent.pods.assignments import Assignments
from orch_agent.runtimes.protocol import ContainerInfo, State
from orch_agent.stats.exposition import cadvisor_metrics, exposition, resource_metrics, scrape_error
from orch_agent.stats.meter import NodeMeter
from orch_agent.stats.summary import Rates, summary
from orch_pb.v1 import node_pb2

_LOG: Final = logging.getLogger(__name__)
_HEAD_CHANNEL: Final = 0
_BODY_CHANNEL: Final = 1
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
_CHECKPOINT: Final = "/checkpoint/"


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
        self,
        bus: Bus,
        assignments: Assignments,
        nodes: Mapping[str, Node],
        config: AgentConfig,
        clock: Clock,
        meter: Callable[[str], NodeMeter],
    ) -> None:
        self._bus = bus
        self._assignments = assignments
        self._nodes = nodes
        self._config = config
        self._clock = clock
        self._meter = meter
        self._rates: dict[str, Rates] = {}
        self._paths: Mapping[str, Callable[[Node, str], Awaitable[Answer]]] = {
            "/healthz": self._health,
            "/pods": self._pods,
            "/runningpods": self._running_pods,
            "/metrics": self._metrics,
            "/metrics/cadvisor": self._cadvisor_metrics,
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
        if asked.path.startswith(_CHECKPOINT) and asked.method == "POST":
            answer = _no_checkpoint(asked.path)
        elif find is None:
            answer = _NOT_FOUND
        elif asked.method not in {"GET", "HEAD"}:
            answer = _NOT_ALLOWED
        else:
            answer = await find(node, asked.query)
        head = node_pb2.NodeAnswer(status=answer.status, content_type=answer.content_type)
        await stream.send(_HEAD_CHANNEL, head.SerializeToString())
        await stream.send(_BODY_CHANNEL, answer.body)
        await stream.end(_BODY_CHANNEL)

    async def _health(self, node: Node, _query: str) -> Answer:
        if node.problem:
            return Answer(f"[-]runtime failed: {node.problem}\nhealthz check failed\n".encode(), _TEXT, 500)
        return Answer(b"ok", _TEXT)

    async def _pods(self, node: Node, _query: str) -> Answer:
        return _list(item.json for item in self._assignments.pods_of(node.settings.name))

    async def _running_pods(self, node: Node, _query: str) -> Answer:
        """Return what the runtime runs, whatever the api knows of it."""
        try:
            containers = await node.containers()
        except OrchError as error:
            return Answer(f"Internal Error: {error}".encode(), _TEXT, 500)
        pods: dict[str, list[ContainerInfo]] = {}
        for info in containers:
            if info.state is State.RUNNING:
                pods.setdefault(info.identity.uid, []).append(info)
        return _list(_running_pod(found) for found in pods.values())

    async def _metrics(self, node: Node, _query: str) -> Answer:
        """Return the process's metrics: for a simulated fleet, those of all its nodes together."""
        _ = node
        return Answer(generate_latest(), CONTENT_TYPE_LATEST)

    async def _resource_metrics(self, node: Node, _query: str) -> Answer:
        """Return what metrics-server reads."""
        try:
            stats = await self._meter(node.settings.name).stats()
        except OrchError as error:
            _LOG.warning("usage of node %s cannot be told: %s", node.settings.name, error)
            text = exposition([scrape_error(failed=True)], self._clock.now().timestamp())
            return Answer(text.encode(), _EXPOSITION)
        started = self._started(node.settings.name)
        return Answer(exposition(resource_metrics(stats, started), stats.time).encode(), _EXPOSITION)

    async def _cadvisor_metrics(self, node: Node, _query: str) -> Answer:
        """Return what dashboards know from cAdvisor."""
        try:
            stats = await self._meter(node.settings.name).stats(fresh=True)
        except OrchError as error:
            return Answer(f"Internal Error: {error}".encode(), _TEXT, 500)
        images = {
            f"{item.uid}/{each.name}": each.image
            for item in self._assignments.pods_of(node.settings.name)
            for each in (*item.object.spec.init_containers, *item.object.spec.containers)
        }
        text = exposition(cadvisor_metrics(stats, node.machine.cpus, images), stats.time)
        return Answer(text.encode(), _EXPOSITION)

    async def _summary(self, node: Node, query: str) -> Answer:
        name = node.settings.name
        brief = parse_qs(query).get("only_cpu_and_memory", ["false"])[-1].lower() in {"true", "1"}
        try:
            stats = await self._meter(name).stats(fresh=not brief)
        except OrchError as error:
            return Answer(f"Internal Error: {error}".encode(), _TEXT, 500)
        rates = self._rates.setdefault(name, Rates())
        rates.take(stats)
        document = summary(name, stats, rates, self._started(name), only_cpu_and_memory=brief)
        return Answer(msgspec.json.encode(document))

    def _started(self, node: str) -> dict[str, str]:
        """Return when the pods of a node and ("uid/container") their containers have started."""
        found: dict[str, str] = {}
        for item in self._assignments.pods_of(node):
            status = item.object.status
            found[item.uid] = status.start_time
            for each in (*status.init_container_statuses, *status.container_statuses):
                if each.state.running is not None:
                    found[f"{item.uid}/{each.name}"] = each.state.running.started_at
        return found

    async def _configuration(self, node: Node, _query: str) -> Answer:
        return Answer(
            msgspec.json.encode({"kubeletconfig": configuration_of(node.settings, node.capacity, self._config)})
        )


def _list(pods: Iterable[bytes]) -> Answer:
    return Answer(b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + b",".join(pods) + b"]}")


def _running_pod(containers: list[ContainerInfo]) -> bytes:
    identity = containers[0].identity
    return msgspec.json.encode(
        {
            "metadata": {"name": identity.pod, "namespace": identity.namespace, "uid": identity.uid},
            "spec": {
                "containers": [
                    {"name": info.identity.container, "image": info.image, "resources": {}} for info in containers
                ]
            },
            "status": {},
        }
    )


def _no_checkpoint(path: str) -> Answer:
    """Refuse to write a container's memory to the node's disk: what is in it, secrets too, would lie there."""
    whose = path.removeprefix(_CHECKPOINT)
    return Answer(f"checkpointing of {whose} failed (nodes make no checkpoints)".encode(), _TEXT, 501)
