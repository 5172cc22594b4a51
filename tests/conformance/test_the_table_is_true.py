"""docs/conformance.md names tests that exist, and each of Kubernetes' tests once."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/conformance.md").read_text()
SHORT = {"c/": "conformance/test_", "u/": "unit/", "e/": "e2e/test_"}
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]


def named() -> set[tuple[str, str]]:
    """Return the files that are named and the tests in them, "" for a file as a whole."""
    found = re.findall(r"`([cue]/[\w/]+)(?:::(\w+))?`", TABLE)
    return {(SHORT[path[:2]] + path[2:], test) for path, test in found}


def test_what_is_named_is_there() -> None:
    assert len(named()) > 100
    missing: list[str] = []
    for path, test in sorted(named()):
        file = ROOT / "tests" / f"{path}.py"
        if not file.is_file() or (test and f"def {test}(" not in file.read_text()):
            missing.append(f"{path}::{test}")
    assert missing == []


def test_each_of_kubernetes_tests_has_an_answer() -> None:
    answers = {row[0]: row[1] for row in ROWS if not row[0].startswith(("Kubernetes'", "---"))}
    assert len(answers) > 200
    known = re.compile(r"`[cue]/|operations|status|the same|a matter of|no test")
    assert [name for name, answer in answers.items() if not known.search(answer)] == []
    assert len(ROWS) - sum(row[0].startswith("Kubernetes'") for row in ROWS) == len(answers), "one is named twice"
