"""What is installed is pinned by version and by hash; whatever is not is named."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
FILES = (
    "pyproject.toml",
    "requirements.lock",
    "tools/wheel.lock",
    "cli/requirements.lock",
    *(f"services/{name}/requirements.lock" for name in ("api", "scheduler", "controllers", "agent")),
)


@pytest.fixture(scope="module")
def locked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locked", ROOT / "tools/locked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(root: Path, file: str, old: str, new: str) -> Path:
    """Copy what is checked, with one change."""
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    return root


def test_our_own_locks_are_in_order(locked: ModuleType) -> None:
    assert locked.check(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("requirements.lock", "aiohttp==", "aiohttp>=", "is not pinned to one version"),
        (
            "requirements.lock",
            "\naiohttp==",
            "\naiohttp @ https://example.com/a.whl\nx==",
            "is not pinned to one version",
        ),
        ("requirements.lock", "\naiohttp==", "\n--index-url https://example.com\naiohttp==", "no options"),
        ("requirements.lock", "\naiohttp==", "\nunhashed==1\naiohttp==", "unhashed==1: needs sha256 hashes"),
        ("requirements.lock", "--hash=sha256:", "--hash=md5:", "needs sha256 hashes"),
        ("requirements.lock", "\nmsgspec==", "\nmsgspec==0.1.", "msgspec>=0.19: is locked as 0.1."),
        ("requirements.lock", "\nmsgspec==", "\nother==", "msgspec>=0.19: is locked 0 times"),
        ("pyproject.toml", '"pyyaml>=6.0"', '"pyyaml>=600"', "pyyaml>=600: is locked as"),
        ("pyproject.toml", '"h2>=4.2"', '"h2>=4.2", "never-heard-of"', "never-heard-of: is locked 0 times"),
        (
            "services/agent/requirements.lock",
            "--hash=sha256:",
            f"--hash=sha256:{'0' * 64} --hash=sha256:",
            "is not what",
        ),
        ("cli/requirements.lock", "\nmsgspec==", "\nmsgspec==100.", "is not what requirements.lock says"),
        ("tools/wheel.lock", "\npackaging==", "\npackaging==1", "is not what requirements.lock says"),
    ],
)
def test_what_is_wrong_is_named(locked: ModuleType, tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    problems = locked.check(changed(tmp_path, file, old, new))
    assert any(said in problem for problem in problems), problems
