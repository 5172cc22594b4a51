"""Pulls that are under way on one node, and those that wait because the last one failed.

A pull belongs to all who want it: it goes on while one of them is left. What it failed for holds all of them back,
10 seconds at first, twice as long each time, 5 minutes at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from orch.clock import Clock
from orch_agent.pods.backoff import BackOff
from orch_agent.pods.image_access import ImageAccess
from orch_agent.runtimes.image_names import qualified
from orch_agent.runtimes.protocol import Credentials, FoundImage, ImageError, Runtime

_UNAVAILABLE: Final = "RegistryUnavailable"
_UNSIGNED: Final = "SignatureValidationFailed"
_NOBODY_THERE: Final = re.compile(
    r"connection refused|connection reset by peer|no such host|i/o timeout|TLS handshake timeout|no route to host"
    r"|network is unreachable|server misbehaving|unexpected HTTP status:? 5\d\d|unexpected status code [^:]*: 5\d\d"
)
"""What runtimes say of a registry that does not answer, or not sensibly; CRI has a name for it that few use."""
_FIRST_WORD: Final = 15.0
_MEGABYTE: Final = 1_000_000
_MOST_HELD: Final = 1000

_Key = tuple[str, tuple[Credentials, ...]]


class FailedPullError(ImageError):
    """A pull failed: under which name kubelet tells it, the runtime's own words, and when it may be tried again."""

    def __init__(self, reason: str, message: str, words: str, until: datetime) -> None:
        super().__init__(message)
        self.reason = reason
        self.words = words
        self.until = until


class _Held:
    """An image that is not pulled for a while."""

    def __init__(self, first: float, longest: float) -> None:
        self.back_off = BackOff(first, longest)
        self.failure: FailedPullError | None = None


class _Flight:
    """A pull under way. Times are the clock's monotonic ones."""

    def __init__(self) -> None:
        self.task: asyncio.Task[FoundImage] | None = None
        self.wanted_by = 0
        self.begun: float | None = None
        self.moved: float | None = None
        self.done = 0
        self.total = 0


class Pulls:
    """The pulls of one node."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        access: ImageAccess,
        *,
        parallel: int,
        progress_timeout: float,
        first_delay: float,
        longest_delay: float,
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._access = access
        self._progress_timeout = progress_timeout
        self._delays = (first_delay, longest_delay)
        self._slots = asyncio.Semaphore(parallel)
        self._flights: dict[_Key, _Flight] = {}
        self._held: dict[_Key, _Held] = {}

    def held_back(self, image: str, candidates: tuple[Credentials, ...]) -> FailedPullError | None:
        """Return what the image was not had for, as long as it is not to be tried again."""
        held = self._held.get((qualified(image), candidates))
        failure = held.failure if held is not None else None
        if failure is None:
            return None
        left = (failure.until - self._clock.now()).total_seconds()
        # One that is further away than any delay was reckoned by a clock that was set back since.
        return failure if 0 < left <= self._delays[1] else None

    async def join(
        self, image: str, candidates: tuple[Credentials, ...], say: Callable[[str], None]
    ) -> tuple[FoundImage, float]:
        """Return the image and how long its pull took. `say` is told now and then how far it is.

        Raises FailedPullError, UnavailableError.
        """
        key = (qualified(image), candidates)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(self._fly(key, image, flight), name=f"pull of {image}")
            flight.task.add_done_callback(_retrieve)
        task = flight.task
        assert task is not None  # noqa: S101 - set just above, or by whoever came first
        flight.wanted_by += 1
        try:
            await self._watch(flight, task, say)
            found = await task
        finally:
            flight.wanted_by -= 1
            if not flight.wanted_by and not task.done():
                task.cancel()
        return found, self._clock.monotonic() - (flight.begun or 0.0)

    async def _watch(self, flight: _Flight, task: asyncio.Task[FoundImage], say: Callable[[str], None]) -> None:
        """Wait for a pull, and tell how far it is, less and less often."""
        pause = _FIRST_WORD
        while not task.done():
            sleeper = asyncio.ensure_future(self._clock.sleep(pause))
            try:
                await asyncio.wait({task, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeper.cancel()
                await asyncio.gather(sleeper, return_exceptions=True)
            if not task.done():
                pause *= 2
                say(self._how_far(flight))

    def _how_far(self, flight: _Flight) -> str:
        if flight.begun is None:
            return "waiting for other pulls"
        seconds = round(self._clock.monotonic() - flight.begun)
        if not flight.total:
            return f"{seconds}s so far"
        return f"{flight.done / _MEGABYTE:.1f} of {flight.total / _MEGABYTE:.1f} MB in {seconds}s"

    async def _fly(self, key: _Key, image: str, flight: _Flight) -> FoundImage:
        try:
            async with self._slots:
                flight.begun = self._clock.monotonic()
                found = await self._fetch_recorded(image, key[1], flight)
        except ImageError as error:
            raise self._hold_back(key, image, str(error)) from error
        else:
            self._held.pop(key, None)
            return found
        finally:
            del self._flights[key]

    async def _fetch_recorded(self, image: str, candidates: Sequence[Credentials], flight: _Flight) -> FoundImage:
        """Pull, and note before what is about to come, and afterwards with what it was had."""
        await self._access.begin(image)
        try:
            found, credentials = await self._fetch(image, candidates, flight)
        except ImageError:
            await self._access.failed(image)
            raise
        except BaseException:
            self._access.abandoned(image)
            raise
        await self._access.pulled(image, found, credentials)
        return found

    async def _fetch(
        self, image: str, candidates: Sequence[Credentials], flight: _Flight
    ) -> tuple[FoundImage, Credentials | None]:
        """Pull with each of the credentials in turn, without any if there are none; return what it was had with."""
        problems: list[str] = []
        for credentials in candidates or (None,):
            try:
                return await self._fetch_once(image, credentials, flight), credentials
            except ImageError as error:
                if str(error) not in problems:
                    problems.append(str(error))
        raise ImageError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")

    async def _fetch_once(self, image: str, credentials: Credentials | None, flight: _Flight) -> FoundImage:
        def moved(done: int, total: int) -> None:
            if flight.moved is None or done > flight.done:
                flight.moved = self._clock.monotonic()
            flight.done, flight.total = done, total

        call = asyncio.ensure_future(self._runtime.pull(image, credentials=credentials, on_progress=moved))
        watch = asyncio.ensure_future(self._stalled(flight))
        try:
            await asyncio.wait({call, watch}, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            raise ImageError(
                f"pull of {image} was given up: nothing of it came for {self._progress_timeout:.0f}s "
                f"({self._how_far(flight)})"
            )
        finally:
            for each in (call, watch):
                each.cancel()
            await asyncio.gather(call, watch, return_exceptions=True)

    async def _stalled(self, flight: _Flight) -> None:
        """Return when nothing has come for too long. A runtime that tells nothing is trusted to notice itself."""
        flight.moved = None
        while True:
            seen = flight.moved
            await self._clock.sleep(self._progress_timeout)
            if seen is not None and flight.moved == seen:
                return

    def _hold_back(self, key: _Key, image: str, words: str) -> FailedPullError:
        now = self._clock.now()
        self._forget_old(now)
        held = self._held.setdefault(key, _Held(*self._delays))
        held.back_off.next(held.failure.until if held.failure is not None else now, now)
        reason, message = _told(image, words)
        held.failure = FailedPullError(reason, message, words, held.back_off.due(now))
        return held.failure

    def _forget_old(self, now: datetime) -> None:
        """Drop what nobody has tried for long; what is beyond any sensible number, in order of age."""
        longest = timedelta(seconds=2 * self._delays[1])
        for key, held in list(self._held.items()):
            if held.failure is not None and (now - held.failure.until > longest or len(self._held) >= _MOST_HELD):
                del self._held[key]


def _told(image: str, words: str) -> tuple[str, str]:
    """Return reason and message of a failure (kubelet's evalCRIPullErr)."""
    for reason, what in ((_UNAVAILABLE, "the registry is unavailable"), (_UNSIGNED, "the signature validation failed")):
        if words.startswith(reason):
            return reason, f"image pull failed for {image} because {what}{words.removeprefix(reason)}"
    if _NOBODY_THERE.search(words):
        return _UNAVAILABLE, f"image pull failed for {image} because the registry is unavailable: {words}"
    return "ErrImagePull", words


def _retrieve(task: asyncio.Task[FoundImage]) -> None:
    """Take note of a failure that nobody waits for any more."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
