from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from orch.bus.protocol import Bus
from orch.clock import ManualClock
from orch.errors import ConflictError, TerminalError
from orch.objects.scheme import DEPLOYMENTS, NODES, PODS, REPLICA_SETS
from orch.runtime.controller import Controller, Watch, own_key, owner_key
from orch.runtime.informer import Change, Informers
from orch.runtime.reconcile import DONE, Key, Result
from orch.telemetry import current_trace

if TYPE_CHECKING:
    from conftest import Relay

TRACE, LATER = f"00-{'1' * 32}-{'2' * 16}-01", f"00-{'3' * 32}-{'2' * 16}-01"
A = Key("ns", "a")


class Scripted:
    """Does what the test says for each key in turn, then nothing."""

    def __init__(self) -> None:
        self.seen: list[Key] = []
        self.traces: list[str] = []
        self.steps: list[Callable[[], Awaitable[Result]] | Exception | Result] = []
        self.active: set[Key] = set()
        self.most_active = 0

    async def reconcile(self, key: Key) -> Result:
        assert key not in self.active, "reconciled twice at a time"
        self.active.add(key)
        self.most_active = max(self.most_active, len(self.active))
        try:
            self.seen.append(key)
            trace = current_trace()
            self.traces.append(trace.traceparent if trace is not None else "")
            step = self.steps.pop(0) if self.steps else DONE
            if isinstance(step, Exception):
                raise step
            return step if isinstance(step, Result) else await step()
        finally:
            self.active.discard(key)


def results(result: str) -> float:
    return (
        REGISTRY.get_sample_value("controller_runtime_reconcile_total", {"controller": "test", "result": result}) or 0
    )


@pytest.fixture
def reconciler() -> Scripted:
    return Scripted()


@pytest.fixture
def start(bus: Bus, clock: ManualClock, reconciler: Scripted, running) -> Callable[..., Any]:
    """Return what runs a controller of pods, with its informers, for the length of a context."""

    def start(**options: Any) -> Any:
        informers = Informers(bus)
        controller = Controller("test", reconciler, (Watch(PODS, own_key),), **options)

        async def run() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(controller.run(informers, clock))
                tasks.create_task(informers.run())

        return running(run())

    return start


async def test_changes_are_reconciled_with_the_trace_that_caused_them(
    relay: Relay, start, reconciler: Scripted, eventually
) -> None:
    await relay.put(PODS, "ns", "a", 1)
    async with start():
        await eventually(lambda: reconciler.seen == [A])
        await relay.put(PODS, "ns", "a", 2, trace=TRACE)
        await eventually(lambda: len(reconciler.seen) == 2)
        await relay.delete(PODS, "ns", "a", 3, trace=LATER)
        await eventually(lambda: len(reconciler.seen) == 3)
    assert reconciler.traces == ["", TRACE, LATER]


async def test_a_failure_is_retried_with_back_off_and_its_trace(
    relay: Relay, start, reconciler: Scripted, clock: ManualClock, eventually, caplog: pytest.LogCaptureFixture
) -> None:
    errors = results("error")
    reconciler.steps = [ValueError("broken"), ConflictError("stale"), DONE]
    await relay.put(PODS, "ns", "a", 1, trace=TRACE)
    async with start():
        await eventually(lambda: len(reconciler.seen) == 1)
        await clock.advance(0.004)
        assert len(reconciler.seen) == 1
        await clock.advance(0.001)
        await eventually(lambda: len(reconciler.seen) == 2)
        await clock.advance(0.009)
        assert len(reconciler.seen) == 2
        await clock.advance(0.001)
        await eventually(lambda: len(reconciler.seen) == 3)
        await clock.advance(100)
    assert reconciler.traces == [TRACE] * 3
    assert results("error") - errors == 2
    assert "ValueError: broken" in caplog.text


async def test_a_terminal_error_waits_for_the_next_change(
    relay: Relay, start, reconciler: Scripted, clock: ManualClock, eventually
) -> None:
    reconciler.steps = [TerminalError("cannot help")]
    await relay.put(PODS, "ns", "a", 1)
    async with start():
        await eventually(lambda: len(reconciler.seen) == 1)
        await clock.advance(200)
        assert len(reconciler.seen) == 1
        await relay.put(PODS, "ns", "a", 2)
        await eventually(lambda: len(reconciler.seen) == 2)
    terminal = "controller_runtime_terminal_reconcile_errors_total"
    assert REGISTRY.get_sample_value(terminal, {"controller": "test"})


async def test_a_result_asks_for_another_look_later(
    relay: Relay, start, reconciler: Scripted, clock: ManualClock, eventually
) -> None:
    reconciler.steps = [Result(requeue_after=10), DONE]
    await relay.put(PODS, "ns", "a", 1)
    async with start():
        await eventually(lambda: len(reconciler.seen) == 1)
        await clock.advance(9.9)
        assert len(reconciler.seen) == 1
        await clock.advance(0.1)
        await eventually(lambda: len(reconciler.seen) == 2)


async def test_everything_is_looked_at_again_on_a_period(
    relay: Relay, start, reconciler: Scripted, clock: ManualClock, eventually
) -> None:
    await relay.put(PODS, "ns", "a", 1)
    await relay.put(PODS, "ns", "b", 2)
    async with start(resync=30):
        await eventually(lambda: len(reconciler.seen) == 2)
        await clock.advance(30)
        await eventually(lambda: len(reconciler.seen) == 4)
        await clock.advance(30)
        await eventually(lambda: len(reconciler.seen) == 6)


async def test_a_reconciliation_has_a_deadline(
    relay: Relay, start, reconciler: Scripted, clock: ManualClock, eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang() -> Result:
        await asyncio.get_running_loop().create_future()
        return DONE

    reconciler.steps = [hang]
    await relay.put(PODS, "ns", "a", 1)
    async with start(deadline=0.01):
        await eventually(lambda: "took longer than 0.01 s" in caplog.text)
        await clock.advance(1)
        await eventually(lambda: len(reconciler.seen) == 2)


async def test_a_cancellation_from_within_is_a_failure_and_not_the_workers_end(
    relay: Relay, start, reconciler: Scripted, clock: ManualClock, eventually
) -> None:
    async def cancelled() -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    reconciler.steps = [cancelled]
    await relay.put(PODS, "ns", "a", 1)
    async with start(workers=1):
        await eventually(lambda: len(reconciler.seen) == 1)
        await clock.advance(1)
        await eventually(lambda: len(reconciler.seen) == 2)


async def test_keys_run_side_by_side_but_each_only_once_at_a_time(
    relay: Relay, start, reconciler: Scripted, eventually
) -> None:
    gate = asyncio.Event()

    async def wait() -> Result:
        await gate.wait()
        return DONE

    reconciler.steps = [wait, wait, wait]
    for revision, name in enumerate("abc", 1):
        await relay.put(PODS, "ns", name, revision)
    async with start(workers=3):
        await eventually(lambda: len(reconciler.active) == 3)
        await relay.put(PODS, "ns", "a", 10)
        gate.set()
        await eventually(lambda: len(reconciler.seen) == 4)
    assert reconciler.seen[3] == A
    assert reconciler.most_active == 3


async def test_a_controller_that_was_stopped_can_run_again(
    relay: Relay, bus: Bus, clock: ManualClock, reconciler: Scripted, running, eventually
) -> None:
    informers = Informers(bus)
    controller = Controller("test", reconciler, (Watch(PODS, own_key),))
    await relay.put(PODS, "ns", "a", 1)
    async with running(informers.run()):
        for runs in (1, 2):
            async with running(controller.run(informers, clock)):
                await eventually(lambda runs=runs: len(reconciler.seen) == runs)
        assert informers.of(PODS)._handlers == []


async def test_work_waits_for_the_snapshots(
    bus: Bus, clock: ManualClock, reconciler: Scripted, running, eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    informers = Informers(bus)
    controller = Controller("test", reconciler, (Watch(PODS, own_key),))
    async with running(controller.run(informers, clock)) as task:
        await clock.advance(1)
        assert not task.done()
        assert reconciler.seen == []


async def test_keys_of_owners(relay: Relay, bus: Bus, running, eventually) -> None:
    owners, keys = owner_key(REPLICA_SETS), []
    informers = Informers(bus)
    informers.of(PODS).on_change(lambda change: keys.append([str(key) for key in owners(change)]))

    def owned_by(name: str, *, kind: str = "ReplicaSet", group: str = "apps/v1") -> list[dict[str, Any]]:
        other = {"apiVersion": group, "kind": kind, "name": "other", "uid": "o"}
        return [other, {"apiVersion": group, "kind": kind, "name": name, "uid": "u", "controller": True}]

    async with running(informers.run()):
        await informers.wait_synced()
        for revision, owner in ((1, "x"), (2, "x"), (3, "y")):
            await relay.put(PODS, "ns", "a", revision, owners=owned_by(owner))
            await eventually(lambda revision=revision: len(keys) == revision)  # the stream keeps only the newest
        await relay.delete(PODS, "ns", "a", 4)
        await relay.put(PODS, "ns", "b", 5, owners=owned_by("x", kind="Job", group="batch/v1"))
        await relay.put(PODS, "ns", "c", 6, owners=owned_by("x", group="elsewhere/v1"))
        await relay.put(PODS, "ns", "d", 7)
        await eventually(lambda: len(keys) == 7)
    assert keys == [["ns/x"], ["ns/x"], ["ns/x", "ns/y"], ["ns/y"], [], [], []]
    assert owner_key(NODES)(Change(None, None)) == []
    assert owner_key(DEPLOYMENTS)(Change(None, None)) == []
