from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orch.config import EtcdConfig, NatsConfig
from orch.errors import ConfigError, UnavailableError
from orch.runtime import service
from orch.runtime.service import connect_bus, connect_store

SERVICE = """
import asyncio
import msgspec
from orch.config import TelemetryConfig
from orch.errors import ConfigError, UnavailableError
from orch.runtime import service

class Settings(msgspec.Struct, frozen=True, kw_only=True):
    what: str = "wait"
    telemetry: TelemetryConfig = TelemetryConfig()

async def main(settings: Settings) -> None:
    print("started", type(asyncio.get_running_loop()).__module__, flush=True)
    match settings.what:
        case "return":
            return
        case "wait":
            try:
                await asyncio.Event().wait()
            finally:
                print("cleaned up", flush=True)
        case "fail":
            raise UnavailableError("etcd is away")
        case "config":
            raise ConfigError("etcd.endpoints", "is not usable")
        case "group":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
        case "bug":
            raise ZeroDivisionError("a bug")
        case "fail late":
            try:
                await asyncio.Event().wait()
            finally:
                raise UnavailableError("could not clean up")
        case "hang":
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    print("cancelled", flush=True)

async def fail() -> None:
    raise UnavailableError("etcd is away")

service.STOP_SECONDS = 0.5
service.run_service("scheduler", main, Settings)
"""


@pytest.fixture
def start(tmp_path: Path):
    """Return what starts the service; it is killed at the end of the test."""
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    started: list[subprocess.Popen[str]] = []

    def start(what: str, *arguments: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "ORCH_SCHEDULER_WHAT": what}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(script), *arguments],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err.splitlines()


def wait_started(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "started uvloop\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_service_cleanly(start, number: signal.Signals) -> None:
    process = start("wait")
    wait_started(process)
    process.send_signal(number)
    code, out, err = finish(process)
    assert (code, out) == (0, "cleaned up\n")
    assert len(err) == 1
    assert err[0].endswith(f"scheduler stops after {number.name}")


def test_a_service_that_returns_ends_well(start) -> None:
    assert finish(start("return"))[0] == 0


@pytest.mark.parametrize(
    ("what", "problem"), [("fail", "etcd is away"), ("group", "etcd is away"), ("fail late", "could not clean up")]
)
def test_an_expected_failure_is_one_line(start, what: str, problem: str) -> None:
    process = start(what)
    wait_started(process)
    if what == "fail late":
        process.terminate()
    code, _, err = finish(process)
    assert code == 1
    assert err[-1].endswith(f"scheduler failed: {problem}")
    assert not any("Traceback" in line for line in err)


def test_a_bug_has_its_traceback(start) -> None:
    code, _, err = finish(start("bug"))
    assert code == 1
    assert err[-1] == "  ZeroDivisionError: a bug"
    assert any("Traceback" in line for line in err)


def test_a_wrong_configuration_is_one_line_with_its_path(start, tmp_path: Path) -> None:
    assert finish(start("config"))[::2] == (2, ["orch-scheduler: etcd.endpoints: is not usable"])
    file = tmp_path / "settings.yaml"
    file.write_text("whatt: x")
    code, out, err = finish(start("return", "--config", str(file)))
    assert (code, out) == (2, "")
    assert err == ["orch-scheduler: whatt: unknown key; known: telemetry, what"]


def test_a_service_that_does_not_stop_is_ended(start) -> None:
    process = start("hang")
    wait_started(process)
    begun = time.monotonic()
    process.terminate()
    code, out, err = finish(process)
    assert time.monotonic() - begun < 10
    assert (code, out) == (1, "cancelled\n")
    assert err[-1].endswith("scheduler did not stop within 0.5 s; its process ends now")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_waiting_for_a_dependency_has_an_end() -> None:
    port = closed_port()
    with pytest.raises(UnavailableError, match=rf"etcd at http://127\.0\.0\.1:{port} cannot be reached within 0\.5 s"):
        await connect_store(EtcdConfig(endpoints=(f"http://127.0.0.1:{port}",), dial_timeout=0.2), timeout=0.5)
    with pytest.raises(UnavailableError, match=rf"NATS at nats://127\.0\.0\.1:{port} cannot be reached within 0\.5 s"):
        await connect_bus(NatsConfig(servers=(f"nats://127.0.0.1:{port}",), user="x"), timeout=0.5)


async def test_a_dependency_that_comes_up_late_is_reached() -> None:
    tries = 0

    async def attempt() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnavailableError("not yet")
        return "connected"

    assert await service._connect("NATS", "somewhere", attempt, 5) == "connected"
    assert tries == 3


async def test_a_dependency_that_does_not_answer_is_not_waited_for_longer() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(UnavailableError, match="no answer"):
        await service._connect("NATS", "somewhere", hang, 0.05)


async def test_what_cannot_get_better_is_raised_at_once() -> None:
    with pytest.raises(ConfigError):
        await connect_store(EtcdConfig(endpoints=()), timeout=60)
