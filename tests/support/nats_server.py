"""A real nats-server on a free port, with TLS, nkeys and the permissions of orch's roles; stopped by its process id."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from pathlib import Path

import nkeys
from certificates import Files

from orch.bus.nats import NatsBus
from orch.bus.permissions import WITNESS, Permissions
from orch.bus.server import ServerSettings, Tls, User, binary, render_config
from orch.config import NatsConfig

EVERYTHING = Permissions(publish=(">",), subscribe=(">",))


class NatsServer:
    def __init__(self, directory: Path, files: Files, users: dict[str, Permissions], **settings: int) -> None:
        self.directory = directory
        self.files = files
        self.users = dict(users)
        self.settings = settings
        self.port = free_port()
        self.buses: list[NatsBus] = []
        self._process: asyncio.subprocess.Process | None = None
        self._seeds: dict[str, tuple[str, str]] = {}

    def write_config(self) -> Path:
        settings = ServerSettings(
            port=self.port,
            store_dir=str(self.directory / "js"),
            tls=Tls(ca_file=self.files.ca, cert_file=self.files.cert, key_file=self.files.key),
            users=tuple(
                User(name=name, nkey=self._nkey(name)[1], permissions=allowed, system=name == WITNESS)
                for name, allowed in self.users.items()
            ),
            **self.settings,
        )
        path = self.directory / "nats.conf"
        path.write_text(render_config(settings))
        return path

    async def start(self) -> None:
        path = self.write_config()
        log = (self.directory / "nats.log").open("ab")
        try:
            self._process = await asyncio.create_subprocess_exec(
                str(binary()), "-c", str(path), stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )
        finally:
            log.close()
        async with asyncio.timeout(20):
            while not await _accepts(self.port):
                if self._process.returncode is not None:
                    raise AssertionError((self.directory / "nats.log").read_text())
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def freeze(self) -> None:
        """Stop every thread of the server where it is, until `thaw`."""
        assert self._process is not None
        self.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(10):
            while True:
                if _is_stopped(self._process.pid):
                    return
                await asyncio.sleep(0.01)

    def thaw(self) -> None:
        self.send_signal(signal.SIGCONT)

    async def connect(self, user: str, *, timeout: float = 10) -> NatsBus:
        bus = await NatsBus.connect(self.config(user), timeout=timeout)
        self.buses.append(bus)
        return bus

    def config(self, user: str) -> NatsConfig:
        return NatsConfig(
            servers=(f"tls://127.0.0.1:{self.port}",),
            ca_file=self.files.ca,
            cert_file=self.files.cert,
            key_file=self.files.key,
            nkey_seed_file=self._nkey(user)[0],
            user=user,
        )

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()
        await self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _nkey(self, user: str) -> tuple[str, str]:
        if user not in self._seeds:
            seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
            path = self.directory / f"{len(self._seeds)}.nk"
            path.write_bytes(seed)
            self._seeds[user] = (str(path), nkeys.from_seed(bytearray(seed)).public_key.decode())
        return self._seeds[user]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_stopped(pid: int) -> bool:
    return all(") T " in (task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir())


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
