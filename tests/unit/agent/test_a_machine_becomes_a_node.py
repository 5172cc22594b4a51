"""What a machine believes before it knows the cluster, and when its certificate is renewed."""

from __future__ import annotations

import asyncio
import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from at_once import AtOnce

from orch.clock import ManualClock
from orch.errors import ConfigError, OrchError, UnavailableError
from orch_agent.identity.api import connect_unverified
from orch_agent.identity.enrolment import Invitation, enrol, trusted_authority
from orch_agent.identity.renewal import CertificateRenewal
from orch_cli.pki import Authority, Leaf
from orch_cli.tokens import pin

TOKEN = "abcdef.0123456789abcdef"


def info(authority: bytes) -> dict[str, str]:
    cluster = {"name": "", "cluster": {"certificate-authority-data": base64.b64encode(authority).decode()}}
    return {"kubeconfig": yaml.safe_dump({"clusters": [cluster]})}


def test_an_authority_is_believed_by_its_hash_alone(tmp_path: Path) -> None:
    ours, other = (Authority(tmp_path / name, "orch").certificate_file for name in ("ours", "other"))
    assert trusted_authority(info(ours.read_bytes()), pin(ours)) == ours.read_text()
    with pytest.raises(OrchError, match="is not the one that --ca-cert-hash names"):
        trusted_authority(info(other.read_bytes()), pin(ours))


def test_nothing_comes_along_with_an_authority_that_is_believed(tmp_path: Path) -> None:
    ours, other = (Authority(tmp_path / name, "orch").certificate_file for name in ("ours", "other"))
    both = ours.read_bytes() + other.read_bytes()
    assert trusted_authority(info(both), pin(ours)) == ours.read_text()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kubeconfig": ""},
        {"kubeconfig": "{"},
        {"kubeconfig": "[]"},
        {"kubeconfig": "clusters: []"},
        {"kubeconfig": "clusters: [{cluster: {certificate-authority-data: '%'}}]"},
        {"kubeconfig": "clusters: [{cluster: {certificate-authority-data: 5}}]"},
        info(b"no certificate"),
    ],
)
def test_a_cluster_info_that_says_nothing_is_refused(data: dict[str, str]) -> None:
    with pytest.raises(OrchError, match="cluster-info cannot be read"):
        trusted_authority(data, f"sha256:{'0' * 64}")


@pytest.mark.parametrize(
    ("token", "pinned", "path"),
    [
        ("abcdef", f"sha256:{'0' * 64}", "--token"),
        ("ABCDEF.0123456789abcdef", f"sha256:{'0' * 64}", "--token"),
        (TOKEN, "0" * 64, "--ca-cert-hash"),
        (TOKEN, f"sha256:{'0' * 63}", "--ca-cert-hash"),
        (TOKEN, f"sha1:{'0' * 40}", "--ca-cert-hash"),
    ],
)
def test_an_invitation_that_cannot_be_right_is_refused(token: str, pinned: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Invitation(server="https://127.0.0.1:1", token=token, pin=pinned).check()
    assert caught.value.path == path


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://a:b", "https://a/b"])
def test_only_https_is_spoken(server: str) -> None:
    with pytest.raises(ConfigError):
        connect_unverified(server)


@pytest.mark.parametrize("name", ["", "A", "a_b", "a b", "-a", "a.", "a..b", "a" * 254, "a\n", "*", "a.>"])
def test_a_name_that_no_node_may_have_is_refused_before_anybody_is_asked(name: str, tmp_path: Path) -> None:
    invitation = Invitation(server="https://127.0.0.1:1", token=TOKEN, pin=f"sha256:{'0' * 64}")
    with pytest.raises(ConfigError) as caught:
        enrol(invitation, name, tmp_path)
    assert caught.value.path == "--node-name"


class Renewal(CertificateRenewal):
    """Notes when it renews instead of asking anybody; fails as often as it is told."""

    failures = 0

    def __init__(self, file: Path, clock: ManualClock) -> None:
        super().__init__("https://127.0.0.1:1", "a", file, file, clock)
        self.file, self.clock = file, clock
        self.renewed: list[datetime] = []

    def renew(self) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("not now")
        self.renewed.append(self.clock.now())
        issue(self.file.parent, self.clock.now())


def issue(folder: Path, now: datetime) -> Path:
    """Put a certificate for a year in place, as a node has it: written `now`."""
    pair = Authority(folder, "ca", now=now, renew=True).issue(Leaf(name="node", common_name="a", client=True))
    os.utime(pair.certificate, (now.timestamp(), now.timestamp()))
    return pair.certificate


async def test_a_certificate_is_renewed_before_its_end_and_again_when_that_fails(tmp_path: Path) -> None:
    asyncio.get_running_loop().set_default_executor(AtOnce())
    issued = datetime(2026, 1, 1, tzinfo=UTC)
    clock = ManualClock(issued + timedelta(days=250))  # nothing is due before 255 of its 365 days
    renewal = Renewal(issue(tmp_path, issued), clock)
    renewal.failures = 2
    running = asyncio.create_task(renewal.run())
    while not renewal.renewed and clock.now() < issued + timedelta(days=365):
        await clock.advance(3600.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert timedelta(days=255) < renewal.renewed[0] - issued < timedelta(days=365)
    assert renewal.failures == 0
