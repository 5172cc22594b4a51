"""What is said of pods in their status: the newest word, and nothing that is out of date before it is read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from orch_scheduler_fixtures import working

from orch.clock import ManualClock
from orch.errors import UnavailableError
from orch_scheduler.queue import Waiting
from orch_scheduler.reports import Reports


class Api:
    """Keeps the statuses that it is sent; fails as often as the test says."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str | None]] = []
        self.failures = 0

    async def patch(self, kind: Any, namespace: str, name: str, patch: Any, **_: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("away")
        status = patch["status"]
        (condition,) = status.get("conditions") or ({},)
        self.told.append((name, condition.get("message", ""), status.get("nominatedNodeName")))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def reports(api: Api, clock: ManualClock):
    made = Reports(api, clock)  # type: ignore[arg-type]
    async with working(made.run()):
        yield made


@pytest.fixture
def pod(demand_of) -> Waiting:
    return Waiting("u", "d", "p", 1, demand_of(), None, 0.0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_refusal_and_nomination_are_one_write(reports: Reports, api: Api, pod: Waiting) -> None:
    reports.refused(pod, "no room")
    reports.nominated(pod, "n")
    await settle()
    assert api.told == [("p", "no room", "n")]


async def test_what_is_held_back_is_said_a_moment_later(
    reports: Reports, api: Api, clock: ManualClock, pod: Waiting
) -> None:
    reports.refused(pod, "no room")
    reports.nominated(pod, "n")
    reports.hold_back("u")
    await settle()
    assert api.told == []
    await clock.advance(0.3)
    await settle()
    assert api.told == [("p", "no room", "n")]


async def test_nothing_is_said_of_a_pod_that_was_bound_meanwhile(
    reports: Reports, api: Api, clock: ManualClock, pod: Waiting
) -> None:
    reports.nominated(pod, "n")
    reports.hold_back("u")
    await settle()
    reports.forget("u")
    await clock.advance(1)
    await settle()
    assert api.told == []


async def test_a_newer_word_takes_what_was_held_back_with_it(reports: Reports, api: Api, pod: Waiting) -> None:
    reports.refused(pod, "no room")
    reports.hold_back("u")
    await settle()
    reports.nominated(pod, "m")
    await settle()
    assert api.told == [("p", "no room", "m")]


async def test_a_nomination_is_said_again_when_the_api_was_away(
    reports: Reports, api: Api, clock: ManualClock, pod: Waiting
) -> None:
    api.failures = 1
    reports.nominated(pod, "n")
    await settle()
    assert api.told == []
    await clock.advance(1)
    await settle()
    assert api.told == [("p", "", "n")]
