"""Commands inside containers that are run for their exit code and a little output."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from orch_agent.runtimes.protocol import ExecSpec, Runtime

OUTPUT_LIMIT: Final = 10 << 10


async def run_command(runtime: Runtime, container: str, command: Sequence[str]) -> tuple[int, str]:
    """Return a command's exit code and what it wrote, both outputs together and cut at 10 KiB.

    A call that is cancelled kills the command. Raises ContainerError or UnavailableError.
    """
    session = await runtime.exec(container, ExecSpec(command=tuple(command), whole=True))
    written = bytearray()
    ended = False
    try:
        async with aclosing(session.output()) as output:
            async for _, data in output:
                written += data[: OUTPUT_LIMIT - len(written)]
        code = await session.exit_code()
        ended = True
    finally:
        if not ended:
            await session.kill()
        await session.close()
    return code, written.decode(errors="replace")
