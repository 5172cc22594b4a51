"""Gives the kinds of services' addresses what they need to know of a cluster: its ranges."""

from __future__ import annotations

from typing import Final

import msgspec

from orch_api.addresses.ranges import ServiceRanges
from orch_api.kinds.services import ServiceStrategy
from orch_api.registry import Registry
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import Document

DEFAULT_CIDR: Final = "kubernetes"
FINALIZER: Final = "networking.k8s.io/service-cidr-finalizer"


def with_ranges(registry: Registry, ranges: ServiceRanges) -> Registry:
    """Return a copy of the registry whose services take their addresses from these ranges."""
    return Registry(
        msgspec.structs.replace(one, strategy=ServiceStrategy(ranges)) if one.qualified == "services" else one
        for one in registry.copy().resources
    )


def follow(ranges: ServiceRanges, cache: ObjectCache) -> None:
    """Take ranges from the ServiceCIDR objects, too."""
    ranges.learn(lambda: [item.json for item in cache.select("networking.k8s.io", "servicecidrs")])


def default_cidr(ranges: ServiceRanges) -> Document:
    """Return the ServiceCIDR that every cluster has."""
    return {
        "metadata": {"name": DEFAULT_CIDR, "finalizers": [FINALIZER]},
        "spec": {"cidrs": [str(ranges.default)]},
    }
