from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orch_agent.runtimes.protocol import STDERR, STDOUT, ContainerError, ExecSpec, State


async def execute(lab: Any, container: str, *command: str, feed: bytes | None = None) -> tuple[dict[int, bytes], int]:
    """Run a command to its end; return what it wrote by stream, and its exit code."""
    spec = ExecSpec(command=command, stdin=feed is not None)
    async with asyncio.timeout(20):
        session = await lab.runtime.exec(container, spec)
        try:
            if feed is not None:
                await session.write(feed)
                await session.end_input()
            written: dict[int, bytes] = {}
            async for stream, data in session.output():
                written[stream] = written.get(stream, b"") + data
            return written, await session.exit_code()
        finally:
            await session.close()


async def test_output_and_exit_code(lab: Any) -> None:
    made = await lab.run(GREETING="hello")
    assert await execute(lab, made, "echo", "a", "b") == ({STDOUT: b"a b\n"}, 0)
    assert await execute(lab, made, "true") == ({}, 0)
    assert (await execute(lab, made, "false"))[1] == 1
    assert (await execute(lab, made, "exit", "3"))[1] == 3
    written, _ = await execute(lab, made, "env")
    assert b"GREETING=hello\n" in written[STDOUT]


async def test_input_reaches_the_command_and_its_end_too(lab: Any) -> None:
    made = await lab.run()
    data = bytes(range(256)) * 1024
    assert await execute(lab, made, "cat", feed=data) == ({STDOUT: data}, 0)


async def test_a_command_that_does_not_exist_is_named(lab: Any) -> None:
    made = await lab.run()
    problem = ""
    try:
        written, code = await execute(lab, made, "no-such-program")
        problem = (written.get(STDERR, b"") + written.get(STDOUT, b"")).decode()
        assert code in {126, 127}
    except ContainerError as error:
        problem = str(error)
    assert "no-such-program" in problem


async def test_nothing_runs_in_a_container_that_has_ended(lab: Any) -> None:
    made = await lab.run(SIMULATED_RUN_SECONDS=0)
    await lab.until(made, State.EXITED)
    with pytest.raises(ContainerError):
        await execute(lab, made, "true")


async def test_a_command_that_is_killed_ends(lab: Any) -> None:
    made = await lab.run()
    session = await lab.runtime.exec(made, ExecSpec(command=("cat",), stdin=True))
    try:
        await session.write(b"hello")
        async with asyncio.timeout(20):
            written = b""
            async for _, data in session.output():
                written += data
                await session.kill()
            assert written == b"hello"
            assert await session.exit_code() == 137
    finally:
        await session.close()
    assert (await lab.inspect(made)).state is State.RUNNING
