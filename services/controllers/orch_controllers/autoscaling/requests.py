"""What a pod requests of a resource, which is what its use is a percentage of."""

from __future__ import annotations

from orch import quantity
from orch.objects.pods import Pod


class MissingRequestError(Exception):
    """A container does not say what it requests; the message is Kubernetes'."""


def pod_request(pod: Pod, container: str, resource: str) -> int:
    """Return what the pod, or one container of it, requests of a resource in thousandths.

    Sidecars count, other init containers do not: they have ended when the pod works. Requests of the pod as a whole
    come before those of its containers. Raises MissingRequestError.
    """
    spec = pod.spec
    if not container and spec.resources is not None and (whole := spec.resources.requests.get(resource)):
        return quantity.milli(whole)
    total = 0
    for each in (*spec.containers, *(one for one in spec.init_containers if one.restart_policy == "Always")):
        if container not in {"", each.name}:
            continue
        request = each.resources.requests.get(resource)
        if request is None:
            name = pod.metadata.name
            raise MissingRequestError(f"missing request for {resource} in container {each.name} of Pod {name}")
        total += quantity.milli(request)
    return total
