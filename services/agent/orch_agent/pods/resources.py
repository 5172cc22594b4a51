"""What pods and containers ask for and may use, and the cgroup settings that follow, as kubelet computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import msgspec

from orch import quantity
from orch.objects.pods import Container, Pod, ResourceRequirements
from orch_agent.runtimes.protocol import Limits

_PERIOD: Final = 100_000
_MIN_SHARES: Final = 2
_MAX_SHARES: Final = 262_144
_MIN_QUOTA: Final = 1000
_PAGE: Final = 4096
_THROTTLING_FACTOR: Final = 0.9
"""From which part of the way from its request to its limit a container's memory is slowed down, with memory QoS."""

Amounts = Mapping[str, int]
"""Amounts by resource: processors in thousandths, everything else in units."""

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]


def requests_of(container: Container) -> Mapping[str, str]:
    """Return the requests; a limit without a request counts as one."""
    return {**container.resources.limits, **container.resources.requests}


def qos_class(pod: Pod) -> QosClass:
    """Return the pod's quality of service class (k8s.io/kubernetes pkg/apis/core/v1/helper/qos)."""
    if pod.status.qos_class in {"Guaranteed", "Burstable", "BestEffort"}:
        return pod.status.qos_class  # type: ignore[return-value] - the api computed it when the pod was created
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    if not any(_computes(container.resources.requests, container.resources.limits) for container in containers):
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(container) for container in containers) else "Burstable"


def _computes(*resources: Mapping[str, str]) -> bool:
    return any(quantity.milli(values.get(name, "0")) > 0 for values in resources for name in ("cpu", "memory"))


def _is_guaranteed(container: Container) -> bool:
    limits, requests = container.resources.limits, requests_of(container)
    return all(
        name in limits and quantity.milli(limits[name]) == quantity.milli(requests[name]) for name in ("cpu", "memory")
    )


def oom_score_adjust(qos: QosClass, memory_request: int, memory_capacity: int) -> int:
    """Return the oom_score_adj of a container (k8s.io/kubernetes pkg/kubelet/qos/policy.go)."""
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort":
        return 1000
    return max(3, min(1000 - 1000 * memory_request // max(memory_capacity, 1), 999))


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What of a node decides about settings: its memory, the most processes of a pod, and what is switched on.

    `least_oom_score` is the lowest oom_score_adj that may be set here.
    """

    memory_capacity: int
    least_oom_score: int = -1000
    memory_allocatable: int = 0
    pids: int = 0
    memory_qos: bool = False


def limits_of(pod: Pod, container: Container, policy: Policy) -> Limits:
    """Return the cgroup settings of `container`."""
    requests, limits = requests_of(container), container.resources.limits
    cpu_request = quantity.milli(requests.get("cpu", "0"))
    cpu_limit = quantity.milli(limits.get("cpu", "0"))
    memory_request = quantity.value(requests.get("memory", "0"))
    memory_limit = quantity.value(limits.get("memory", "0"))
    qos = qos_class(pod)
    high = 0
    if policy.memory_qos and qos != "Guaranteed" and memory_request != memory_limit:
        high = _high(memory_request, memory_limit or policy.memory_allocatable)
    return Limits(
        cpu_shares=shares_of_cpu(cpu_request),
        cpu_quota=_quota(cpu_limit),
        cpu_period=_PERIOD,
        memory=memory_limit,
        memory_min=memory_request if policy.memory_qos else 0,
        memory_high=high,
        pids=policy.pids,
        oom_score_adj=max(oom_score_adjust(qos, memory_request, policy.memory_capacity), policy.least_oom_score),
    )


def shares_of_cpu(milli: int) -> int:
    """Return the shares that a request of processors stands for."""
    return min(max(milli * 1024 // 1000, _MIN_SHARES), _MAX_SHARES)


def group_limits(pod: Pod, policy: Policy) -> Limits:
    """Return the settings of a pod's own group (k8s.io/kubernetes pkg/kubelet/cm, ResourceConfigForPod).

    A resource that not all containers limit is not limited for the pod either, unless the pod itself says so.
    """
    qos, requests, limits = qos_class(pod), pod_requests(pod), pod_limits(pod)
    if qos == "BestEffort":
        return Limits(cpu_shares=_MIN_SHARES, pids=policy.pids)
    containers = [*pod.spec.containers, *pod.spec.init_containers]
    of_pod = pod.spec.resources.limits if pod.spec.resources is not None else {}

    def limit(resource: str) -> int:
        everywhere = all(quantity.milli(each.resources.limits.get(resource, "0")) for each in containers)
        return limits.get(resource, 0) if everywhere or resource in of_pod else 0

    return Limits(
        cpu_shares=shares_of_cpu(requests.get("cpu", 0)),
        cpu_quota=_quota(limit("cpu")),
        cpu_period=_PERIOD,
        memory=limit("memory"),
        memory_min=requests.get("memory", 0) if policy.memory_qos else 0,
        pids=policy.pids,
    )


def pod_requests(pod: Pod) -> Amounts:
    """Return what a pod asks for as a whole (k8s.io/component-helpers/resource, PodRequests)."""
    of_pod = pod.spec.resources.requests if pod.spec.resources is not None else {}
    total = _whole(pod, requests_of)
    total |= _read(of_pod)
    return _plus(total, _read(pod.spec.overhead))


def pod_limits(pod: Pod) -> Amounts:
    """Return what a pod may use as a whole; what none of its containers limits is not in it."""
    of_pod = pod.spec.resources.limits if pod.spec.resources is not None else {}
    total = _whole(pod, lambda container: container.resources.limits)
    total |= _read(of_pod)
    return {name: amount + _read(pod.spec.overhead).get(name, 0) for name, amount in total.items()}


def amount_of(resource: str, text: str) -> int:
    """Return a quantity in the unit in which `Amounts` count the resource."""
    return quantity.milli(text) if resource == "cpu" else quantity.value(text)


def _whole(pod: Pod, of: Callable[[Container], Mapping[str, str]]) -> dict[str, int]:
    """Return the sum of containers and sidecars, or the most that any step of the initialisation takes."""
    total = _sum(_read(of(container)) for container in pod.spec.containers)
    sidecars: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in pod.spec.init_containers:
        asked = _read(of(container))
        if container.restart_policy == "Always":
            sidecars = _plus(sidecars, asked)
            step = sidecars
        else:
            step = _plus(sidecars, asked)
        most = {name: max(most.get(name, 0), step.get(name, 0)) for name in most.keys() | step.keys()}
    total = _plus(total, sidecars)
    return {name: max(total.get(name, 0), most.get(name, 0)) for name in total.keys() | most.keys()}


def _read(amounts: Mapping[str, str]) -> dict[str, int]:
    return {name: amount_of(name, text) for name, text in amounts.items()}


def _sum(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in many:
        total = _plus(total, each)
    return total


def _plus(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}


def _quota(milli: int) -> int:
    return max(milli * _PERIOD // 1000, _MIN_QUOTA) if milli else 0


def _high(request: int, limit: int) -> int:
    high = int(request + _THROTTLING_FACTOR * (limit - request)) // _PAGE * _PAGE
    return high if high > request else 0


def actual_resources(container: Container, limits: Limits) -> ResourceRequirements:
    """Return what a container's group gives it, in the words of its spec (status.containerStatuses[].resources).

    Shares and quotas are coarser than what was asked: an amount that leads to what is set is told as it was asked.
    """
    asked, bounds = dict(container.resources.requests), dict(container.resources.limits)
    if "cpu" in asked and shares_of_cpu(quantity.milli(asked["cpu"])) != limits.cpu_shares:
        asked["cpu"] = quantity.canonical(f"{-(-limits.cpu_shares * 1000 // 1024)}m")
    if limits.cpu_quota:
        if "cpu" not in bounds or _quota(quantity.milli(bounds["cpu"])) != limits.cpu_quota:
            bounds["cpu"] = quantity.canonical(f"{limits.cpu_quota * 1000 // limits.cpu_period}m")
    else:
        bounds.pop("cpu", None)
    if limits.memory:
        if "memory" not in bounds or quantity.value(bounds["memory"]) != limits.memory:
            bounds["memory"] = str(quantity.Quantity(limits.memory * 10**9, "BinarySI"))
    else:
        bounds.pop("memory", None)
    return ResourceRequirements(requests=asked, limits=bounds)


def resource_field(container: Container, name: str, divisor: str, defaults: Mapping[str, str]) -> str:
    """Return the value of resourceFieldRef `name`, such as limits.cpu, in units of `divisor`, rounded up.

    A limit that is not set is what the node can allocate (`defaults`). Raises ValueError for an unknown name.
    """
    kind, _, resource = name.partition(".")
    if kind not in {"limits", "requests"} or not resource:
        raise ValueError(f"unsupported container resource: {name}")
    if kind == "limits":
        text = container.resources.limits.get(resource) or defaults.get(resource, "0")
    else:
        text = requests_of(container).get(resource, "0")
    if divisor in {"", "0"}:
        divisor = "1"
    if resource == "cpu":
        return str(_divide_up(quantity.milli(text), quantity.milli(divisor)))
    return str(_divide_up(quantity.value(text), quantity.value(divisor)))


def _divide_up(amount: int, unit: int) -> int:
    return -(-amount // max(unit, 1))
