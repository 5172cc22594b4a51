"""How a pod is called: in messages, and by itself."""

from __future__ import annotations

from typing import Final

from orch.objects.pods import Pod

_LONGEST_HOSTNAME: Final = 63


def describe(pod: Pod) -> str:
    """Return the pod as kubelet writes it in messages: name_namespace(uid)."""
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def hostname_of(pod: Pod) -> str:
    """Return the pod's own hostname; "" for one that has the node's."""
    if pod.spec.host_network:
        return ""
    return (pod.spec.hostname or pod.metadata.name)[:_LONGEST_HOSTNAME].rstrip("-.")
