from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orch_agent.runtimes.protocol import STDOUT, ContainerError, State

ECHOES = {"command": ("cat",), "stdin": True}
"""A container that writes what it reads, also when it is simulated."""


async def read_until(output: Any, wanted: bytes) -> bytes:
    """Read standard output until `wanted` came."""
    seen = b""
    async with asyncio.timeout(20):
        while wanted not in seen:
            stream, data = await anext(output)
            assert stream == STDOUT
            seen += data
    return seen


async def keep_writing(session: Any, line: bytes) -> None:
    """Write a line again and again: a runtime may take a moment to show outputs to who has joined."""
    while True:
        await session.write(line)
        await asyncio.sleep(0.1)


async def test_input_and_output_are_the_containers_own(lab: Any) -> None:
    made = await lab.run(**ECHOES)
    session = await lab.runtime.attach(made, stdin=True)
    output = session.output()
    await session.write(b"hello\n")
    assert await read_until(output, b"hello\n") == b"hello\n"
    await session.end_input()
    async with asyncio.timeout(20):
        assert [piece async for piece in output] == []
    assert (await lab.until(made, State.EXITED)).exit_code == 0
    await session.close()


async def test_only_what_comes_from_now_on_is_shown(lab: Any) -> None:
    made = await lab.run(**ECHOES)
    first = await lab.runtime.attach(made, stdin=True)
    output = first.output()
    await first.write(b"before\n")
    await read_until(output, b"before\n")
    second = await lab.runtime.attach(made, stdin=False)
    later = second.output()
    writing = asyncio.create_task(keep_writing(first, b"after\n"))
    assert set((await read_until(later, b"after\n")).splitlines()) == {b"after"}
    assert set((await read_until(output, b"after\n")).splitlines()) == {b"after"}
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await first.end_input()
    await lab.until(made, State.EXITED)
    for session in (first, second):
        await session.close()


async def test_without_an_input_there_is_only_output(lab: Any) -> None:
    made = await lab.run(SIMULATED_RUN_SECONDS=1)
    session = await lab.runtime.attach(made, stdin=True)
    await session.write(b"nobody reads this")
    async with asyncio.timeout(20):
        async for stream, data in session.output():
            assert stream == STDOUT
            assert data == b"web started\n"  # if it was attached to before that was written
    await lab.until(made, State.EXITED)
    await session.close()


async def test_nobody_attaches_to_what_does_not_run(lab: Any) -> None:
    made = await lab.run(SIMULATED_RUN_SECONDS=0)
    await lab.until(made, State.EXITED)
    with pytest.raises(ContainerError):
        await lab.runtime.attach(made, stdin=True)
    with pytest.raises(ContainerError):
        await lab.runtime.attach("0" * 64, stdin=True)
