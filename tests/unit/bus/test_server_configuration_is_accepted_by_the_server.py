from __future__ import annotations

import asyncio
import os
from pathlib import Path

import certificates
import nkeys
import pytest

from orch.bus.permissions import ADMIN, API, CONTROLLERS, FLEET, SCHEDULER, WITNESS, permissions_of
from orch.bus.server import MAX_PAYLOAD, ServerSettings, Tls, User, binary, render_config
from orch.errors import ConfigError


def _public_key() -> str:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return nkeys.from_seed(bytearray(seed)).public_key.decode()


def _settings(directory: Path) -> ServerSettings:
    files = certificates.make(directory)
    names = (API, SCHEDULER, CONTROLLERS, FLEET, ADMIN, WITNESS, "system:node:n1.example")
    return ServerSettings(
        store_dir=str(directory / "with space"),
        tls=Tls(ca_file=files.ca, cert_file=files.cert, key_file=files.key),
        users=tuple(
            User(name=name, nkey=_public_key(), permissions=permissions_of(name), system=name == WITNESS)
            for name in names
        ),
        pid_file=str(directory / "nats.pid"),
    )


@pytest.mark.nats
async def test_nats_server_understands_it(tmp_path: Path) -> None:
    path = tmp_path / "nats.conf"
    path.write_text(render_config(_settings(tmp_path)))
    process = await asyncio.create_subprocess_exec(
        str(binary()), "-t", "-c", str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def test_it_says_what_matters(tmp_path: Path) -> None:
    text = render_config(_settings(tmp_path))
    assert f"max_payload: {MAX_PAYLOAD}\n" in text
    assert "verify: true\n" in text
    assert '"orch.nodes.n1%2Eexample.rpc.>"\n' in text
    assert f'store_dir: "{tmp_path}/with space"\n' in text


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="nats-server"):
        binary()


def test_the_program_on_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert binary() == program
