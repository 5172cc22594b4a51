"""Many requests of one reconciliation, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

ItemT = TypeVar("ItemT")


async def for_each(items: Iterable[ItemT], action: Callable[[ItemT], Awaitable[object]], at_a_time: int = 32) -> None:
    """Do `action` for every item, at most so many at a time. What failed first is raised once all were tried."""
    slots = asyncio.Semaphore(at_a_time)

    async def act(item: ItemT) -> None:
        async with slots:
            await action(item)

    results = await asyncio.gather(*map(act, items), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
