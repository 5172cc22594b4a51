"""Probes of real containers: commands inside them, requests and connections into their network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orch.clock import Clock
from orch.errors import UnavailableError
from orch.objects.pods import GRPCAction, HTTPGetAction, Probe, TCPSocketAction
from orch_agent.network.connections import Connection, DialError, unreached
from orch_agent.network.sandbox import Sandboxes
from orch_agent.pods.environment import expand
from orch_agent.probes import http
from orch_agent.probes.commands import run_command
from orch_agent.probes.deadline import within
from orch_agent.probes.grpc import SERVING, UNIMPLEMENTED, GrpcError, check_health
from orch_agent.probes.outcome import Outcome, ProbeError, ProbeKind, ProbeResult, ProbeTarget
from orch_agent.runtimes.protocol import ContainerError, Runtime

_LAST_PORT: Final = 65535


class NodeProber:
    """Asks the containers of one node. Requests go to the pod's own address unless a probe names a host."""

    def __init__(self, runtime: Runtime, sandboxes: Sandboxes, clock: Clock) -> None:
        self._runtime = runtime
        self._sandboxes = sandboxes
        self._clock = clock

    async def probe(self, target: ProbeTarget, kind: ProbeKind, probe: Probe) -> ProbeResult:
        """Ask once."""
        del kind
        seconds = max(probe.timeout_seconds, 1)
        if probe.exec is not None:
            return await self._command(target, probe.exec.command, seconds)
        if probe.http_get is not None:
            return await self._request(target, probe.http_get, seconds)
        if probe.tcp_socket is not None:
            return await self._connect(target, probe.tcp_socket, seconds)
        if probe.grpc is not None:
            return await self._health(target, probe.grpc, seconds)
        raise ProbeError(f"missing probe handler for {target.pod.metadata.name}:{target.container.name}")

    async def dial(self, target: ProbeTarget, host: str, port: int) -> Connection:
        """Connect to a pod's own address inside its network, to any other host from the node's. Raises DialError."""
        if host == target.sandbox.address:
            return await self._sandboxes.dial(target.sandbox, port, own_address=True)
        return await self._sandboxes.dial_host(host, port)

    async def _command(self, target: ProbeTarget, command: tuple[str, ...], seconds: int) -> ProbeResult:
        words = expanded(target, command)
        try:
            code, output = await within(self._clock, seconds, run_command(self._runtime, target.id, words))
        except TimeoutError:
            said = " ".join(words)
            return ProbeResult(Outcome.FAILURE, f'command timed out: "{said}" timed out after {seconds}s')
        except (ContainerError, UnavailableError) as error:
            raise ProbeError(str(error)) from error
        return ProbeResult(Outcome.FAILURE if code else Outcome.SUCCESS, output)

    async def _request(self, target: ProbeTarget, action: HTTPGetAction, seconds: int) -> ProbeResult:
        url = url_of(target, action)
        try:
            answer = await within(self._clock, seconds, self.get(target, action))
        except TimeoutError:
            message = f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            return ProbeResult(Outcome.FAILURE, message)
        except DialError as error:
            return ProbeResult(Outcome.FAILURE, str(error))
        body = answer.body.decode(errors="replace")
        if 300 <= answer.status < 400:
            return ProbeResult(Outcome.WARNING, f"Probe terminated redirects, Response body: {body}")
        if 200 <= answer.status < 300:
            return ProbeResult(Outcome.SUCCESS, body)
        return ProbeResult(Outcome.FAILURE, f"HTTP probe failed with statuscode: {answer.status}")

    async def get(self, target: ProbeTarget, action: HTTPGetAction) -> http.Answer:
        """Make a probe's or hook's request. Raises HttpError, ProbeError."""

        async def dial(host: str, port: int) -> Connection:
            return await self.dial(target, host, port)

        return await http.get(url_of(target, action), action.http_headers, dial)

    async def _connect(self, target: ProbeTarget, action: TCPSocketAction, seconds: int) -> ProbeResult:
        host, port = action.host or target.sandbox.address, port_of(target, action.port)
        try:
            connection = await within(self._clock, seconds, self.dial(target, host, port))
        except TimeoutError:
            return ProbeResult(Outcome.FAILURE, unreached(host, port, "i/o timeout"))
        except DialError as error:
            return ProbeResult(Outcome.FAILURE, str(error))
        await connection.close()
        return ProbeResult(Outcome.SUCCESS)

    async def _health(self, target: ProbeTarget, action: GRPCAction, seconds: int) -> ProbeResult:
        address = _authority(target.sandbox.address, action.port)
        try:
            status = await within(self._clock, seconds, self._check(target, action, address))
        except TimeoutError:
            return ProbeResult(Outcome.FAILURE, f"timeout: health rpc did not complete within {seconds}s")
        except DialError as error:
            return ProbeResult(Outcome.FAILURE, f'error: failed to connect service at "{address}": {error}')
        except GrpcError as error:
            if error.code == UNIMPLEMENTED:
                lacking = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                return ProbeResult(Outcome.FAILURE, f"{lacking}: {error.detail}")
            return ProbeResult(Outcome.FAILURE, f"error: health rpc probe failed: {error}")
        if status != SERVING:
            return ProbeResult(Outcome.FAILURE, f'service unhealthy (responded with "{status}")')
        return ProbeResult(Outcome.SUCCESS, "service healthy")

    async def _check(self, target: ProbeTarget, action: GRPCAction, address: str) -> str:
        connection = await self.dial(target, target.sandbox.address, action.port)
        try:
            return await check_health(connection, address, action.service)
        finally:
            await connection.close()


def expanded(target: ProbeTarget, command: tuple[str, ...]) -> list[str]:
    """Return a command with the variables that the container's definition gives values to."""
    variables: Mapping[str, str] = {each.name: each.value for each in target.container.env if each.value_from is None}
    return [expand(word, variables) for word in command]


def port_of(target: ProbeTarget, port: int | str) -> int:
    """Return a port's number; a name is looked up among the container's ports. Raises ProbeError."""
    if isinstance(port, str) and not port.isdecimal():
        number = next((each.container_port for each in target.container.ports if each.name == port), 0)
        if not number:
            raise ProbeError(f'strconv.Atoi: parsing "{port}": invalid syntax')
        return number
    number = int(port)
    if not 0 < number <= _LAST_PORT:
        raise ProbeError(f"invalid port number: {number}")
    return number


def url_of(target: ProbeTarget, action: HTTPGetAction) -> str:
    """Return the address of a request. Raises ProbeError."""
    host = action.host or target.sandbox.address
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    return f"{(action.scheme or 'HTTP').lower()}://{_authority(host, port_of(target, action.port))}{path}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
