"""Measures everything, or the parts that are named: the keys of PARTS."""

from __future__ import annotations

import os
import platform
import sys

import uvloop

from benchmarks import agent, authorization, bus, cluster, engine, fleet, scheduling, store, workloads

PARTS = {
    "store": store.main,
    "bus": lambda: uvloop.run(bus.with_server(bus.measure)),
    "engine": engine.main,
    "authorization": authorization.main,
    "cluster": cluster.main,
    "scheduling": scheduling.main,
    "workloads": workloads.main,
    "fleet": fleet.main,
    "agent": agent.measure,
}


def main() -> None:
    """Run the parts that the arguments name."""
    chosen = sys.argv[1:] or list(PARTS)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name in chosen:
        print(f"\n== {name}")
        PARTS[name]()


if __name__ == "__main__":
    main()
