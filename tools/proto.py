"""Generate lib/orch_pb from proto/: run as `python tools/proto.py`; with --check, fail when it is not up to date."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
TARGET = ROOT / "lib"


def generate(target: Path) -> list[Path]:
    """Write the modules and their type stubs below `target`; return their paths relative to it."""
    files = sorted(str(path) for path in SOURCES.rglob("*.proto"))
    code = protoc.main(["protoc", f"-I{SOURCES}", f"--python_out={target}", f"--pyi_out={target}", *files])
    if code:
        raise SystemExit(code)
    for folder in ("orch_pb", "orch_pb/v1", "orch_pb/etcd", "orch_pb/cri", "orch_pb/kms"):
        (target / folder / "__init__.py").write_text('"""Generated from proto/ by tools/proto.py."""\n')
    return sorted(
        path.relative_to(target) for path in (target / "orch_pb").rglob("*.py*") if path.suffix in {".py", ".pyi"}
    )


def main() -> None:
    """Generate, or compare what is there with what would be generated."""
    if "--check" not in sys.argv[1:]:
        generate(TARGET)
        return
    with tempfile.TemporaryDirectory() as scratch:
        stale = [
            str(path)
            for path in generate(Path(scratch))
            if not (TARGET / path).exists() or not filecmp.cmp(Path(scratch) / path, TARGET / path, shallow=False)
        ]
    if stale:
        raise SystemExit(f"out of date, run `make proto`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
