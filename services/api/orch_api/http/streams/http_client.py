"""One HTTP/1.1 exchange with whoever is at the far end of a link: the request as it comes, the answer as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import h11

from orch.errors import BadRequestError, StreamClosedError
from orch_api.http.links import Link

_MAX_HEAD: Final = 128 << 10

Header = tuple[bytes, bytes]
_Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class HttpClient:
    """Speaks HTTP/1.1 over a link; for one exchange. What breaks the answer is raised as StreamClosedError."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    async def begin(self, method: str, target: bytes, headers: Sequence[Header]) -> None:
        """Send the head of a request. Raises BadRequestError for what is no proper one."""
        try:
            head = self._state.send(h11.Request(method=method, target=target, headers=list(headers)))
        except h11.LocalProtocolError as error:
            raise BadRequestError(f"the request cannot be passed on: {error}") from error
        await self._link.write(head or b"")

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """End the request."""
        await self._send(h11.EndOfMessage())

    async def response(self) -> h11.Response | h11.InformationalResponse:
        """Return the head of the answer; an informational one only if it is 101."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise StreamClosedError("EOF")

    async def body(self) -> AsyncGenerator[bytes]:
        """Yield the answer's body."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise StreamClosedError("unexpected EOF")

    @property
    def beyond(self) -> bytes:
        """What came after a 101 already."""
        return self._state.trailing_data[0]

    async def _send(self, event: h11.Data | h11.EndOfMessage) -> None:
        try:
            data = self._state.send(event)
        except h11.LocalProtocolError as error:
            raise BadRequestError(f"the request cannot be passed on: {error}") from error
        if data:
            await self._link.write(data)

    async def _next(self) -> _Event:
        """Return the next event; the link's bytes are read as they are needed."""
        while True:
            try:
                event = self._state.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self._state.receive_data(await self._link.read())
            except h11.RemoteProtocolError as error:
                raise StreamClosedError(f"malformed HTTP response: {error}") from error
