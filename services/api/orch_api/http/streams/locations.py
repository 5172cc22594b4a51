"""Where a proxied request goes: `[scheme:]name[:port]` of a pod, a service or a node, as Kubernetes reads it.

Following k8s.io/kubernetes pkg/registry/core: pod/strategy.go and service/storage/storage.go, ResourceLocation.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

import msgspec

from orch.errors import BadRequestError, NotFoundError, ServiceUnavailableError
from orch.objects.pods import Pod
from orch.selectors import from_labels
from orch.store.keys import ObjectKey
from orch_api.extensions.outgoing import kind_of_address
from orch_api.http.streams.pods import PodNodes
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import Document, section

_SCHEMES: Final = frozenset({"", "http", "https"})
_DEFAULT_PORTS: Final = {"": 80, "http": 80, "https": 443}
_SERVICE_LABEL: Final = "kubernetes.io/service-name"
_KUBELET_PORTS: Final = frozenset({"", "10250", "10255"})


class Location(msgspec.Struct, frozen=True):
    """A port of a pod, and whether TLS is spoken there."""

    pod: Pod
    port: int
    tls: bool = False

    @property
    def host(self) -> str:
        """The address and port, as a URL has them."""
        return f"{self.pod.status.pod_ip}:{self.port}"


class Locations:
    """Finds what requests for pods, services and nodes are proxied to."""

    def __init__(self, cache: ObjectCache, nodes: PodNodes) -> None:
        self._cache = cache
        self._nodes = nodes

    async def pod(self, namespace: str, place: str) -> Location:
        """Return the location of a pod; without a port, it is the first that a container declares.

        Raises NotFoundError, BadRequestError, and ServiceUnavailableError for a port that is no number.
        """
        scheme, name, asked = _split("pod", place)
        pod = await self._nodes.find(namespace, name)
        _check_address(pod)
        declared = next((container.ports[0].container_port for container in pod.spec.containers if container.ports), 0)
        return Location(pod, _number(asked) if asked else declared or _DEFAULT_PORTS[scheme], scheme == "https")

    async def service(self, namespace: str, place: str) -> Location:
        """Return a pod that is ready to serve for a service; the port is the service's, by number or name.

        Raises NotFoundError, BadRequestError, ServiceUnavailableError.
        """
        scheme, name, asked = _split("service", place)
        await self._cache.catch_up()
        item = self._cache.get(ObjectKey("", "services", namespace, name))
        if item is None:
            raise NotFoundError.of("services", "", name)
        service = to_document(item.json)
        port_name = _port_name(service, name, asked)
        candidates = list(self._endpoints(namespace, name, service, port_name))
        random.shuffle(candidates)
        for pod, port in candidates:
            if self._cache.get(ObjectKey("", "pods", namespace, pod)) is not None:
                found = await self._nodes.find(namespace, pod)
                _check_address(found)
                return Location(found, port, scheme == "https")
        raise ServiceUnavailableError(f'no endpoints available for service "{place}"')

    async def node(self, place: str) -> str:
        """Return the name of a node. Raises NotFoundError, BadRequestError."""
        _, name, port = _split("node", place)
        if port not in _KUBELET_PORTS:
            raise BadRequestError(f"nodes listen on nothing but what they answer of themselves; port {port} is not it")
        await self._cache.catch_up()
        if self._cache.get(ObjectKey("", "nodes", "", name)) is None:
            raise NotFoundError.of("nodes", "", name)
        return name

    def _endpoints(self, namespace: str, name: str, service: Document, port: str) -> Iterator[tuple[str, int]]:
        """Yield (pod, port number) of what is ready to serve: by slices, else by Endpoints, else by the selector."""
        slices = [
            to_document(item.json)
            for item in self._cache.select("discovery.k8s.io", "endpointslices", namespace)
            if item.labels.get(_SERVICE_LABEL) == name
        ]
        endpoints = self._cache.get(ObjectKey("", "endpoints", namespace, name))
        if slices:
            yield from _of_slices(slices, port)
        elif endpoints is not None:
            yield from _of_subsets(to_document(endpoints.json).get("subsets") or (), port)
        else:
            yield from self._of_selector(namespace, service, port)

    def _of_selector(self, namespace: str, service: Document, port: str) -> Iterator[tuple[str, int]]:
        wanted: dict[str, str] = section(service, "spec").get("selector") or {}
        if not wanted:
            return
        selector = from_labels(wanted)
        for item in self._cache.select("", "pods", namespace):
            if not selector.matches(item.labels):
                continue
            pod = to_document(item.json)
            if not _is_ready(pod):
                continue
            for declared in section(service, "spec").get("ports") or ():
                number = _target_port(pod, declared)
                if (declared.get("name") or "") == port and number:
                    yield item.key.name, number


def _check_address(pod: Pod) -> None:
    """Raise BadRequestError for an address that nobody is led to: loopback, link-local, none (proxy/util)."""
    try:
        kind = kind_of_address(ip_address(pod.status.pod_ip))
    except ValueError:
        kind = "no address"
    if kind:
        raise BadRequestError("address not allowed")


def _split(kind: str, place: str) -> tuple[str, str, str]:
    """Return (scheme, name, port) of `[scheme:]name[:port]`. Raises BadRequestError."""
    parts = place.split(":")
    match parts:
        case [name]:
            scheme, port = "", ""
        case [name, port]:
            scheme = ""
        case [scheme, name, port]:
            pass
        case _:
            scheme, name, port = "?", "", ""
    if scheme not in _SCHEMES or not name:
        raise BadRequestError(f'invalid {kind} request "{place}"')
    return scheme, name, port


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise ServiceUnavailableError(f"error trying to reach service: dial tcp: address {text}: invalid port")
    return int(text)


def _port_name(service: Document, name: str, asked: str) -> str:
    """Return the name of the service's port that is asked for by number or by name."""
    if not asked.isdecimal():
        return asked
    for port in section(service, "spec").get("ports") or ():
        if port.get("port") == int(asked):
            return port.get("name") or ""
    raise ServiceUnavailableError(f'no service port {int(asked)} found for service "{name}"')


def _of_slices(slices: Iterable[Document], port: str) -> Iterator[tuple[str, int]]:
    for each in slices:
        numbers = [one.get("port") for one in each.get("ports") or () if (one.get("name") or "") == port]
        for endpoint in each.get("endpoints") or ():
            if section(endpoint, "conditions").get("ready") is False:
                continue
            pod = _pod_of(endpoint)
            if pod and numbers and numbers[0]:
                yield pod, numbers[0]


def _of_subsets(subsets: Iterable[Document], port: str) -> Iterator[tuple[str, int]]:
    for subset in subsets:
        numbers = [one.get("port") for one in subset.get("ports") or () if (one.get("name") or "") == port]
        for address in subset.get("addresses") or ():
            pod = _pod_of(address)
            if pod and numbers and numbers[0]:
                yield pod, numbers[0]


def _pod_of(endpoint: Document) -> str:
    """Return the pod behind an address; nothing else is proxied to."""
    reference = section(endpoint, "targetRef")
    return (reference.get("name") or "") if reference.get("kind") == "Pod" else ""


def _is_ready(pod: Document) -> bool:
    if section(pod, "metadata").get("deletionTimestamp"):
        return False
    conditions = section(pod, "status").get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _target_port(pod: Document, declared: Document) -> int:
    """Return the number of the port behind a service's port, 0 if the pod has none of that name."""
    target = declared.get("targetPort") or declared.get("port")
    if isinstance(target, int):
        return target
    for container in section(pod, "spec").get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == target:
                return port.get("containerPort") or 0
    return 0
