"""Many writes begin slowly, and stop where something fails; shares of a number are rounded as asked."""

from __future__ import annotations

import pytest

from orch.errors import ForbiddenError
from orch_controllers.shares import resolve
from orch_controllers.slow_start import at_once, slow_start


class Writes:
    """Writes, some of which are refused."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.done: list[int] = []

    async def __call__(self, number: int) -> None:
        self.done.append(number)
        if number in self.failing:
            raise ForbiddenError(f"{number} is refused")


@pytest.mark.parametrize(
    ("failing", "tried", "done"),
    [((), 20, 20), ((0,), 1, 0), ((1,), 3, 2), ((3, 5), 7, 5), ((19,), 20, 19)],
)
async def test_batches_double_until_one_has_a_failure(failing: tuple[int, ...], tried: int, done: int) -> None:
    writes = Writes(*failing)
    count, failure = await slow_start(range(20), writes)
    assert (len(writes.done), count) == (tried, done)
    assert str(failure or "") == (f"{failing[0]} is refused" if failing else "")


async def test_batches_are_as_large_as_they_may_be() -> None:
    writes = Writes(2)
    done, failure = await slow_start(range(9), writes, most=1)
    assert (writes.done, done, str(failure)) == ([0, 1, 2], 2, "2 is refused")


async def test_all_are_tried_at_once() -> None:
    writes = Writes(1, 3)
    failure = await at_once(range(5), writes)
    assert (writes.done, str(failure)) == ([0, 1, 2, 3, 4], "1 is refused")
    assert await at_once([], writes) is None


async def test_a_mistake_is_no_failure() -> None:
    async def mistake(number: int) -> None:
        raise ZeroDivisionError

    for numbers in (range(1), range(2)):
        with pytest.raises(ZeroDivisionError):
            await at_once(numbers, mistake)


@pytest.mark.parametrize(
    ("value", "up", "expected"),
    [(3, True, 3), (None, True, 1), ("25%", True, 3), ("25%", False, 2), ("100%", False, 10), ("0%", True, 0)],
)
def test_shares_are_rounded_as_asked(value: int | str | None, *, up: bool, expected: int) -> None:
    assert resolve(value, 10, 1, up=up) == expected
