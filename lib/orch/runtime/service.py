"""How a service's process starts, stops and reaches what it depends on."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast

import msgspec
import uvloop
from prometheus_client import Counter

from orch import config as configuration
from orch import telemetry
from orch.bus.nats import NatsBus
from orch.bus.protocol import Bus
from orch.config import EtcdConfig, NatsConfig, TelemetryConfig
from orch.errors import ConfigError, OrchError, UnavailableError
from orch.store.protocol import Store
from orch.store.roles import Role

_LOG: Final = logging.getLogger(__name__)
_RETRIES: Final = Counter("orch_connect_retries", "Failed attempts to reach a dependency at start.", ["dependency"])

STOP_SECONDS: Final = 10.0
"""What a service has to stop in after SIGTERM or SIGINT; then its process ends regardless."""
CONNECT_SECONDS: Final = 60.0
"""How long a starting service waits for a dependency to come up."""

_FIRST_DELAY: Final = 0.1
_LAST_DELAY: Final = 2.0
_COLLECT_AFTER: Final = (20_000, 20, 20)
"""Thresholds of the cycle collector. Requests and events in flight hold some thousand objects, none of them garbage;
CPython's own 700 would have it look through them all the time."""
_SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which a thread that waits for the interpreter gets it. gRPC takes etcd's answers in a thread of its
own, which with CPython's 5 ms often waits longer for the event loop's thread than etcd took to answer."""
_FAILED: Final = 1
_MISCONFIGURED: Final = 2


class ServiceSettings(Protocol):
    """What the settings of every service have; they are a frozen msgspec Struct."""

    @property
    def telemetry(self) -> TelemetryConfig:
        """Where logs, traces and metrics go."""
        ...


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)
ConnectionT = TypeVar("ConnectionT")


def run_service(
    name: str,
    main: Callable[[SettingsT], Awaitable[None]],
    settings_type: type[SettingsT],
    *,
    arguments: Sequence[str] | None = None,
) -> None:
    """Run `main` with the service's settings until it returns or a signal comes, then exit the process.

    Exit codes: 0 when it was told to stop or `main` returned, 2 when the configuration is wrong, 1 for any other
    failure. SIGTERM and SIGINT cancel `main`, which has 10 s to clean up.
    """
    parser = argparse.ArgumentParser(prog=f"orch-{name}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in YAML")
    options = parser.parse_args(arguments)
    watchdog = _Watchdog(name)
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        settings = _load(settings_type, name, options.config)
        with telemetry.setup(name, settings.telemetry, instance=f"{os.uname().nodename}-{os.getpid()}"):
            code = _run(name, main, settings, watchdog)
    except ConfigError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        code = _MISCONFIGURED
    watchdog.cancel()
    sys.exit(code)


async def connect_bus(config: NatsConfig, *, timeout: float = CONNECT_SECONDS) -> Bus:
    """Return a connection to NATS; wait up to `timeout` seconds for the server to come up.

    Raises UnavailableError after that, and BusError or ConfigError at once when trying again cannot help.
    """
    return await _connect("NATS", ", ".join(config.servers), lambda: NatsBus.connect(config), timeout)


async def connect_store(config: EtcdConfig, *, timeout: float = CONNECT_SECONDS) -> Store:
    """Return a connection to etcd; wait up to `timeout` seconds for the server to come up.

    Raises UnavailableError after that, and StoreError or ConfigError at once when trying again cannot help.
    """
    # By name, because the agent shares this module and is installed without the gRPC that the store needs.
    etcd = importlib.import_module("orch.store.etcd")

    def attempt() -> Awaitable[Store]:
        return etcd.EtcdStore.connect(
            endpoints=config.endpoints,
            ca=config.ca_file,
            cert=config.cert_file,
            key=config.key_file,
            dial_timeout=config.dial_timeout,
        )

    return await _connect("etcd", ", ".join(config.endpoints), attempt, timeout)


async def settle_store(config: EtcdConfig, users: Mapping[str, Role], *, timeout: float = CONNECT_SECONDS) -> int:
    """Give etcd its users, as its user root, once it is up; return how many things were changed.

    Raises as `connect_store` does; see orch.store.etcd_users.
    """
    etcd_users = importlib.import_module("orch.store.etcd_users")

    def attempt() -> Awaitable[int]:
        return etcd_users.settle(config, users)

    return await _connect("etcd", ", ".join(config.endpoints), attempt, timeout)


async def _connect(
    dependency: str, where: str, attempt: Callable[[], Awaitable[ConnectionT]], timeout: float
) -> ConnectionT:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    delay = _FIRST_DELAY
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                return await attempt()
        except (UnavailableError, TimeoutError) as error:
            _RETRIES.labels(dependency).inc()
            problem = str(error) or "no answer"
            if loop.time() + delay >= deadline:
                message = f"{dependency} at {where} cannot be reached within {timeout:g} s: {problem}"
                raise UnavailableError(message) from error
        _LOG.warning("%s at %s cannot be reached, again in %.1f s: %s", dependency, where, delay, problem)
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY)


def _load(settings_type: type[SettingsT], name: str, file: Path | None) -> SettingsT:
    kind = cast("type[msgspec.Struct]", settings_type)
    return cast("SettingsT", configuration.load(kind, service=name, file=file))


def _run(name: str, main: Callable[[SettingsT], Awaitable[None]], settings: SettingsT, watchdog: _Watchdog) -> int:
    """Return the exit code of `main`. What is wrong with the configuration is raised."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signal(name, main(settings), watchdog))
    except BaseExceptionGroup as group:
        return _report(name, list(_leaves(group)))
    except Exception as error:  # noqa: BLE001 - the last place to say what went wrong
        return _report(name, [error])
    return 0


def _report(name: str, errors: Sequence[BaseException]) -> int:
    """Log one line for each expected error and the traceback of each other; return the exit code."""
    for error in errors:
        if isinstance(error, ConfigError):
            raise error
    for error in errors:
        expected = isinstance(error, OrchError) and not _LOG.isEnabledFor(logging.DEBUG)
        _LOG.error("%s failed: %s", name, error, exc_info=None if expected else error)
    return _FAILED


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(cast("BaseExceptionGroup[BaseException]", error))
        else:
            yield error


async def _until_signal(name: str, main: Awaitable[None], watchdog: _Watchdog) -> None:
    """Run `main`, and cancel it when a signal comes."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(number: signal.Signals) -> None:
        if not told.done():
            told.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell, number)
    work = asyncio.ensure_future(main)
    await asyncio.wait((work, told), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        _LOG.info("%s stops after %s", name, told.result().name)
        watchdog.start()
        work.cancel()
        await asyncio.wait((work,))
        if work.cancelled():
            return
    work.result()


class _Watchdog:
    """Ends the process when it takes too long to stop, whatever its event loop or threads are busy with."""

    def __init__(self, name: str) -> None:
        self._timer = threading.Timer(STOP_SECONDS, self._end, (name,))
        self._timer.daemon = True

    def start(self) -> None:
        """Allow STOP_SECONDS from now."""
        self._timer.start()

    def cancel(self) -> None:
        """Let the process be: it has stopped in time."""
        self._timer.cancel()

    @staticmethod
    def _end(name: str) -> None:
        _LOG.error("%s did not stop within %g s; its process ends now", name, STOP_SECONDS)
        os._exit(_FAILED)
