"""One identity's connection to NATS, made anew within a second whenever it is lost.

nats-py reconnects by itself, but it gives up for good on any error that the server sends (such as the moment at which a
reloaded configuration does not know the user), waits half a minute for a frozen server to close TLS, and sends what
was buffered before the loss after its caller was told that it failed. So each of its clients is used for one
connection only: when it is lost, everything that waits for an answer fails at once, and listeners move to the next.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
import ssl
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from nats import errors as nats_errors
from nats.aio.subscription import Subscription as NatsSubscription
from prometheus_client import Counter

from orch.bus import subjects
from orch.bus.nats.received import Received
from orch.bus.nats.session import Session
from orch.config import NatsConfig
from orch.errors import BusError, OrchError, UnavailableError

_log = logging.getLogger(__name__)

_RECONNECTS: Final = Counter("orch_bus_reconnects_total", "Connections to NATS made after one was lost.")
_VIOLATIONS: Final = Counter(
    "orch_bus_permission_violations_total", "What the server did not permit this identity.", ["operation"]
)

READY_TIMEOUT: Final = 5.0
"""How long a call waits for a connection that is being restored, in seconds."""

_DIAL_TIMEOUT: Final = 3.0
_PAUSE: Final = (0.05, 0.25)
"""Between two attempts to connect: random, so that a thousand nodes do not come at one moment."""
_MOST_PATIENCE: Final = 32
"""By how much the pause grows, twofold with each refusal: a node that was deleted will mostly stay so."""
_PING_INTERVAL: Final = 2.0
_PING_TIMEOUT: Final = 2
_GOODBYE_TIMEOUT: Final = 1.0
_NEVER: Final = 1 << 30
_VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')

NO_RESPONDERS: Final = "503"


class Listener(msgspec.Struct, eq=False):
    """Interest in a subject, which outlives the connection. Its functions are called on the loop and must not wait."""

    subject: str
    queue: str
    deliver: Callable[[Received], None]
    refused: Callable[[OrchError], None]
    """The server does not permit this subscription."""
    interrupted: Callable[[], None]
    """The connection was lost; messages may be missing. It will be restored by itself."""
    subscription: NatsSubscription | None = None


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    subject: str
    deadline: float
    settle: Callable[[Received | OrchError], None]


def _ignore() -> None:
    """Do nothing: for listeners that have no use for an event."""


class Connection:
    """Publishes, listens and asks. All methods raise UnavailableError when there is no connection in time."""

    def __init__(self, config: NatsConfig) -> None:
        self._config = config
        _tls_context(config)  # what is wrong with the files is said at once
        self._servers = itertools.cycle(config.servers)
        self._client = Session(None)
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._answered = asyncio.Event()
        self._problem: BaseException | None = None
        self._listeners: set[Listener] = set()
        self._waiting: dict[int, _Waiting] = {}
        self._tokens = itertools.count(1)
        self._reply_prefix = f"{self.new_inbox()}."
        self._replies = self._listener(f"{self._reply_prefix}*", self._take_reply)
        self._tasks: set[asyncio.Task[None]] = set()
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._closed = False
        self.restored: Callable[[], None] = _ignore
        """Called after a lost connection is back."""

    @property
    def user(self) -> str:
        """The identity."""
        return self._config.user

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def new_inbox(self) -> str:
        """Return a subject that nobody else listens to or can guess."""
        return f"{subjects.inbox_prefix(self._config.user)}.{random.SystemRandom().getrandbits(128):032x}"

    async def open(self, timeout: float = 10) -> None:
        """Connect for the first time. Raises BusError if the server refuses this identity or is too old."""
        try:
            async with asyncio.timeout(timeout):
                await self._dial_until_connected(first=True)
        except TimeoutError as error:
            raise self._unavailable() from error
        finally:
            await asyncio.gather(*self._goodbyes)
        self._spawn(self._keep_connected(), "bus connection")
        self._spawn(self._expire_waiting(), "bus deadlines")

    async def ready(self, timeout: float | None = READY_TIMEOUT) -> None:
        """Return once there is a connection; None: wait as long as it takes."""
        self._check_open()
        if self._connected.is_set():
            return
        try:
            async with asyncio.timeout(timeout):
                while not self._connected.is_set():
                    self._check_open()
                    await self._connected.wait()
        except TimeoutError as error:
            raise self._unavailable() from error
        self._check_open()

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Put a message on the wire, in the order of the calls."""
        await self.ready()
        client = self._client
        try:
            with _cancellable():
                await client.send(subject, data, reply, headers)
        except nats_errors.MaxPayloadError as error:
            limit = client.max_payload
            problem = f"a message of {len(data)} bytes on {subject} is larger than the bus takes ({limit})"
            raise BusError(problem) from error
        except nats_errors.BadSubjectError as error:
            raise BusError(f"{subject!r} is not a subject") from error
        except (nats_errors.Error, OSError) as error:
            self._lose(client, error)
            raise self._unavailable() from error

    async def ask(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Received:
        """Return the answer to a request. Raises UnavailableError at once when nobody listens on `subject`."""
        await self.ready(min(timeout, READY_TIMEOUT))
        answer = await self._exchange(subject, data, headers, timeout)
        if answer.status == NO_RESPONDERS:
            raise UnavailableError(f"nobody serves {subject}")
        return answer

    def expect(
        self, subject: str, settle: Callable[[Received | OrchError], None], *, timeout: float
    ) -> tuple[int, str]:
        """Return a token and the reply subject for a message on `subject`; `settle` is called once with the outcome."""
        token = next(self._tokens)
        self._waiting[token] = _Waiting(subject, asyncio.get_running_loop().time() + timeout, settle)
        return token, f"{self._reply_prefix}{token}"

    def forget(self, token: int) -> None:
        """Expect no answer any more."""
        self._waiting.pop(token, None)

    async def listen(
        self,
        subject: str,
        deliver: Callable[[Received], None],
        *,
        queue: str = "",
        refused: Callable[[OrchError], None] | None = None,
        interrupted: Callable[[], None] = _ignore,
    ) -> Listener:
        """Deliver what is published on `subject` from now on, over every connection to come.

        What this connection publishes afterwards finds the listener; for what others publish, `confirm` it first.
        """
        await self.ready()
        client = self._client
        listener = self._listener(subject, deliver, queue=queue, refused=refused, interrupted=interrupted)
        try:
            with _cancellable():
                await self._subscribe(client, listener)
        except (nats_errors.ConnectionClosedError, OSError) as error:
            self._lose(client, error)  # the next connection subscribes
        except nats_errors.Error as error:
            self._listeners.discard(listener)
            raise BusError(f"{subject!r} cannot be subscribed to: {error}") from error
        return listener

    async def confirm(self) -> None:
        """Return when the server has handled everything that was sent before.

        A message to ourselves shows it. (A ping does not: nats-py lets it overtake what waits to be flushed.)
        """
        await self.ready()
        await self._exchange("", b"", None, READY_TIMEOUT)

    async def ignore(self, listener: Listener, *, drain: bool = False) -> None:
        """End what `listen` began; with `drain`, deliver first what is already on its way."""
        self._listeners.discard(listener)
        subscription, listener.subscription = listener.subscription, None
        if subscription is None or self._client.is_closed:
            return
        try:
            with _cancellable():
                async with asyncio.timeout(_GOODBYE_TIMEOUT):
                    await (subscription.drain() if drain else subscription.unsubscribe())
        except (TimeoutError, nats_errors.Error, OSError) as error:
            _log.debug("The subscription to %s ended with its connection: %s", listener.subject, error)

    async def close(self) -> None:
        """Wait for the answers that are under way, within limits, and disconnect."""
        if self._closed:
            return
        client = self._client
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT):
                if self._connected.is_set():
                    await client.flush(_PING_TIMEOUT)
                while self._waiting and self._connected.is_set():
                    self._answered.clear()
                    await self._answered.wait()
        except (TimeoutError, nats_errors.Error, OSError) as error:
            _log.warning("Closed the connection to NATS with %d answers outstanding: %s", len(self._waiting), error)
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._discard(client)
        await asyncio.gather(*self._goodbyes)
        self._interrupt(UnavailableError("the connection to the bus is closed"))
        self._connected.set()  # wakes those who wait; they find it closed

    # The life of a connection

    async def _keep_connected(self) -> None:
        while True:
            await self._until_lost(self._client)
            if self._closed:
                return  # nats-py and wait_for may swallow the cancellation itself
            self._connected.clear()
            _log.warning("Lost the connection to NATS: %s", self._problem)
            self._interrupt(UnavailableError(f"the connection to the bus was lost: {self._problem}"))
            self._discard(self._client)
            await self._dial_until_connected(first=False)
            if self._closed:
                return
            _RECONNECTS.inc()
            _log.info("Connected to NATS again")
            self.restored()

    async def _until_lost(self, client: Session) -> None:
        """Return when the connection is gone: as reported, or because the server does not answer a ping."""
        while not (client.is_closed or self._closed):
            try:
                async with asyncio.timeout(_PING_INTERVAL):
                    await self._lost.wait()
            except TimeoutError:
                pass  # quiet for a while: ask
            else:
                return
            try:
                if not await client.answers(_PING_TIMEOUT):
                    self._problem = TimeoutError(f"the server has said nothing for {_PING_TIMEOUT} s")
                    return
            except (nats_errors.Error, OSError) as error:
                self._problem = error
                return

    async def _dial_until_connected(self, *, first: bool) -> None:
        """Connect and take the listeners along. The first time, a refusal is an error; later it may be taken back."""
        patience = 1
        while True:
            self._lost = asyncio.Event()
            try:
                async with asyncio.timeout(_DIAL_TIMEOUT):
                    client = await self._dial(next(self._servers))
                    for listener in list(self._listeners):
                        await self._subscribe(client, listener)
            except TimeoutError:
                self._problem = TimeoutError(f"no connection within {_DIAL_TIMEOUT:g} s")
            except BusError as error:
                self._problem = error
                if first:
                    raise
                patience = min(patience * 2, _MOST_PATIENCE)
            except (nats_errors.Error, OSError) as error:
                self._problem = error
            else:
                self._client = client
                if self._closed:
                    self._discard(client)
                self._connected.set()
                return
            await asyncio.sleep(random.uniform(*_PAUSE) * patience)  # noqa: S311 - spreads load, guards nothing

    async def _dial(self, server: str) -> Session:
        encrypted = server.startswith("tls://")
        # With each connection anew: certificates are replaced before they end.
        client = Session(_tls_context(self._config) if encrypted else None)
        lost = self._lost

        async def heard(error: Exception) -> None:
            self._on_error(client, lost, error)

        async def ended() -> None:
            lost.set()

        try:
            await client.connect(
                servers=[server],
                name=self.user,
                error_cb=heard,
                closed_cb=ended,
                disconnected_cb=ended,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=2,
                ping_interval=_NEVER,
                flush_timeout=READY_TIMEOUT,
                tls_handshake_first=encrypted,
                nkeys_seed=self._config.nkey_seed_file or None,
                inbox_prefix=subjects.inbox_prefix(self.user),
            )
            client.check_version()
        except nats_errors.Error as error:
            self._discard(client)
            if "authorization" in str(error).lower():
                raise BusError(f"NATS does not let {self.user} in: {error}") from error
            raise
        except (OSError, OrchError, asyncio.CancelledError):
            self._discard(client)
            raise
        return client

    def _on_error(self, client: Session, lost: asyncio.Event, error: Exception) -> None:
        violation = _VIOLATION.search(str(error))
        if violation is not None:
            self._on_violation(violation.group(1), violation.group(2))
            return
        self._problem = error
        if client is self._client:
            lost.set()

    def _on_violation(self, operation: str, subject: str) -> None:
        """Tell whoever did what the server does not permit. It reports the subject in lower case."""
        _VIOLATIONS.labels(operation).inc()
        _log.error("NATS does not permit %s the %s to %s", self.user, operation, subject)
        if operation == "publish":
            problem = BusError(f"{self.user} may not publish on {subject}")
            for token, waiting in list(self._waiting.items()):
                if waiting.subject.lower() == subject:
                    del self._waiting[token]
                    waiting.settle(problem)
            return
        problem = BusError(f"{self.user} may not subscribe to {subject}")
        for listener in list(self._listeners):
            if listener.subject.lower() == subject:
                listener.refused(problem)

    def _lose(self, client: Session, error: BaseException) -> None:
        """Give up a connection that does not work. From now on calls wait for the next instead of failing in a loop."""
        if client is not self._client or self._closed:
            return
        self._problem = error
        self._connected.clear()
        self._lost.set()

    def _interrupt(self, error: UnavailableError) -> None:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for one in waiting:
            one.settle(error)
        for listener in list(self._listeners):
            listener.interrupted()

    def _listener(
        self,
        subject: str,
        deliver: Callable[[Received], None],
        *,
        queue: str = "",
        refused: Callable[[OrchError], None] | None = None,
        interrupted: Callable[[], None] = _ignore,
    ) -> Listener:
        def log_refusal(error: OrchError) -> None:
            _log.error("%s", error)

        listener = Listener(subject, queue, deliver, refused or log_refusal, interrupted)
        self._listeners.add(listener)
        return listener

    async def _subscribe(self, client: Session, listener: Listener) -> None:
        listener.subscription = await client.listen(listener.subject, listener.queue, listener.deliver)

    async def _exchange(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout: float) -> Received:
        """Return the answer to a message on `subject`, or ("") the message itself, sent to where answers arrive."""
        future: asyncio.Future[Received] = asyncio.get_running_loop().create_future()

        def settle(outcome: Received | OrchError) -> None:
            if future.done():
                return
            if isinstance(outcome, OrchError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        token, reply = self.expect(subject, settle, timeout=timeout + 1)
        try:
            async with asyncio.timeout(timeout):
                await self.publish(subject or reply, data, reply=reply if subject else "", headers=headers)
                return await future
        except TimeoutError as error:
            raise UnavailableError(f"no answer on {subject or reply} within {timeout:g} s") from error
        finally:
            self.forget(token)
            future.cancel()

    def _take_reply(self, message: Received) -> None:
        waiting = self._waiting.pop(int(message.subject[len(self._reply_prefix) :]), None)
        if waiting is not None:
            waiting.settle(message)
            self._answered.set()

    async def _expire_waiting(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = asyncio.get_running_loop().time()
            for token in [token for token, waiting in self._waiting.items() if waiting.deadline <= now]:
                waiting = self._waiting.pop(token)
                waiting.settle(UnavailableError(f"no answer on {waiting.subject} in time"))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _discard(self, client: Session) -> None:
        """Close a client in the background: what is already broken may take its time to close."""
        task = asyncio.get_running_loop().create_task(client.end(), name="bus goodbye")
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the connection to the bus is closed")

    def _unavailable(self) -> UnavailableError:
        servers = ", ".join(self._config.servers)
        return UnavailableError(f"NATS at {servers} cannot be reached: {self._problem or 'no answer'}")


@contextmanager
def _cancellable() -> Generator[None]:
    """Raise a cancellation that nats-py swallowed, as it does with one that comes while it flushes."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def _tls_context(config: NatsConfig) -> ssl.SSLContext | None:
    if not any(server.startswith("tls://") for server in config.servers):
        return None
    context = ssl.create_default_context(cafile=config.ca_file or None)
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file or None)
    return context
