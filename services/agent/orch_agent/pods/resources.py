"""From a container's requests and limits to cgroup settings, as kubelet computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from orch import quantity
from orch.objects.pods import Container, Pod
from orch_agent.runtimes.protocol import Limits

_PERIOD: Final = 100_000
_MIN_SHARES: Final = 2
_MAX_SHARES: Final = 262_144
_MIN_QUOTA: Final = 1000

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


def limits_of(pod: Pod, container: Container, *, memory_capacity: int, pids: int) -> Limits:
    """Return the cgroup settings of `container`. `memory_capacity` is the node's, in bytes."""
    requests, limits = requests_of(container), container.resources.limits
    cpu_request = quantity.milli(requests.get("cpu", "0"))
    cpu_limit = quantity.milli(limits.get("cpu", "0"))
    memory_request = quantity.value(requests.get("memory", "0"))
    return Limits(
        cpu_shares=min(max(cpu_request * 1024 // 1000, _MIN_SHARES), _MAX_SHARES),
        cpu_quota=max(cpu_limit * _PERIOD // 1000, _MIN_QUOTA) if cpu_limit else 0,
        cpu_period=_PERIOD,
        memory=quantity.value(limits.get("memory", "0")),
        pids=pids,
        oom_score_adj=oom_score_adjust(qos_class(pod), memory_request, memory_capacity),
    )


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
