"""What single objects use of a namespace's quotas (k8s.io/kubernetes pkg/quota/v1/evaluator/core). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from orch.clock import parse_rfc3339
from orch.objects.networking import Service
from orch.objects.pods import Container, Pod
from orch.objects.storage import PersistentVolumeClaim
from orch.quantity import Quantity, parse

Amounts = dict[str, Quantity]

ONE: Final = Quantity(10**9, "DecimalSI")
ZERO: Final = Quantity(0, "DecimalSI")

COUNT: Final = "count/"
"""Before the name of a kind: how many objects of it there are."""

_ENDED: Final = frozenset({"Succeeded", "Failed"})
_COMPUTE: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES: Final = "hugepages-"
_CLASS: Final = ".storageclass.storage.k8s.io/"


def plus(one: Quantity, other: Quantity) -> Quantity:
    """Return the sum, written as the first of the two that is not zero."""
    return Quantity(one.nanos + other.nanos, one.notation if one.nanos else other.notation)


def add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    """Add amounts to a total."""
    for name, amount in more.items():
        total[name] = plus(total.get(name, ZERO), amount)


def of_pod(pod: Pod, now: datetime) -> Amounts:
    """Return what a pod uses. One that has ended, or that should have been gone by now, uses nothing."""
    if pod.status.phase in _ENDED or _is_overdue(pod, now):
        return {}
    requests, limits = total_of_pod(pod, "requests"), total_of_pod(pod, "limits")
    used: Amounts = {"pods": ONE}
    for name, amount in requests.items():
        if name in _COMPUTE or name.startswith(_HUGE_PAGES):
            used[name] = amount
        used[f"requests.{name}"] = amount
    for name, amount in limits.items():
        if name in _COMPUTE:
            used[f"limits.{name}"] = amount
    return used


def of_service(service: Service, *, has_node_ports: bool) -> Amounts:
    """Return what a service uses; `has_node_ports`: a load balancer's ports are given node ports."""
    used: Amounts = {"services": ONE}
    ports = service.spec.ports
    if service.spec.type == "NodePort":
        used["services.nodeports"] = _number(len(ports))
    elif service.spec.type == "LoadBalancer":
        chosen = ports if has_node_ports else tuple(port for port in ports if port.node_port)
        used["services.nodeports"] = _number(len(chosen))
        used["services.loadbalancers"] = ONE
    return used


def of_claim(claim: PersistentVolumeClaim) -> Amounts:
    """Return what a claim uses, as a whole and of its storage class."""
    used: Amounts = {"persistentvolumeclaims": ONE}
    storage = claim.spec.resources.requests.get("storage")
    if storage is not None:
        used["requests.storage"] = parse(storage)
    if name := claim.spec.storage_class_name:
        used |= {f"{name}{_CLASS}{what}": amount for what, amount in tuple(used.items())}
    return used


Part = Literal["requests", "limits"]


def total_of_pod(pod: Pod, part: Part, *, overhead: bool = True) -> Amounts:
    """Return what a pod's containers need at most at a time: init containers run before the others, sidecars beside."""
    running: Amounts = {}
    for container in pod.spec.containers:
        add(running, _amounts(_of(container, part)))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod.spec.init_containers:
        wanted = _amounts(_of(container, part))
        if container.restart_policy == "Always":
            add(sidecars, wanted)
            _raise(peak, sidecars)
        else:
            beside = dict(wanted)
            add(beside, sidecars)
            _raise(peak, beside)
    add(running, sidecars)
    _raise(running, peak)
    if pod.spec.resources is not None:  # what is said of the pod as a whole goes before
        whole = pod.spec.resources.requests if part == "requests" else pod.spec.resources.limits
        running |= _amounts(whole)
    if not overhead:
        return running
    if part == "requests":
        add(running, _amounts(pod.spec.overhead))
    else:
        add(running, {name: parse(text) for name, text in pod.spec.overhead.items() if name in running})
    return running


def _raise(total: Amounts, to: Mapping[str, Quantity]) -> None:
    for name, amount in to.items():
        if amount.nanos > total.get(name, ZERO).nanos:
            total[name] = amount


def _of(container: Container, part: Part) -> Mapping[str, str]:
    return container.resources.requests if part == "requests" else container.resources.limits


def _amounts(texts: Mapping[str, str]) -> Amounts:
    return {name: parse(text) for name, text in texts.items()}


def _number(count: int) -> Quantity:
    return Quantity(count * 10**9, "DecimalSI")


def _is_overdue(pod: Pod, now: datetime) -> bool:
    """Return whether a pod is being deleted for longer than it was given, as on a node that is lost."""
    meta = pod.metadata
    if not meta.deletion_timestamp or meta.deletion_grace_period_seconds is None:
        return False
    return (now - parse_rfc3339(meta.deletion_timestamp)).total_seconds() > meta.deletion_grace_period_seconds
