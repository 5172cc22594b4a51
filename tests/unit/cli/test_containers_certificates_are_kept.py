"""The certificates of a cluster of containers are made anew while it runs, and its NATS server is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from orch.clock import ManualClock
from orch_cli.keeper import LOOK, PREPARE, Keeper
from orch_cli.layout import Layout
from orch_cli.pki import LEAF_LIFETIME, Authority, Leaf
from orch_cli.prepare import Plan, prepare


class Kept:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        self.told = 0
        prepare(Layout(root), Plan(nodes=1))
        self.keeper = Keeper(Layout(root), Plan(nodes=1), clock=self.clock, reload=self._tell)
        self.running = asyncio.create_task(self.keeper.run())

    def _tell(self) -> None:
        self.told += 1

    def ends(self, file: str) -> datetime:
        return x509.load_pem_x509_certificate((self.root / file).read_bytes()).not_valid_after_utc

    def make_end_soon(self, name: str, folder: str = "pki") -> None:
        past = datetime.now(UTC) - LEAF_LIFETIME + timedelta(seconds=30)
        authority = Authority(self.root / folder, "orch", now=past, renew=True)
        authority.issue(Leaf(name=name, common_name=name, hosts=("localhost",), server=True))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the keeper look again and again; its work is done in a thread."""
        async with asyncio.timeout(20):
            while not condition():
                await self.clock.advance(LOOK)
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End the keeper, and wait for what it is doing in its thread."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()

    def lasts(self, file: str) -> bool:
        return self.ends(file) > datetime.now(UTC) + timedelta(days=300)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(tmp_path)
    yield made
    await made.stop()


async def test_what_ends_soon_is_made_anew_and_the_bus_is_told_once(kept: Kept) -> None:
    await kept.clock.advance(10 * LOOK)
    assert kept.told == 0, "nothing has changed"
    kept.make_end_soon("nats-server")
    kept.make_end_soon("server", "pki/etcd")
    await kept.until(lambda: kept.told == 1)
    for file in ("pki/nats-server.crt", "nats/server.crt", "etcd/server.crt"):
        assert kept.lasts(file)
    kept.make_end_soon("api-server")
    await kept.until(lambda: kept.lasts("pki/api-server.crt") and kept.lasts("api/server.crt"))
    assert kept.told == 1, "the api's certificate is no business of the bus"


async def test_files_that_are_as_they_should_be_are_not_touched(kept: Kept) -> None:
    def stamps() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in kept.root.rglob("*") if file.parent.name != "pki"}

    before = stamps()
    await kept.clock.advance(PREPARE + LOOK)
    (kept.root / "api/server.crt").unlink()
    await kept.clock.advance(PREPARE)
    await kept.until((kept.root / "api/server.crt").exists)
    await kept.stop()
    changed = {file.name for file, stamp in stamps().items() if before.get(file) != stamp}
    assert changed <= {"server.crt", "api", "kubeconfig", kept.root.name}, changed


async def test_what_fails_is_tried_again(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    folder, aside = kept.root / "api", kept.root / "aside"
    folder.rename(aside)
    folder.write_text("in the way")
    kept.make_end_soon("api-server")
    await kept.until(lambda: "certificates are as they were" in caplog.text)
    folder.unlink()
    aside.rename(folder)
    await kept.until(lambda: kept.lasts("api/server.crt"))
