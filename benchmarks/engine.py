"""The scheduler's engine alone, without store, bus or api: placements a second, one decision, memory.

Everything is in seconds of this process' own processor time: the engine does nothing but compute, and what else runs on
the machine is not its concern. Placements are counted in the columns, as the scheduler does.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demand, Demands
from orch_scheduler.engine import Engine

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
ZONES = 10
BATCH = 512
PODS = 8_192
ROUNDS = 3
DECISIONS = 1_000
APPS = 1_000
"""Deployments that the pods of a full cluster belong to."""


class Rate(msgspec.Struct, frozen=True):
    """One line: placements a second, and one decision by itself in milliseconds."""

    work: str
    nodes: int
    rate: float
    p50: float
    p99: float


class Size(msgspec.Struct, frozen=True):
    """How the engine does with so many pods on the nodes. `decision`: milliseconds; `memory`: MiB of the process."""

    nodes: int
    pods: int
    decision: float
    memory: float


def _columns(nodes: int) -> Columns:
    columns = Columns()
    for number in range(nodes):
        name = f"node-{number}"
        document = {
            "metadata": {"name": name, "labels": {HOST: name, ZONE: f"zone-{number % ZONES}"}},
            "status": {"allocatable": {"cpu": "32", "memory": "64Gi", "pods": "110"}},
        }
        columns.set_node(msgspec.convert(document, Node))
    return columns


def _demand(demands: Demands, app: str, spec: Mapping[str, Any]) -> Demand:
    container = {"name": "c", "image": "app:v1", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}
    document = {
        "metadata": {"name": "p", "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [container], **spec},
    }
    return demands.of(msgspec.convert(document, Pod))


def _company(kind: str, key: str, *, required: bool) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": "bench"}}, "topologyKey": key}
    if required:
        return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    weighted = [{"weight": 1, "podAffinityTerm": term}]
    return {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}


def _spread(key: str, when: str) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "bench"}}
    constraint = {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector}
    return {"topologySpreadConstraints": [constraint]}


def _selected(zones: Sequence[str]) -> dict[str, Any]:
    expression = {"key": ZONE, "operator": "In", "values": list(zones)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


WORK: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "node affinity": _selected(["zone-1", "zone-2"]),
    "required zone spread": _spread(ZONE, "DoNotSchedule"),
    "preferred host spread": _spread(HOST, "ScheduleAnyway"),
    "required anti-affinity, by host": _company("podAntiAffinity", HOST, required=True),
    "required affinity, by zone": _company("podAffinity", ZONE, required=True),
    "preferred affinity, by host": _company("podAffinity", HOST, required=False),
    "preferred anti-affinity, by host": _company("podAntiAffinity", HOST, required=False),
}


def _rate(nodes: int, spec: Mapping[str, Any]) -> float:
    """Return the median over rounds of placements a second, on empty nodes at first."""
    rates: list[float] = []
    for _ in range(ROUNDS):
        columns, engine = _columns(nodes), Engine()
        demand = _demand(Demands(), "bench", spec)
        placed = 0
        total = min(PODS, nodes // BATCH * BATCH)
        started = time.process_time()
        for _ in range(total // BATCH):
            for placement in engine.plan(columns.snapshot(), [demand] * BATCH):
                if placement.node:
                    columns.place(f"pod-{placed}", placement.node, demand)
                    placed += 1
        rates.append(placed / (time.process_time() - started))
    return sorted(rates)[ROUNDS // 2]


def _mixed(classes: int) -> float:
    """Return placements a second of a batch of pods of so many classes in turn, of every kind of work."""
    columns, engine, demands = _columns(5_000), Engine(), Demands()
    specs = list(WORK.values())
    found = [_demand(demands, f"app-{number}", specs[number % len(specs)]) for number in range(classes)]
    batch = [found[number % classes] for number in range(BATCH)]
    rates: list[float] = []
    for _ in range(ROUNDS):
        started = time.process_time()
        placements = engine.plan(columns.snapshot(), batch)
        rates.append(sum(bool(placement.node) for placement in placements) / (time.process_time() - started))
    return sorted(rates)[ROUNDS // 2]


def _decisions(columns: Columns, demand: Demand, count: int = DECISIONS) -> list[float]:
    """Return the milliseconds that each of a number of decisions took by itself, its snapshot included."""
    engine, took = Engine(), []
    for number in range(count):
        started = time.process_time()
        placement = engine.plan(columns.snapshot(), [demand])[0]
        took.append((time.process_time() - started) * 1e3)
        if placement.node:
            columns.place(f"single-{number}", placement.node, demand)
    return sorted(took)


def _line(work: str, nodes: int) -> Rate:
    took = _decisions(_columns(nodes), _demand(Demands(), "bench", WORK[work]))
    return Rate(work, nodes, _rate(nodes, WORK[work]), took[len(took) // 2], took[len(took) * 99 // 100])


def _full(nodes: int, pods: int) -> Size:
    """Fill a cluster with the pods of deployments, some of which keep apart, and decide for one more."""
    columns, demands = _columns(nodes), Demands()
    specs = ({}, _spread(ZONE, "DoNotSchedule"), _company("podAntiAffinity", HOST, required=False))
    classes = [_demand(demands, f"app-{number}", specs[number % 3]) for number in range(APPS)]
    for number in range(pods):
        columns.place(f"11111111-2222-3333-4444-{number:012}", f"node-{number % nodes}", classes[number % APPS])
    took = _decisions(columns, _demand(demands, "bench", WORK["required zone spread"]), 200)
    return Size(nodes, pods, took[100], _resident())


def _resident() -> float:
    """Return the MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> list[Rate]:
    """Measure, print two tables and return the first one's rows."""
    print(f"{'work':<34} {'nodes':>6} {'pods/s':>9} {'p50 ms':>7} {'p99 ms':>7}")
    lines: list[Rate] = []
    for work, nodes in [(work, 5_000) for work in WORK] + [("plain", 50_000)]:
        line = _line(work, nodes)
        lines.append(line)
        print(f"{line.work:<34} {line.nodes:>6} {line.rate:>9,.0f} {line.p50:>7.2f} {line.p99:>7.2f}")
    for classes in (10, BATCH):
        work = f"{classes} classes of all kinds in turn"
        print(f"{work:<34} {5_000:>6} {_mixed(classes):>9,.0f}")
    print(f"\n{'nodes':>6} {'pods on them':>12} {'one decision, ms':>17} {'memory, MiB':>12}")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as apart:
        for pods in (0, 10_000, 100_000):
            size = apart.apply(_full, (5_000, pods))
            print(f"{size.nodes:>6} {size.pods:>12,} {size.decision:>17.2f} {size.memory:>12.0f}")
    return lines


if __name__ == "__main__":
    main()
