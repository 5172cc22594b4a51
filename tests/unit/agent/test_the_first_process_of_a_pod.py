from __future__ import annotations

import platform
import struct
import subprocess
from pathlib import Path

import pytest

from orch_agent.pods.pause import PauseError, program


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_program_is_an_executable_of_its_machine(machine: str, number: int) -> None:
    content = program(machine)
    magic, kind, of_machine, _, entry = struct.unpack_from("<16sHHIQ", content)
    assert (magic[:4], kind, of_machine) == (b"\x7fELF", 2, number)
    start, address, size = struct.unpack_from("<QQ8xQ", content, 64 + 8)
    assert (start, size) == (0, len(content))
    code = content[entry - address : -32]
    assert len(code) % (4 if machine == "aarch64" else 1) == 0
    assert content[-32:] == struct.pack("<QQQQ", 1, 0, 0, 0)


def test_it_waits_and_does_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "pause"
    file.write_bytes(program(platform.machine()))
    file.chmod(0o755)
    process = subprocess.Popen([file])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        assert "State:\tS" in Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.kill()
        process.wait()


def test_other_machines_are_told_so() -> None:
    with pytest.raises(PauseError, match="processes cannot be shared on a machine of type riscv64"):
        program("riscv64")
