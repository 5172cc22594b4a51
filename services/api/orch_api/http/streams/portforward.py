"""Ports of a pod at the client: as pairs of SPDY streams, or as pairs of WebSocket channels.

Over SPDY (raw, or inside a WebSocket) the client opens an error stream and a data stream for each connection, both
with the port and the same request id. Over plain WebSocket channels each port of the query has one connection: channel
2i is the data of the i-th port, 2i+1 its errors; the first message of each is the port's number.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Sequence
from typing import Final

from orch.errors import ApiError, BadRequestError, StreamClosedError, UnavailableError
from orch.objects.pods import Pod
from orch.spdy.frames import PROTOCOL_ERROR
from orch_api.http.links import Link, join
from orch_api.http.spdy.connection import SpdyConnection, SpdyStream
from orch_api.http.streams.pods import PodNodes, Query
from orch_api.http.websocket import Channels

_log = logging.getLogger(__name__)

PROTOCOL: Final = "portforward.k8s.io"

_PAIR_DEADLINE: Final = 30.0
"""Seconds that a client has to open the second stream of a pair."""
_MAX_PORT: Final = 65535
_MAX_PORTS: Final = 64
"""Ports of one WebSocket: a channel's number has eight bits."""
_NUMBER: Final = struct.Struct("<H")
_QUEUED: Final = 16


class PortForwarder:
    """Forwards ports of one pod to one client."""

    def __init__(self, nodes: PodNodes, pod: Pod) -> None:
        self._nodes = nodes
        self._pod = pod

    async def over_spdy(self, connection: SpdyConnection) -> None:
        """Serve the stream pairs of a connection until the client leaves."""
        pairs: dict[str, _Pair] = {}
        async with asyncio.TaskGroup() as tasks:
            serving: list[asyncio.Task[None]] = []
            while (stream := await connection.accept()) is not None:
                kind, request, port = _described(stream)
                pair = pairs.get(request)
                if not port or (pair is not None and kind in pair.streams):
                    _log.info("a stream of a port-forward was refused: %s", dict(stream.headers))
                    await _quietly(stream.reset(PROTOCOL_ERROR))
                    continue
                if pair is None:
                    pair = pairs[request] = _Pair()
                    serving = [task for task in serving if not task.done()]
                    serving.append(tasks.create_task(self._serve(pairs, request, pair, port)))
                await _quietly(stream.accept())
                pair.add(kind, stream)
            for task in serving:
                task.cancel()

    async def over_channels(self, channels: Channels, ports: Sequence[int]) -> None:
        """Serve one connection to each of `ports`; return when all have ended or the client has left."""
        links = [_ChannelLink(channels, 2 * index) for index in range(len(ports))]
        for index, port in enumerate(ports):
            await channels.send(2 * index, _NUMBER.pack(port))
            await channels.send(2 * index + 1, _NUMBER.pack(port))
        receiving = asyncio.ensure_future(_distribute(channels, links))
        forwarding = asyncio.gather(
            *(self._forward(link, link.errors, port) for link, port in zip(links, ports, strict=True))
        )
        try:
            await asyncio.wait((receiving, forwarding), return_when=asyncio.FIRST_COMPLETED)
        finally:
            receiving.cancel()
            forwarding.cancel()
            await asyncio.gather(receiving, forwarding, return_exceptions=True)
            await channels.close()

    async def _serve(self, pairs: dict[str, _Pair], request: str, pair: _Pair, port: int) -> None:
        """Serve one pair of streams."""
        try:
            async with asyncio.timeout(_PAIR_DEADLINE):
                await pair.complete.wait()
        except TimeoutError:
            _log.info("a client opened one stream of a pair only, for port %d", port)
            if (errors := pair.streams.get("error")) is not None:
                await _quietly(errors.write(f"(request={request}) timed out waiting for streams".encode()))
        else:
            await self._forward(pair.streams["data"], pair.streams["error"], port)
        finally:
            del pairs[request]
            for stream in pair.streams.values():
                await _quietly(stream.end())

    async def _forward(self, data: Link, errors: Link, port: int) -> None:
        """Connect to the port and copy both ways; what goes wrong there is told on the error stream."""
        try:
            node = await self._nodes.dial(self._pod, port)
            try:
                await join(data, node)
            finally:
                await node.close()
        except StreamClosedError as error:
            _log.debug("a forwarded connection to port %d broke: %s", port, error)
            await _quietly(data.close())
        except (ApiError, UnavailableError) as error:
            # kubelet names the sandbox and has no uid; so the pod's uid stands in the sandbox's place.
            problem = f"error forwarding port {port} to pod {self._pod.metadata.uid}, uid : {error}"
            _log.info("%s", problem)
            await _quietly(errors.write(problem.encode()))
        await _quietly(data.end())
        await _quietly(errors.end())


class _Pair:
    """The two streams of one connection."""

    def __init__(self) -> None:
        self.streams: dict[str, SpdyStream] = {}
        self.complete = asyncio.Event()

    def add(self, kind: str, stream: SpdyStream) -> None:
        self.streams[kind] = stream
        if len(self.streams) == 2:
            self.complete.set()


class _ChannelLink:
    """The two channels of one port as a Link; `errors` is the second one."""

    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self._number = number
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)

    @property
    def errors(self) -> _ChannelLink:
        return _ChannelLink(self._channels, self._number + 1)

    async def read(self) -> bytes:
        return await self.arrived.get()

    async def write(self, data: bytes) -> None:
        await self._channels.send(self._number, data)

    async def end(self) -> None:
        """End what is read, too: a channel has no end of its own, so nothing would say that the port is done."""
        await self.arrived.put(b"")

    async def close(self) -> None:
        """Do nothing: the WebSocket is closed when all its ports are done."""


async def _distribute(channels: Channels, links: Sequence[_ChannelLink]) -> None:
    """Hand each message to its port. A port that takes nothing holds back the others, as the connection is one."""
    async for channel, data in channels:
        if data and channel % 2 == 0 and channel // 2 < len(links):
            await links[channel // 2].arrived.put(data)


async def _quietly(telling: Awaitable[None]) -> None:
    """Tell the client something; that it has left already is no matter."""
    try:
        await telling
    except StreamClosedError as error:
        _log.debug("a client of a port-forward has left: %s", error)


def _described(stream: SpdyStream) -> tuple[str, str, int]:
    """Return (kind, request id, port) of a stream; port 0 if its headers are not those of a port-forward."""
    headers = stream.headers
    kind, port = headers.get("streamtype", ""), headers.get("port", "")
    # Before request ids, the data stream was the one that followed its error stream.
    older = str(stream.number if kind == "error" else stream.number - 2)
    if kind not in {"error", "data"} or not port.isdecimal() or not 0 < int(port) <= _MAX_PORT:
        return kind, "", 0
    return kind, headers.get("requestid", older), int(port)


def ports_of(query: Query) -> list[int]:
    """Return the ports that a query names, several in one value also. Raises BadRequestError."""
    ports: list[int] = []
    for value in query.get("ports", []) + query.get("port", []):
        for text in value.split(","):
            if not text.isdecimal():
                raise BadRequestError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
            port = int(text)
            if not 0 < port <= _MAX_PORT:
                raise BadRequestError(f'port "{text}" must be in the range 1-65535')
            ports.append(port)
    if not ports:
        raise BadRequestError('query parameter "port" is required')
    if len(ports) > _MAX_PORTS:
        raise BadRequestError(f"at most {_MAX_PORTS} ports can be forwarded over one connection")
    return ports
