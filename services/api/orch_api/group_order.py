"""Which groups and versions of the API come first where names are looked for: the numbers of Kubernetes' APIServices.

Clients that know a resource only by its plural or short name take it from the group that discovery lists first, so a
user-defined kind never hides a built-in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Place(NamedTuple):
    """A group's priority, and the version's within it; the higher, the earlier."""

    group: int
    version: int = 15


CUSTOM: Final = Place(1000, 100)
"""Where the groups and versions of definitions are."""

PLACES: Final[Mapping[tuple[str, str], Place]] = {
    ("", "v1"): Place(18000, 1),
    ("apps", "v1"): Place(17800),
    ("events.k8s.io", "v1"): Place(17750),
    ("authentication.k8s.io", "v1"): Place(17700),
    ("authorization.k8s.io", "v1"): Place(17600),
    ("autoscaling", "v1"): Place(17500),
    ("autoscaling", "v2"): Place(17500, 30),
    ("batch", "v1"): Place(17400),
    ("certificates.k8s.io", "v1"): Place(17300),
    ("networking.k8s.io", "v1"): Place(17200),
    ("policy", "v1"): Place(17100),
    ("rbac.authorization.k8s.io", "v1"): Place(17000),
    ("storage.k8s.io", "v1"): Place(16800),
    ("apiextensions.k8s.io", "v1"): Place(16700),
    ("admissionregistration.k8s.io", "v1"): Place(16700),
    ("scheduling.k8s.io", "v1"): Place(16600),
    ("coordination.k8s.io", "v1"): Place(16500),
    ("node.k8s.io", "v1"): Place(16300),
    ("discovery.k8s.io", "v1"): Place(16200),
    ("flowcontrol.apiserver.k8s.io", "v1"): Place(16100, 21),
    ("resource.k8s.io", "v1"): Place(15900, 20),
    ("storagemigration.k8s.io", "v1"): Place(15800),
    ("metrics.k8s.io", "v1beta1"): Place(100, 100),
}

FIRST: Final = "apiregistration.k8s.io"
"""The group of the APIServices themselves: it is registered nowhere, and listed before all others."""

_GROUPS: Final = {group: place.group for (group, _), place in PLACES.items()} | {FIRST: 20_000}


def group_order(group: str) -> tuple[int, str]:
    """Return a key that sorts groups as Kubernetes lists them."""
    return (-_GROUPS.get(group, CUSTOM.group), group)
