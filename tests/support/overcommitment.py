"""Whether any node was promised more than it has: a function over pods and nodes, and a watch over a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from orch import quantity
from orch.objects.cluster import Node
from orch.objects.pods import Container, Pod, PodSpec
from orch.runtime.informer import Change, Informer

_ENDED = {"Succeeded", "Failed"}


def overcommitted(pods: Iterable[Pod | Mapping[str, Any]], nodes: Iterable[Node | Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each node and resource of which its pods request more than the node has.

    Also for each port of a node that two of its pods have. Pods count from when they are bound until they have ended.
    """
    given = {node.metadata.name: node.status.allocatable for node in (_view(node, Node) for node in nodes)}
    taken: dict[str, dict[str, int]] = {}
    ports: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    problems: list[str] = []
    for pod in (_view(pod, Pod) for pod in pods):
        name = pod.spec.node_name
        if not name or pod.status.phase in _ENDED:
            continue
        amounts = taken.setdefault(name, {})
        for resource, value in {**requested(pod.spec), "pods": 1000}.items():
            amounts[resource] = amounts.get(resource, 0) + value
        for port in (port for container in pod.spec.containers for port in container.ports if port.host_port):
            others = ports.setdefault((name, port.protocol, port.host_port), [])
            if any("" in {address, port.host_ip} or address == port.host_ip for address, _ in others):
                problems.append(f"{name}: port {port.host_port} of {pod.metadata.name} is that of another pod")
            others.append((port.host_ip, pod.metadata.name))
    for name, amounts in taken.items():
        has = given.get(name)
        if has is None:
            continue  # a node that has gone promised nothing
        for resource, value in amounts.items():
            capacity = quantity.milli(has[resource]) if resource in has else 0
            if value > capacity and value:
                problems.append(f"{name}: {value} thousandths of {resource} are requested of {capacity}")
    return problems


def requested(spec: PodSpec) -> dict[str, int]:
    """Return what a pod requests at its most demanding moment, in thousandths."""
    together = _sum(_asked(container) for container in spec.containers)
    beside: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in spec.init_containers:
        if container.restart_policy == "Always":
            beside = _sum([beside, _asked(container)])
            moment = beside
        else:
            moment = _sum([beside, _asked(container)])
        most = {key: max(most.get(key, 0), moment.get(key, 0)) for key in {*most, *moment}}
    running = _sum([together, beside])
    peak = {key: max(most.get(key, 0), running.get(key, 0)) for key in {*most, *running}}
    return _sum([peak, {key: quantity.milli(text) for key, text in spec.overhead.items()}])


class CommitmentWatch:
    """Looks after every change of a pod whether its node is overcommitted then; `problems` keeps what was found."""

    def __init__(self, pods: Informer[Pod], nodes: Informer[Node]) -> None:
        self._pods: dict[str, dict[str, Pod]] = {}
        self._nodes = nodes
        self.problems: list[str] = []
        self.looked = 0
        pods.on_change(self._look)

    def _look(self, change: Change[Pod]) -> None:
        for item in (change.old, change.new):
            if item is not None and item.object.spec.node_name:
                here = self._pods.setdefault(item.object.spec.node_name, {})
                if item is change.new:
                    here[item.uid] = item.object
                else:
                    here.pop(item.uid, None)
        if change.new is not None and (name := change.new.object.spec.node_name):
            node = self._nodes.get("", name)
            if node is not None:
                self.looked += 1
                self.problems += overcommitted(self._pods[name].values(), [node.object])


def _view(found: Any, kind: Any) -> Any:
    return found if isinstance(found, kind) else msgspec.convert(found, kind)


def _asked(container: Container) -> dict[str, int]:
    return {resource: quantity.milli(text) for resource, text in container.resources.requests.items()}


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, 0) + value
    return total
