"""Which spread constraints hold for a pod: its own, or for pods without any those of the profile."""

from __future__ import annotations

from typing import Final

import msgspec

from orch_scheduler.demand import Demand
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.terms import Spread

HOSTNAME: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"


class DefaultSpread(msgspec.Struct, frozen=True):
    """A constraint for pods without any of their own, about the pods of their service or workload."""

    max_skew: int
    key: str
    hard: bool


SYSTEM_DEFAULTS: Final = (DefaultSpread(3, HOSTNAME, hard=False), DefaultSpread(5, ZONE, hard=False))
"""kube-scheduler's own."""


class Defaults(msgspec.Struct, frozen=True):
    """A profile's constraints. With the system's, nodes need not have all of the labels."""

    constraints: tuple[DefaultSpread, ...] = SYSTEM_DEFAULTS
    system: bool = True


def constraints(snapshot: Snapshot, demand: Demand, defaults: Defaults, *, hard: bool) -> tuple[Spread, ...]:
    """Return the constraints that refuse nodes (`hard`) or prefer some."""
    if demand.spread:
        return tuple(spread for spread in demand.spread if spread.hard == hard)
    wanted = tuple(each for each in defaults.constraints if each.hard == hard)
    group = snapshot.workloads.group(demand) if wanted else None
    if group is None:
        return ()
    own = group.means(demand, snapshot.namespaces)
    return tuple(Spread(each.key, group, own, hard, each.max_skew) for each in wanted)
