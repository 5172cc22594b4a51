"""Watches that are told the same: their events are rendered once and written to all of them in one go.

A thousand clients that follow the same pods would otherwise take a thousand turns of the event loop for each change.
A watch joins its audience once it has been told all that happened so far; a client that does not keep up leaves it,
is told the rest in its own time, and joins again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter, Gauge
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from orch.errors import OrchError
from orch_api.storage.cache import CacheEvent, Subscription

log = logging.getLogger(__name__)

PUSH: Final = "orch.push"
"""The scope's key of a Push; absent where answers are not streams of chunks."""

Push = Callable[[bytes], bool]
"""Writes a chunk at once. Returns False, having done nothing, when the client does not keep up or is gone."""

MEMBERS: Final = Gauge("orch_api_watch_audience_members", "Watches that are told what others are told too")
FELL_BEHIND: Final = Counter("orch_api_watch_fell_behind", "Times that a watch did not keep up with its audience")

BOOKMARK_PERIOD: Final = 60.0
_IN_ONE_GO: Final = 64
"""After so many watches, other tasks get their turn."""
_LONGEST_PAUSE: Final = 0.1


class Told(msgspec.Struct, frozen=True, gc=False):
    """An event as it is sent."""

    version: int
    line: bytes


class Script(msgspec.Struct, frozen=True):
    """What an audience is told: how changes and bookmarks are rendered, and who counts what was sent."""

    render: Callable[[Sequence[CacheEvent]], Awaitable[list[Told]]]
    bookmark: Callable[[int], bytes]
    sent: Callable[[int, int], None]
    """Called with an event's size and the number of watches that were sent it."""


class Member:
    """One watch among its audience. `left` ends with the version up to which it was told everything."""

    __slots__ = ("bookmarks", "left", "push", "told")

    def __init__(self, push: Push, told: int, *, bookmarks: bool) -> None:
        self.push = push
        self.told = told
        self.bookmarks = bookmarks
        self.left: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        """Let the watch go on by itself."""
        if not self.left.done():
            self.left.set_result(self.told)


def as_chunk(piece: bytes) -> bytes:
    """Return a piece of an answer as HTTP/1.1's chunked encoding has it."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def push_chunk(cycle: RequestResponseCycle, chunk: bytes) -> bool:
    """Write a chunk of the answer that a cycle has begun, see Push."""
    if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete or not cycle.chunked_encoding:
        return False
    cycle.transport.write(chunk)
    return True


class Audience:
    """The watches that are told the same."""

    def __init__(self, subscription: Subscription, script: Script, ended: Callable[[Audience], None]) -> None:
        self._subscription = subscription
        self._script = script
        self._ended = ended
        self._over = False
        self._members: dict[Member, None] = {}
        self._pause = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run(), name="watch audience")

    def join(self, member: Member) -> None:
        """Tell a watch, from the version that it has been told up to."""
        self._members[member] = None
        MEMBERS.inc()

    def leave(self, member: Member) -> None:
        """Tell a watch no more; it may have left already."""
        if member in self._members:
            del self._members[member]
            MEMBERS.dec()
        if not self._members:
            self._task.cancel()
            self._dissolve()

    def _dissolve(self) -> None:
        """Take nobody in any more, and let those who are here go on by themselves."""
        if not self._over:
            self._over = True
            self._ended(self)
            self._subscription.close()
        for member in list(self._members):
            member.release()

    async def _run(self) -> None:
        try:
            while True:
                await self._listen()
        except OrchError as error:
            log.info("an audience is dissolved, its watches go on by themselves: %s", error)
        except Exception:
            log.exception("an audience is dissolved, its watches go on by themselves")
        finally:
            self._dissolve()

    async def _listen(self) -> None:
        """Wait for changes and tell them. After a pass it waits as long as that took: what happens is told together."""
        try:
            async with asyncio.timeout(BOOKMARK_PERIOD):
                batch = await anext(self._subscription)
        except TimeoutError:
            self._remind()
            return
        if self._pause:
            await asyncio.sleep(self._pause)
            batch += self._subscription.take()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        told = await self._script.render(batch)
        await self._tell(told, batch[-1].item.version)
        self._pause = min((loop.time() - begun) / 4, _LONGEST_PAUSE) if len(self._members) > 1 else 0.0

    async def _tell(self, told: Sequence[Told], version: int) -> None:
        """Write the events to every watch that has not been told them; all are told up to `version` then."""
        chunk = as_chunk(b"".join([one.line for one in told])) if told else b""
        first = told[0].version if told else 0
        count = 0
        for number, member in enumerate(list(self._members), start=1):
            if member not in self._members:
                continue  # it left while others were told
            own = chunk
            if told and member.told >= first:
                rest = b"".join([one.line for one in told if one.version > member.told])
                own = as_chunk(rest) if rest else b""
            if not own or member.push(own):
                count += bool(own)
                member.told = max(member.told, version)
            else:
                FELL_BEHIND.inc()
                member.release()
                self._members.pop(member)
                MEMBERS.dec()
            if number % _IN_ONE_GO == 0:
                await asyncio.sleep(0)
        for one in told:
            self._script.sent(len(one.line), count)

    def _remind(self) -> None:
        """Send a bookmark to the watches that want them."""
        version = self._subscription.progress
        line = as_chunk(self._script.bookmark(version))
        for member in self._members:
            if member.bookmarks and member.push(line):
                member.told = max(member.told, version)


class Audiences:
    """All audiences of a process, by what they are told."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Audience] = {}

    def find(self, key: Hashable, subscribe: Callable[[], Subscription], script: Script) -> Audience:
        """Return the audience of a key, made if there is none."""
        audience = self._by_key.get(key)
        if audience is None:
            audience = self._by_key[key] = Audience(subscribe(), script, lambda over: self._forget(key, over))
        return audience

    def _forget(self, key: Hashable, audience: Audience) -> None:
        if self._by_key.get(key) is audience:
            del self._by_key[key]
