"""What cannot be written stops nothing that runs: it is told, and tried again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from orch.clock import ManualClock
from orch_agent.lease import NodeLease
from orch_agent.network.addresses import AddressBook
from orch_agent.pods.files import PodFiles


def fill(file: Path) -> Path:
    """Have what is written in place of a file meet a full disk; return what to remove for room."""
    scratch = file.with_suffix(".new")
    scratch.symlink_to("/dev/full")
    return scratch


async def test_the_lease_is_renewed_and_its_file_stays_on_the_safe_side(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, file = ManualClock(), tmp_path / "lease"
    lease = NodeLease(clock, 30, file)
    lease.renewed(0)
    full = fill(file)
    await clock.advance(20)
    with caplog.at_level(logging.WARNING):
        lease.renewed(20)
        lease.renewed(20)
    assert len([each for each in caplog.records if "No space left" in each.message]) == 1
    await clock.advance(20)
    assert not lease.over
    assert NodeLease(clock, 30, file).over
    full.unlink()
    lease.renewed(40)
    assert not NodeLease(clock, 30, file).over


def test_an_address_that_is_not_on_the_disk_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "addresses.json"
    book = AddressBook("10.0.0.0/29", file)
    assert book.take("a") == "10.0.0.2"
    full = fill(file)
    with pytest.raises(OSError, match="No space left"):
        book.take("b")
    with pytest.raises(OSError, match="No space left"):
        book.release("a")
    assert book.owners() == ("a",)
    full.unlink()
    assert book.take("b") == "10.0.0.3"
    book.release("a")
    assert AddressBook("10.0.0.0/29", file).owners() == ("b",)


async def test_a_container_waits_for_room_for_its_files(node: Any, tmp_path: Path) -> None:
    node.host.files = PodFiles(tmp_path)
    blocked = tmp_path / "u1"
    blocked.touch()  # no folder can be made here
    async with node.running(node.pod()):
        await node.settle(lambda: bool(node.told.reports) and "waiting" in node.told.container("web")["state"])
        await node.settle(lambda: node.told.container("web")["state"]["waiting"]["reason"] != "ContainerCreating")
        assert node.told.container("web")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        blocked.unlink()
        await node.clock.advance(5)
        await node.settle(lambda: "running" in node.told.container("web")["state"])
