"""The bus within one process: what tests and simulations use, held to the same contract as NATS."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec

from orch.bus import jetstream, subjects
from orch.bus.mailbox import Mailbox
from orch.bus.memory_streams import Bell, MemoryStream, MemoryWork
from orch.bus.patterns import matches
from orch.bus.permissions import Permissions
from orch.bus.protocol import Delivery, Handler, Link, Message, Signal, StreamSpec, Subscription
from orch.bus.serving import RequestPool
from orch.clock import Clock, SystemClock
from orch.errors import BusError, UnavailableError

_MAX_PAYLOAD = 8 << 20
_SHARED = "orch"
"""The queue of those who serve a subject outside any service."""


class _Listener(msgspec.Struct, eq=False):
    pattern: str
    queue: str
    deliver: Callable[[Message, str], None]
    """Takes the message and, for an answer, why there is none."""


class MemoryBroker:
    """Routes between the buses that `connect` returns.

    `clock` decides about expiry, de-duplication and redelivery. With `permissions`, each user may do only what it
    returns for him (such as orch.bus.permissions.permissions_of); without, everyone may do everything.
    """

    def __init__(self, *, clock: Clock | None = None, permissions: Callable[[str], Permissions] | None = None) -> None:
        self.clock = clock or SystemClock()
        self.streams: dict[str, MemoryStream] = {}
        self.bell = Bell()
        self.epoch = 0
        self.running = True
        self.serial = itertools.count(1)
        self._permissions = permissions
        self._exact: dict[str, list[_Listener]] = {}
        self._wildcard: list[_Listener] = []
        self._turns = itertools.count()
        self._buses: set[MemoryBus] = set()

    def connect(self, user: str) -> MemoryBus:
        """Return a bus under the identity `user`."""
        bus = MemoryBus(self, user, self._permissions(user) if self._permissions is not None else None)
        self._buses.add(bus)
        return bus

    def stop(self) -> None:
        """Be unreachable, as a server that was killed: requests under way fail, followers lose their place."""
        self.running = False
        self.epoch += 1
        for bus in self._buses:
            bus.lose_requests()
        self.bell.ring()

    def start(self) -> None:
        """Come back with what was stored: files are kept, memory is lost, unsettled work is delivered again."""
        self.running = True
        for name, stream in list(self.streams.items()):
            if stream.spec.storage == "memory":
                self.streams[name] = MemoryStream(stream.spec, self.clock)
            for work in stream.works.values():
                work.release_all()
        self.bell.ring()

    def restart(self) -> None:
        """Stop and start at once."""
        self.stop()
        self.start()

    def delete_stream(self, name: str) -> None:
        """Delete a stream with all that is in it."""
        stream = self.streams.pop(name)
        stream.bell.ring()
        for work in stream.works.values():
            work.bell.ring()
        self.bell.ring()

    def disconnect(self, bus: MemoryBus) -> None:
        """Forget a closed bus."""
        self._buses.discard(bus)

    def listen(self, listener: _Listener) -> None:
        """Deliver to `listener` from now on."""
        if "*" in listener.pattern or ">" in listener.pattern:
            self._wildcard.append(listener)
        else:
            self._exact.setdefault(listener.pattern, []).append(listener)

    def unlisten(self, listener: _Listener) -> None:
        """Stop delivering to `listener`."""
        if listener in self._wildcard:
            self._wildcard.remove(listener)
        listeners = self._exact.get(listener.pattern, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._exact[listener.pattern]

    def route(self, message: Message, problem: str = "") -> int:
        """Deliver to every listener and to one of each queue; return how many got it."""
        found = [*self._exact.get(message.subject, ())]
        found += (listener for listener in self._wildcard if matches(listener.pattern, message.subject))
        queues: dict[str, list[_Listener]] = {}
        chosen: list[_Listener] = []
        for listener in found:
            if listener.queue:
                queues.setdefault(listener.queue, []).append(listener)
            else:
                chosen.append(listener)
        if queues:
            turn = next(self._turns)
            chosen += (members[turn % len(members)] for members in queues.values())
        for listener in chosen:
            listener.deliver(message, problem)
        return len(chosen)

    def stream_for(self, subject: str) -> MemoryStream | None:
        """Return the stream that takes messages on `subject`."""
        return next((stream for stream in self.streams.values() if stream.takes(subject)), None)


class _MemoryDelivery:
    """One message of a work queue."""

    def __init__(self, message: Message, work: MemoryWork, settled: Callable[[int], None]) -> None:
        self._message = message
        self._work = work
        self._settled = settled

    @property
    def message(self) -> Message:
        return self._message

    async def done(self) -> None:
        await asyncio.sleep(0)
        self._settled(self._message.sequence)
        self._work.settle(self._message.sequence)

    async def retry(self, delay: float = 0) -> None:
        await asyncio.sleep(0)
        self._settled(self._message.sequence)
        self._work.retry(self._message.sequence, delay)


class _MemorySubscription:
    """A running service."""

    def __init__(self, bus: MemoryBus, listener: _Listener, pool: RequestPool) -> None:
        self._bus = bus
        self._listener = listener
        self._pool = pool

    async def stop(self) -> None:
        self._bus.ignore(self._listener)
        await self._pool.drain()


class MemoryBus:
    """A connection to a MemoryBroker; see orch.bus.protocol.Bus."""

    def __init__(self, broker: MemoryBroker, user: str, permissions: Permissions | None) -> None:
        self._broker = broker
        self._user = user
        self._permissions = permissions
        self._listeners: set[_Listener] = set()
        self._pools: set[RequestPool] = set()
        self._requests: set[asyncio.Future[tuple[bytes, str]]] = set()
        self._closed = False

    @property
    def user(self) -> str:
        """Return the identity of this connection."""
        return self._user

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Deliver to those who listen now."""
        await self._ready()
        self._check_publish(subject, data)
        self._put(subject, data, reply)

    async def send(self, subject: str, data: bytes, *, message_id: str = "", ttl: float = 0) -> asyncio.Future[int]:
        """Store a message; the future is done at once."""
        await self._ready()
        return self._store(Link(subject, data, message_id, ttl), None)

    async def send_chain(self, links: Sequence[Link], previous_id: str) -> asyncio.Future[int]:
        """Store messages one after the other; the future is done at once."""
        await self._ready()
        for link in links[:-1]:
            stored = self._store(link, previous_id)
            if not stored.cancelled() and stored.exception() is not None:
                return stored
            previous_id = link.message_id
        return self._store(links[-1], previous_id)

    def _store(self, link: Link, previous_id: str | None) -> asyncio.Future[int]:
        subject, data, message_id, ttl = link.subject, link.data, link.message_id, link.ttl
        self._check_publish(subject, data)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stream = self._broker.stream_for(subject)
        if stream is None:
            future.set_exception(UnavailableError(f"no stream takes {subject}"))
            return future
        self._broker.route(Message(subject=subject, data=data, message_id=message_id))
        try:
            sequence = stream.append(subject, data, message_id=message_id, previous_id=previous_id, ttl=ttl)
        except BusError as error:
            future.set_exception(error)
        else:
            future.set_result(sequence)
        return future

    async def append(self, subject: str, data: bytes, *, message_id: str = "") -> int:
        """Store a message and return its sequence."""
        return await (await self.send(subject, data, message_id=message_id))

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Create the stream or bring it to `spec`."""
        await self._ready()
        self._check_api(jetstream.stream_request("CREATE", spec.name))
        stream = self._broker.streams.get(spec.name)
        if stream is None:
            self._broker.streams[spec.name] = MemoryStream(spec, self._broker.clock)
            self._broker.bell.ring()
        elif stream.spec != spec:
            if stream.spec.storage != spec.storage:
                raise BusError(f"stream {spec.name}: the server did not take storage={spec.storage!r}")
            if stream.spec.retention != spec.retention:
                raise BusError(f"stream {spec.name}: the server did not take retention={spec.retention!r}")
            stream.spec = spec

    async def last_message(self, stream: str) -> Message | None:
        """Return the stream's newest message."""
        await self._ready()
        self._check_api(jetstream.stream_request("MSG.GET", stream))
        return self._stream(stream).last()

    async def purge(self, stream: str, subject: str = "") -> None:
        """Remove a stream's messages, all or those of one subject."""
        await self._ready()
        self._check_api(jetstream.stream_request("PURGE", stream))
        self._stream(stream).purge(subject)

    async def follow(self, stream: str, subjects: Sequence[str]) -> AsyncGenerator[Message | Signal]:
        """Yield a snapshot between RESET and SYNCED, then live messages."""
        self._check_api(jetstream.create_consumer(stream, "x", subjects[0] if len(subjects) == 1 else ""))
        patterns = tuple(subjects)
        while True:
            found = await self._await_stream(stream)
            epoch = self._broker.epoch
            yield Signal.RESET
            snapshot = found.newest(patterns)
            position = found.last_sequence + 1
            for message in snapshot:
                yield message
            yield Signal.SYNCED
            while True:
                rings = (found.bell.next_ring(), self._broker.bell.next_ring())
                self._check_open()
                if self._broker.epoch != epoch or self._broker.streams.get(stream) is not found:
                    break
                message = found.at_or_after(position, patterns)
                if message is not None:
                    position = message.sequence + 1
                    yield message
                    continue
                position = max(position, found.last_sequence + 1)
                await asyncio.wait(rings, return_when=asyncio.FIRST_COMPLETED)

    async def work(
        self, stream: str, name: str, *, ack_wait: float = 30, in_flight: int = 256
    ) -> AsyncGenerator[Delivery]:
        """Yield messages of a work queue, shared among all that use the same `name`."""
        self._check_api(jetstream.create_consumer(stream, name))
        clock = self._broker.clock
        unsettled: dict[int, float] = {}

        def settled(sequence: int) -> None:
            unsettled.pop(sequence, None)

        while True:
            found = await self._await_stream(stream)
            work = found.works.get(name)
            if work is None:
                work = found.works[name] = MemoryWork(found, clock)
            rings = (found.bell.next_ring(), work.bell.next_ring(), self._broker.bell.next_ring())
            now = clock.monotonic()
            for sequence in [s for s, due in unsettled.items() if due <= now]:
                del unsettled[sequence]
            message = work.take(ack_wait) if len(unsettled) < in_flight else None
            if message is not None:
                unsettled[message.sequence] = now + ack_wait
                yield _MemoryDelivery(message, work, settled)
                continue
            await self._until(rings, work.next_due())

    async def serve(self, subject: str, handler: Handler, *, service: str = "", in_flight: int = 256) -> Subscription:
        """Answer requests on `subject`."""
        await self._ready()
        self._check_subscribe(subject)
        pool = RequestPool(subject, handler, in_flight, self._answer)
        listener = self._listen(subject, lambda message, _: pool.accept(message), queue=service or _SHARED)
        self._pools.add(pool)
        return _MemorySubscription(self, listener, pool)

    async def request(self, subject: str, data: bytes, *, timeout: float = 5) -> bytes:
        """Return the answer of whoever serves `subject`."""
        await self._ready()
        self._check_publish(subject, data)
        future: asyncio.Future[tuple[bytes, str]] = asyncio.get_running_loop().create_future()

        def answered(message: Message, problem: str) -> None:
            if not future.done():
                future.set_result((message.data, problem))

        inbox = self.new_inbox()
        listener = self._listen(inbox, answered)
        self._requests.add(future)
        try:
            if not self._put(subject, data, inbox):
                raise UnavailableError(f"nobody serves {subject}")
            async with asyncio.timeout(timeout):
                answer, problem = await future
        except TimeoutError as error:
            raise UnavailableError(f"no answer on {subject} within {timeout:g} s") from error
        finally:
            self._requests.discard(future)
            self.ignore(listener)
        if problem:
            raise BusError(f"the server of {subject} failed: {problem}")
        return answer

    @asynccontextmanager
    async def subscribe(self, subject: str, *, queue_limit: int = 4096) -> AsyncGenerator[AsyncGenerator[Message]]:
        """Yield, within the context, what is published on `subject`."""
        await self._ready()
        self._check_subscribe(subject)
        mailbox = Mailbox(subject, queue_limit)
        listener = self._listen(subject, lambda message, _: mailbox.put(message))
        try:
            async with aclosing(mailbox.messages()) as messages:
                yield messages
        finally:
            self.ignore(listener)

    def new_inbox(self) -> str:
        """Return a fresh subject under this identity's own prefix."""
        return f"{subjects.inbox_prefix(self._user)}.{next(self._broker.serial)}"

    async def close(self) -> None:
        """Answer what is under way and leave the broker."""
        for listener in list(self._listeners):
            self.ignore(listener)
        for pool in self._pools:
            await pool.drain()
        self._closed = True
        self.lose_requests()
        self._broker.disconnect(self)
        self._broker.bell.ring()

    def lose_requests(self) -> None:
        """Fail the requests that are under way, as when the connection is lost."""
        for future in self._requests:
            if not future.done():
                future.set_exception(UnavailableError("the connection to the bus was lost"))

    def ignore(self, listener: _Listener) -> None:
        """End what `_listen` began."""
        self._listeners.discard(listener)
        self._broker.unlisten(listener)

    def _listen(self, pattern: str, deliver: Callable[[Message, str], None], *, queue: str = "") -> _Listener:
        listener = _Listener(pattern=pattern, queue=queue, deliver=deliver)
        self._listeners.add(listener)
        self._broker.listen(listener)
        return listener

    async def _answer(self, request: Message, data: bytes, problem: str) -> None:
        await self._ready()
        if request.reply:
            self._broker.route(Message(subject=request.reply, data=data), problem)

    def _put(self, subject: str, data: bytes, reply: str) -> int:
        """Deliver to listeners and to the stream that takes the subject; return how many took it."""
        taken = self._broker.route(Message(subject=subject, data=data, reply=reply))
        stream = self._broker.stream_for(subject)
        if stream is not None:
            stream.append(subject, data)
            taken += 1
        return taken

    async def _ready(self) -> None:
        """Let others run, as any real bus does, and check that the broker is there."""
        await asyncio.sleep(0)
        self._check_open()
        if not self._broker.running:
            raise UnavailableError("the bus cannot be reached")

    async def _await_stream(self, name: str) -> MemoryStream:
        while True:
            ring = self._broker.bell.next_ring()
            self._check_open()
            stream = self._broker.streams.get(name)
            if stream is not None and self._broker.running:
                return stream
            await asyncio.wait((ring,))

    async def _until(self, rings: Sequence[asyncio.Future[None]], moment: float | None) -> None:
        """Return at the next ring, or when the clock reaches `moment`."""
        if moment is None:
            await asyncio.wait(rings, return_when=asyncio.FIRST_COMPLETED)
            return
        clock = self._broker.clock
        alarm = asyncio.ensure_future(clock.sleep(max(moment - clock.monotonic(), 0)))
        try:
            await asyncio.wait((*rings, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the connection to the bus is closed")

    def _stream(self, name: str) -> MemoryStream:
        stream = self._broker.streams.get(name)
        if stream is None:
            raise BusError(f"there is no stream {name}")
        return stream

    def _check_publish(self, subject: str, data: bytes) -> None:
        if len(data) > _MAX_PAYLOAD:
            raise BusError(f"a message of {len(data)} bytes on {subject} is larger than the bus takes ({_MAX_PAYLOAD})")
        if self._permissions is not None and not self._permissions.may_publish(subject):
            raise BusError(f"{self._user} may not publish on {subject}")

    def _check_subscribe(self, subject: str) -> None:
        if self._permissions is not None and not self._permissions.may_subscribe(subject):
            raise BusError(f"{self._user} may not subscribe to {subject}")

    def _check_api(self, subject: str) -> None:
        self._check_publish(subject, b"")
