"""Pods that a node runs on its own, without having been told to by the api: how they are told from others."""

from __future__ import annotations

from typing import Final

from orch.objects.pods import Pod

CONFIG_SOURCE: Final = "kubernetes.io/config.source"
CONFIG_HASH: Final = "kubernetes.io/config.hash"
CONFIG_SEEN: Final = "kubernetes.io/config.seen"
CONFIG_MIRROR: Final = "kubernetes.io/config.mirror"
FROM_API: Final = "api"


def is_static(pod: Pod) -> bool:
    """Return whether a pod is from anywhere but the api; of its mirror there the same is true."""
    return pod.metadata.annotations.get(CONFIG_SOURCE, FROM_API) != FROM_API or is_mirror(pod)


def is_mirror(pod: Pod) -> bool:
    """Return whether a pod is what the api shows of one that a node runs on its own."""
    return CONFIG_MIRROR in pod.metadata.annotations
