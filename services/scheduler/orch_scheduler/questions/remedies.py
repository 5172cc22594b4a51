"""What would let a pod onto nodes that refuse it: the smallest change for each group of them.

Only nodes that one rule alone refuses are looked at: with two rules in the way, no single change helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from orch.objects.taints import tolerates
from orch_pb.v1.question_pb2 import Remedy
from orch_scheduler.columns import Rows, Snapshot
from orch_scheduler.demand import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Demand
from orch_scheduler.explain import Verdict
from orch_scheduler.filters.protocol import Filter, Ruling
from orch_scheduler.requests import MOST

_NAMES: Final = 3
_MOST: Final = 8
"""Remedies that are told."""
_KEEPS_OFF: Final = frozenset({"NoSchedule", "NoExecute"})
_UNITS: Final = (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))

Told = Iterator[tuple[str, Rows]]
"""What would help, and the rows on which, the nearest first."""


def remedies(verdict: Verdict, snapshot: Snapshot, demand: Demand, *, only: int = -1) -> list[Remedy]:
    """Return what would help, that for the most nodes first; with `only`, on this row alone."""
    if not verdict.rulings:
        return []
    refusals = np.sum([~ruling.allowed for _, ruling in verdict.rulings], axis=0)
    alone = snapshot.live & (refusals == 1)
    if only >= 0:
        alone &= np.arange(snapshot.size) == only
    found: list[Remedy] = []
    for rule, ruling in verdict.rulings:
        rows: Rows = np.flatnonzero(alone & ~ruling.allowed)
        if len(rows):
            for text, helped in _told(rule, ruling, snapshot, demand, rows):
                first: list[int] = helped[:_NAMES].tolist()
                names = [snapshot.names[row] for row in first]
                found.append(Remedy(rule=rule.name, text=text, nodes=len(helped), names=names))
    found.sort(key=lambda remedy: -remedy.nodes)
    return found[:_MOST]


def _told(rule: Filter, ruling: Ruling, snapshot: Snapshot, demand: Demand, rows: Rows) -> Told:
    special = _BY_RULE.get(rule.name)
    if ruling.whole:
        yield f"the pod itself otherwise: {ruling.whole}", rows
    elif special is not None:
        yield from special(snapshot, demand, rows)
    else:
        for reason, helped in ruling.reasons(rows):
            words = _BY_REASON.get(reason)
            where = _any(helped.tolist())
            yield f"{words} {where}" if words else f"{where} without the objection of {rule.name}: {reason}", helped


def _fit(snapshot: Snapshot, demand: Demand, rows: Rows) -> Told:
    """More of what is short: free on a node, or, where even an empty one has too little, to begin with."""
    groups: dict[tuple[bool, tuple[str, ...]], list[int]] = {}
    for row in rows.tolist():
        short = tuple(name for name in sorted(demand.requests) if _missing(snapshot, demand, row, name) > 0)
        small = any(_has(snapshot.allocatable, snapshot, row, name) < demand.requests[name] for name in short)
        groups.setdefault((small, short), []).append(row)
    for (small, short), found in groups.items():
        ordered = sorted(found, key=lambda row: tuple(_missing(snapshot, demand, row, name) for name in short))
        nearest = ordered[0]
        if small:
            asked = " and ".join(spoken(name, demand.requests[name]) for name in short)
            most = " and ".join(
                spoken(name, max(_has(snapshot.allocatable, snapshot, row, name) for row in found)) for name in short
            )
            yield f"a larger node: {asked} asked, {most} the most that {_any(found)} has", np.asarray(ordered)
        else:
            lacking = " and ".join(spoken(name, _missing(snapshot, demand, nearest, name)) for name in short)
            yield f"{lacking} more on {_any(found)}", np.asarray(ordered)


def _missing(snapshot: Snapshot, demand: Demand, row: int, name: str) -> int:
    free = _has(snapshot.allocatable, snapshot, row, name) - _has(snapshot.requested, snapshot, row, name)
    return demand.requests[name] - free


def _has(amounts: np.ndarray[tuple[int, ...], np.dtype[np.int64]], snapshot: Snapshot, row: int, name: str) -> int:
    column = snapshot.resources.get(name)
    return int(amounts[row, column]) if column is not None else 0


def _taints(snapshot: Snapshot, demand: Demand, rows: Rows) -> Told:
    """Tolerations, for each combination of taints."""
    kept_off: dict[int, list[str]] = {}
    wanted = set(rows.tolist())
    for taint in snapshot.taints:
        if taint.effect in _KEEPS_OFF and not tolerates(demand.tolerations, taint):
            value = f"={taint.value}" if taint.value else ""
            for row in np.flatnonzero(snapshot.taints.mask(taint, snapshot.size)).tolist():
                if row in wanted:
                    kept_off.setdefault(row, []).append(f"{taint.key}{value}:{taint.effect}")
    for taints, found in _grouped({row: " and ".join(sorted(names)) for row, names in kept_off.items()}):
        yield f"tolerate {taints}", found


def _unschedulable(snapshot: Snapshot, demand: Demand, rows: Rows) -> Told:
    del snapshot, demand
    yield f"uncordon {_any(rows.tolist())}", rows


def _labels(snapshot: Snapshot, demand: Demand, rows: Rows) -> Told:
    """Labels that nodeSelector asks for; for affinity, the node's word that the rule would have to allow it."""
    lacking: dict[int, str] = {}
    places: list[int] = rows.tolist()
    for row in places:
        labels = snapshot.node_labels[row]
        missing = [f"{key}={value}" for key, value in demand.node_selector if labels.get(key) != value]
        lacking[row] = " and ".join(missing)
    for missing, found in _grouped(lacking):
        if missing:
            yield f"label {missing} on {_any(found.tolist())}, or a nodeSelector without it", found
        else:
            yield f"a required node affinity that allows {_any(found.tolist())}", found


def _name(snapshot: Snapshot, demand: Demand, rows: Rows) -> Told:
    del snapshot, demand
    yield f"no spec.nodeName, or that of {_any(rows.tolist())}", rows


_BY_RULE: Final[Mapping[str, Callable[[Snapshot, Demand, Rows], Told]]] = {
    "NodeResourcesFit": _fit,
    "TaintToleration": _taints,
    "NodeUnschedulable": _unschedulable,
    "NodeAffinity": _labels,
    "NodeName": _name,
}


_BY_REASON: Final[Mapping[str, str]] = {
    "node(s) didn't have free ports for the requested pod ports": "the host ports free on",
    "node(s) didn't match pod affinity rules": "pods that the required affinity means near",
    "node(s) didn't match pod anti-affinity rules": "without the pods that its anti-affinity means,",
    "node(s) didn't satisfy existing pods anti-affinity rules": "without the pods whose anti-affinity refuses it,",
    "node(s) didn't match pod topology spread constraints": "more such pods elsewhere, or a larger maxSkew:",
    "node(s) didn't match pod topology spread constraints (missing required label)": "the label of topologyKey on",
    "node(s) exceed max volume count": "fewer volumes attached to",
    "node(s) had no available volume zone": "its volumes in the zone of",
    "node(s) didn't match PersistentVolume's node affinity": "volumes that can be reached from",
    "node(s) didn't find available persistent volumes to bind": "a volume to bind for",
}
"""What would undo a reason, before the nodes that gave it."""


def _grouped(words: Mapping[int, str]) -> Iterator[tuple[str, Rows]]:
    groups: dict[str, list[int]] = {}
    for row, word in words.items():
        groups.setdefault(word, []).append(row)
    for word, rows in groups.items():
        yield word, np.asarray(sorted(rows), np.int64)


def _any(rows: Sequence[int]) -> str:
    return f"any of {len(rows)} nodes" if len(rows) > 1 else "one node"


def spoken(resource: str, amount: int) -> str:
    """Return an amount as people write it: "2 cpu", "500m cpu", "1.5Gi memory", "1 pod slot"."""
    if amount >= MOST:  # more than that is not told apart
        return f"an absurd amount of {resource}"
    if resource == CPU:
        return f"{amount // 1000} cpu" if amount % 1000 == 0 else f"{amount}m cpu"
    if resource in (MEMORY, EPHEMERAL_STORAGE):
        for suffix, size in _UNITS:
            if amount >= size:
                return f"{f'{amount / size:.2f}'.rstrip('0').rstrip('.')}{suffix} {resource}"
        return f"{amount} bytes of {resource}"
    if resource == PODS:
        return f"{amount} pod slot{'' if amount == 1 else 's'}"
    return f"{amount} {resource}"
