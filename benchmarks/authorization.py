"""Decisions of the authorizer with 5,000 bindings: how long each takes, the first one of each caller included."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from orch.clock import SystemClock
from orch.store.keys import ObjectKey, object_key
from orch.store.memory import MemoryStore
from orch.store.protocol import Write
from orch_api.auth.attributes import Attributes
from orch_api.auth.authorizer import Authorizer, default_chain
from orch_api.auth.identity import Caller
from orch_api.default_roles import DEFAULTS
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import encode

BINDINGS = 5_000
SPACES = 500
DECISIONS = 200_000
_GROUP = "rbac.authorization.k8s.io"
_KINDS = ("pods", "configmaps", "secrets", "services")


class Row(msgspec.Struct, frozen=True):
    """One line of the table; times are microseconds."""

    what: str
    p50: float
    p99: float
    worst: float


def _named(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, "namespace": namespace, "uid": name}


async def _write(store: MemoryStore, plural: str, document: Mapping[str, Any], namespace: str, name: str) -> None:
    key = ObjectKey(_GROUP, plural, namespace, name)
    await store.write(Write(object_key(key), encode(document).value, None))


async def _fill(store: MemoryStore) -> None:
    """Write the default roles; half of the bindings for a user each, half for one group, with roles of their own."""
    for one in DEFAULTS:
        await _write(store, one.plural, one.document, one.namespace, one.name)
    for number in range(BINDINGS):
        space, name = f"space-{number % SPACES}", f"b{number}"
        crowd = number % 2 == 1
        subject = {"kind": "Group", "name": "crowd"} if crowd else {"kind": "User", "name": f"user-{number}"}
        reference = {"kind": "Role", "name": name} if crowd else {"kind": "ClusterRole", "name": "edit"}
        if crowd:
            rules = [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": [name]}]
            await _write(store, "roles", {"metadata": _named(name, space), "rules": rules}, space, name)
        binding = {"metadata": _named(name, space), "roleRef": reference, "subjects": [subject]}
        await _write(store, "rolebindings", binding, space, name)


def _questions() -> list[tuple[Caller, Attributes]]:
    chosen = random.Random(7)  # noqa: S311 - the same questions each time
    asked: list[tuple[Caller, Attributes]] = []
    groups = ("crowd", "staff", "system:authenticated")
    for _ in range(DECISIONS):
        number = chosen.randrange(BINDINGS)
        wanted = Attributes(
            verb=chosen.choice(("get", "list", "create", "deletecollection")),
            resource=chosen.choice(_KINDS),
            namespace=f"space-{number % SPACES}" if chosen.random() < 0.8 else f"space-{chosen.randrange(SPACES)}",
            name=f"b{number}",
        )
        asked.append((Caller(f"user-{number}", groups), wanted))
    return asked


def _timed(decide: Callable[[Caller, Attributes], object], asked: Sequence[tuple[Caller, Attributes]]) -> list[int]:
    times: list[int] = []
    for caller, wanted in asked:
        began = time.perf_counter_ns()
        decide(caller, wanted)
        times.append(time.perf_counter_ns() - began)
    return times


async def _awaited(authorizer: Authorizer, asked: Sequence[tuple[Caller, Attributes]]) -> list[int]:
    times: list[int] = []
    for caller, wanted in asked:
        began = time.perf_counter_ns()
        await authorizer.judge(caller, wanted)
        times.append(time.perf_counter_ns() - began)
    return times


def _best(passes: Sequence[Sequence[int]]) -> list[int]:
    """Return each decision's best time: what other processes take of the machine is left out."""
    return [min(times) for times in zip(*passes, strict=True)]


def _row(what: str, times: list[int]) -> Row:
    times.sort()
    return Row(what, *(times[min(int(len(times) * part), len(times) - 1)] / 1000 for part in (0.5, 0.99, 1)))


async def measure() -> list[Row]:
    """Return the rows: the first decision of each caller, and all of them again."""
    store, clock = MemoryStore(SystemClock()), SystemClock()
    cache = ObjectCache(store, clock)
    authorizer = Authorizer(cache, default_chain)
    await _fill(store)
    running = asyncio.create_task(cache.run())
    try:
        await cache.wait_ready(60)
        asked = _questions()
        gc.collect()
        gc.freeze()
        index = authorizer.rbac
        rows = [
            _row("roles and bindings, the first time", _timed(index.decide, asked)),
            _row("roles and bindings, best of 3", _best([_timed(index.decide, asked) for _ in range(3)])),
            _row("the whole chain, best of 3", _best([await _awaited(authorizer, asked) for _ in range(3)])),
        ]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
    return rows


def main() -> None:
    """Print the table."""
    print(f"{BINDINGS:,} bindings in {SPACES} namespaces, {DECISIONS:,} decisions of {BINDINGS:,} users in 3 groups")
    print("| what | p50 µs | p99 µs | worst µs |\n|---|---:|---:|---:|")
    for row in asyncio.run(measure()):
        print(f"| {row.what} | {row.p50:.1f} | {row.p99:.1f} | {row.worst:,.0f} |")
