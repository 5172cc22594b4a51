"""Group commit on a real etcd: writes a second by how many are in flight, against one put a round trip."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from orch.store.etcd import EtcdStore
from orch.store.protocol import Store, Write

IN_FLIGHT = (1, 16, 64, 256)
SECONDS = 3.0
VALUE = b"x" * 1024


class Row(msgspec.Struct, frozen=True):
    """One line of the table; rates are writes a second."""

    in_flight: int
    grouped: float
    one_by_one: float


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def _rate(write: Callable[[bytes], Awaitable[object]], in_flight: int) -> float:
    """Return writes a second, each of a new key, over SECONDS."""
    numbers = itertools.count()
    run = time.monotonic_ns()
    started = time.perf_counter()
    deadline = started + SECONDS
    done = 0

    async def writer() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await write(b"/orch/objects/core/pods/bench/%d-%d" % (run, next(numbers)))
            done += 1

    await asyncio.gather(*(writer() for _ in range(in_flight)))
    return done / (time.perf_counter() - started)


async def _measure(url: str) -> list[Row]:
    store = await EtcdStore.connect(endpoints=[url], dial_timeout=20)
    rows: list[Row] = []
    try:
        for in_flight in IN_FLIGHT:
            grouped = await _rate(_grouped(store), in_flight)
            one_by_one = await _rate(_alone(store), in_flight)
            rows.append(Row(in_flight, grouped, one_by_one))
    finally:
        await store.close()
    return rows


def _grouped(store: Store) -> Callable[[bytes], Awaitable[object]]:
    return lambda key: store.write(Write(key, VALUE, 0))


def _alone(store: EtcdStore) -> Callable[[bytes], Awaitable[object]]:
    """Each write in a transaction of its own: what the store would do without its committer."""
    return lambda key: store._commit([Write(key, VALUE, 0)])  # noqa: SLF001 - measured beneath the committer


def _measure_on_own_etcd() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as directory:
        url, peer = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
        command = [
            "etcd",
            f"--data-dir={directory}/data",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=error",
            "--logger=zap",
        ]
        with (
            (Path(directory) / "etcd.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as etcd,
        ):
            try:
                return asyncio.run(_measure(url))
            finally:
                etcd.terminate()


def main() -> list[Row]:
    """Measure on an etcd of its own, print a table and return its rows."""
    rows = _measure_on_own_etcd()
    print("compare-and-swaps of 1 KiB a second, etcd with fsync")
    print(f"{'in flight':>9}  {'group commit':>12}  {'one by one':>10}  {'ratio':>6}")
    for row in rows:
        ratio = row.grouped / row.one_by_one
        print(f"{row.in_flight:>9}  {row.grouped:>12,.0f}  {row.one_by_one:>10,.0f}  {ratio:>5.1f}x")
    return rows


if __name__ == "__main__":
    main()
