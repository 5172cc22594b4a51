"""Many writes of one reconciliation, in batches that double (k8s.io/kubernetes pkg/controller slowStartBatch).

A template that is refused so costs one request, not hundreds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from orch.errors import OrchError

ItemT = TypeVar("ItemT")


async def slow_start(
    items: Sequence[ItemT], action: Callable[[ItemT], Awaitable[object]], most: int = 512
) -> tuple[int, OrchError | None]:
    """Do `action` for the items, 1, 2, 4 … at a time; stop after the batch in which something failed.

    Returns for how many it was done, and what failed first. Anything but an OrchError is a mistake, and raised.
    """
    done, begin, size = 0, 0, 1
    while begin < len(items):
        batch = items[begin : begin + size]
        failures = await _all(batch, action)
        done += len(batch) - len(failures)
        if failures:
            return done, failures[0]
        begin += len(batch)
        size = min(size * 2, most)
    return done, None


async def at_once(items: Sequence[ItemT], action: Callable[[ItemT], Awaitable[object]]) -> OrchError | None:
    """Do `action` for all items side by side; return what failed first."""
    failures = await _all(items, action)
    return failures[0] if failures else None


async def _all(items: Sequence[ItemT], action: Callable[[ItemT], Awaitable[object]]) -> list[OrchError]:
    if len(items) == 1:  # the most frequent case by far
        try:
            await action(items[0])
        except OrchError as error:
            return [error]
        return []
    failures: list[OrchError] = []
    for result in await asyncio.gather(*map(action, items), return_exceptions=True):
        if isinstance(result, OrchError):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
    return failures
