from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from orch.clock import parse_rfc3339
from orch_agent.runtimes.protocol import STDOUT, LogQuery, State


async def lines(lab: Any, container: str, **query: Any) -> list[Any]:
    async with asyncio.timeout(20):
        return [line async for lines in lab.runtime.logs(container, LogQuery(**query)) for line in lines]


async def test_what_a_container_wrote_has_time_and_stream(lab: Any) -> None:
    made = await lab.run(SIMULATED_RUN_SECONDS=0)
    await lab.until(made, State.EXITED)
    [line] = await lines(lab, made)
    assert (line.stream, line.data) == (STDOUT, b"web started\n")
    assert abs(parse_rfc3339(line.time) - datetime.now(UTC)) < timedelta(seconds=30)


async def test_tail_and_since_choose_among_them(lab: Any) -> None:
    made = await lab.run(SIMULATED_RUN_SECONDS=0)
    await lab.until(made, State.EXITED)
    assert await lines(lab, made, tail=0) == []
    assert len(await lines(lab, made, tail=5)) == 1
    assert await lines(lab, made, since=datetime.now(UTC) + timedelta(seconds=60)) == []
    assert len(await lines(lab, made, since=datetime.now(UTC) - timedelta(seconds=60))) == 1


async def test_following_goes_on_until_the_container_ends(lab: Any) -> None:
    made = await lab.run(SIMULATED_RUN_SECONDS=0.5)
    found = await lines(lab, made, follow=True)
    assert [line.data for line in found] == [b"web started\n"]
    assert (await lab.inspect(made)).state is State.EXITED
