"""What a container asks to be done after it has started and before it is stopped (kubelet's lifecycle handlers)."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.clock import Clock
from orch.errors import OrchError, UnavailableError
from orch.objects.pods import HTTPGetAction, LifecycleHandler
from orch_agent.network.connections import DialError
from orch_agent.probes.commands import run_command
from orch_agent.probes.node import NodeProber, expanded
from orch_agent.probes.outcome import ProbeError, ProbeTarget
from orch_agent.runtimes.protocol import ContainerError, Runtime

POST_START_ERROR: Final = "PostStartHookError"
_PLAIN_ANSWER: Final = "server gave HTTP response to HTTPS client"


class HookError(OrchError):
    """A hook failed; the message may hold what it wrote, and is for the pod's status alone, not for events."""


class Hooks:
    """Runs the hooks of a node's containers. How long one may take is the caller's to say."""

    def __init__(self, runtime: Runtime, connector: NodeProber, clock: Clock) -> None:
        self._runtime = runtime
        self._connector = connector
        self._clock = clock

    async def run(self, target: ProbeTarget, handler: LifecycleHandler) -> None:
        """Do what the handler says. Raises HookError."""
        if handler.exec is not None:
            await self._command(target, handler.exec.command)
        elif handler.http_get is not None:
            await self._request(target, handler.http_get)
        elif handler.sleep is not None:
            await self._clock.sleep(handler.sleep.seconds)
        else:
            raise HookError("Cannot run handler: invalid handler")

    async def _command(self, target: ProbeTarget, command: tuple[str, ...]) -> None:
        words = expanded(target, command)
        try:
            code, output = await run_command(self._runtime, target.id, words)
            problem = f"command '{' '.join(words)}' exited with {code}: {output}" if code else ""
        except (ContainerError, UnavailableError) as error:
            problem, output = str(error), ""
        if problem:
            raise HookError(_told(target, "Exec", f"[{' '.join(command)}]", problem, output))

    async def _request(self, target: ProbeTarget, action: HTTPGetAction) -> None:
        """Make the request; any answer is success. A plain one to a request over TLS has it made again without."""
        try:
            try:
                await self._connector.get(target, action)
            except DialError as error:
                if _PLAIN_ANSWER not in str(error):
                    raise
                await self._connector.get(target, msgspec.structs.replace(action, scheme="HTTP"))
        except (DialError, ProbeError) as error:
            raise HookError(_told(target, "HTTP", action.path, str(error), "")) from error


def _told(target: ProbeTarget, kind: str, what: str, problem: str, output: str) -> str:
    meta = target.pod.metadata
    pod = f"{meta.name}_{meta.namespace}({meta.uid})"
    where = f'for Container "{target.container.name}" in Pod "{pod}"'
    return f'{kind} lifecycle hook ({what}) {where} failed - error: {problem}, message: "{output}"'
