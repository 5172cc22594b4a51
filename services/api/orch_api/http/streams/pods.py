"""Pods as streams need them: found in the cache, asked over the bus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from orch.bus.protocol import Bus
from orch.bus.streams import FrameStream, open_stream
from orch.bus.subjects import node_rpc_subject
from orch.errors import BadRequestError, NotFoundError, UnavailableError
from orch.objects.pods import Container, ContainerStatus, Pod
from orch.store.keys import ObjectKey
from orch_api.http.links import NodeLink
from orch_api.storage.cache import ObjectCache
from orch_pb.v1 import node_pb2

Query = Mapping[str, list[str]]

_OPEN_DEADLINE: Final = 10.0

_pods = msgspec.json.Decoder(Pod)


class PodNodes:
    """Opens streams to the nodes on which pods run."""

    def __init__(self, bus: Bus, cache: ObjectCache) -> None:
        self._bus = bus
        self._cache = cache

    async def find(self, namespace: str, name: str) -> Pod:
        """Return a pod that has a node. Raises NotFoundError, BadRequestError."""
        await self._cache.catch_up()
        item = self._cache.get(ObjectKey("", "pods", namespace, name))
        if item is None:
            raise NotFoundError.of("pods", "", name)
        pod = _pods.decode(item.json)
        if not pod.spec.node_name:
            raise BadRequestError(f"pod {name} does not have a host assigned")
        return pod

    async def open(self, node: str, verb: str, request: bytes) -> FrameStream:
        """Open a stream to a node. Raises ApiError when it refuses, UnavailableError when it does not answer."""
        try:
            return await open_stream(self._bus, node_rpc_subject(node, verb), request, timeout=_OPEN_DEADLINE)
        except UnavailableError as error:
            raise UnavailableError(f"node {node} does not answer: {error}") from error

    async def dial(self, pod: Pod, port: int, *, own_address: bool = False) -> NodeLink:
        """Connect to a port of a pod: on localhost inside it, or on its own address.

        That nothing listens there is found out when the link is read. Raises ApiError, UnavailableError.
        """
        request = node_pb2.PortForwardRequest(
            namespace=pod.metadata.namespace,
            pod=pod.metadata.name,
            uid=pod.metadata.uid,
            port=port,
            own_address=own_address,
        )
        return NodeLink(await self.open(pod.spec.node_name, "portforward", request.SerializeToString()))


def containers_of(pod: Pod) -> Iterator[Container]:
    """Yield every container of a pod, also ephemeral ones."""
    yield from pod.spec.containers
    yield from pod.spec.init_containers
    yield from pod.spec.ephemeral_containers


def container_of(pod: Pod, asked: str) -> str:
    """Return the container that a request speaks of. Raises BadRequestError, worded as Kubernetes does."""
    name = pod.metadata.name
    if asked:
        if all(container.name != asked for container in containers_of(pod)):
            raise BadRequestError(f"container {asked} is not valid for pod {name}")
        return asked
    names = [container.name for container in pod.spec.containers]
    init_names = [container.name for container in pod.spec.init_containers]
    default = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
    if default in names:
        return default
    if len(names) == 1:
        return names[0]
    problem = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if init_names:
        problem += f" or one of the init containers: [{' '.join(init_names)}]"
    raise BadRequestError(problem)


def status_of(pod: Pod, container: str) -> ContainerStatus | None:
    """Return what is known of one container."""
    status = pod.status
    for each in (*status.container_statuses, *status.init_container_statuses, *status.ephemeral_container_statuses):
        if each.name == container:
            return each
    return None
