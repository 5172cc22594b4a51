"""Which pods serve which service, and on which ports (k8s.io/endpointslice/util and pkg/controller/endpoint).

Kept from one change to the next: neither are all services looked at for each pod, nor all pods for each service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orch.objects.meta import ObjectMeta
from orch.objects.networking import Service, ServicePort
from orch.objects.pods import Container, Pod
from orch.objects.scheme import PODS, SERVICES
from orch.runtime.informer import Change, Informers, Item
from orch.runtime.reconcile import Key
from orch_controllers.pod_state import FINISHED, is_ready

EXTERNAL_NAME: Final = "ExternalName"
_Pair = tuple[str, str, str]


class Selections:
    """The pods that each service's selector selects."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.of(SERVICES)
        self._pods = informers.of(PODS)
        self._by_pair: dict[_Pair, dict[str, None]] = {}
        self._pair: dict[Key, _Pair] = {}
        self._selected: dict[Key, dict[str, None]] = {}
        self._services.on_change(self._take_service)
        self._pods.on_change(self._take_pod)

    def pods_of(self, service: Key) -> list[Pod]:
        """Return the pods that a service selects, by name."""
        names = sorted(self._selected.get(service, ()))
        found = (self._pods.get(service.namespace, name) for name in names)
        return [item.object for item in found if item is not None]

    def services_of(self, item: Item[Pod]) -> list[Key]:
        """Return the services that select a pod."""
        found: list[Key] = []
        for label, value in item.labels.items():
            for name in self._by_pair.get((item.namespace, label, value), ()):
                service = self._services.get(item.namespace, name)
                if service is not None and service.object.spec.selector.items() <= item.labels.items():
                    found.append(Key(item.namespace, name))
        return found

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the services that a pod's change matters to."""
        old, new = change.old, change.new
        if old is not None and new is not None and old is not new and old.labels == new.labels:
            if _serving_state(old.object) == _serving_state(new.object):
                return ()
            return self.services_of(new)
        keys = dict.fromkeys(self.services_of(new)) if new is not None else {}
        if old is not None and old is not new:
            keys |= dict.fromkeys(self.services_of(old))
        return tuple(keys)

    def _take_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and new is not None and old.labels == new.labels:
            return
        if old is not None:
            for key in self.services_of(old):
                self._selected.get(key, {}).pop(old.name, None)
        if new is not None:
            for key in self.services_of(new):
                self._selected.setdefault(key, {})[new.name] = None

    def _take_service(self, change: Change[Service]) -> None:
        old, new = change.old, change.new
        key = Key(change.item.namespace, change.item.name)
        selector = new.object.spec.selector if new is not None else {}
        if old is not None and new is not None and old.object.spec.selector == selector:
            return
        if (pair := self._pair.pop(key, None)) is not None:
            self._by_pair[pair].pop(key.name, None)
            if not self._by_pair[pair]:
                del self._by_pair[pair]
        self._selected.pop(key, None)
        if not selector:
            return
        pairs = [(key.namespace, label, value) for label, value in sorted(selector.items())]
        pair = min(pairs, key=lambda each: len(self._by_pair.get(each, ())))  # the one that tells services apart best
        self._pair[key] = pair
        self._by_pair.setdefault(pair, {})[key.name] = None
        wanted = selector.items()
        self._selected[key] = {
            item.name: None for item in self._pods.items(key.namespace) if wanted <= item.labels.items()
        }


def _serving_state(pod: Pod) -> tuple[object, ...]:
    """Return what of a pod decides whether and where it serves."""
    return (
        pod.status.pod_ip,
        pod.status.pod_ips,
        is_ready(pod),
        bool(pod.metadata.deletion_timestamp),
        pod.status.phase in FINISHED,
        pod.spec.node_name,
        pod.spec.hostname,
        pod.spec.subdomain,
    )


def belongs(pod: Pod, *, terminating: bool) -> bool:
    """Return whether a pod is among a service's endpoints; `terminating`: also while it is being deleted."""
    if pod.status.phase in FINISHED or not (pod.status.pod_ip or pod.status.pod_ips):
        return False
    return terminating or not pod.metadata.deletion_timestamp


def addresses_of(pod: Pod, family: str) -> tuple[str, ...]:
    """Return the pod's addresses of a family, IPv4 or IPv6."""
    known = tuple(each.ip for each in pod.status.pod_ips) or (pod.status.pod_ip,)
    return tuple(address for address in known if address and (":" in address) == (family == "IPv6"))


def hostname_of(pod: Pod, service: Service) -> str | None:
    """Return the name under which the pod is found below the service's, if it has one."""
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        return pod.spec.hostname
    return None


def port_number(pod: Pod, port: ServicePort) -> int | None:
    """Return on which port a pod serves a service's port; None when it has no port of that name."""
    if isinstance(port.target_port, int):
        return port.target_port
    for container in _serving_containers(pod):
        for candidate in container.ports:
            if candidate.name == port.target_port and candidate.protocol == port.protocol:
                return candidate.container_port
    return None


def _serving_containers(pod: Pod) -> Iterable[Container]:
    yield from pod.spec.containers
    for container in pod.spec.init_containers:
        if container.restart_policy == "Always":
            yield container


def prefix_of(meta: ObjectMeta) -> str:
    """Return what the names of a service's slices begin with."""
    return f"{meta.name}-" if len(meta.name) < 63 else meta.name
