"""Regular expressions as Kubernetes reads them: RE2's syntax and its linear time, through the CEL runtime's own RE2.

Patterns come from users. Python's `re` knows another syntax and can be made to run for ever.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from cel_expr_python import cel

_ENV: Final = cel.NewEnv(
    config=cel.NewEnvConfigFromYaml("name: patterns\nextensions:\n- name: regex\n- name: optional\n"),
    variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING},
)
_PARTIAL: Final = _ENV.compile("text.matches(pattern)")
_ALL: Final = _ENV.compile("regex.extractAll(text, pattern)")
_GROUP: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\((?!\?)|\(\?P?<[A-Za-z_]\w*>", re.DOTALL)


@lru_cache(1024)
def syntax_problem(pattern: str) -> str:
    """Return why a pattern is none, "" when it is one."""
    found = _PARTIAL.eval(data={"text": "", "pattern": pattern}).plain_value()
    return "" if isinstance(found, bool) else str(found).partition(": ")[2]


def matches(pattern: str, text: str) -> bool:
    """Return whether `pattern` matches anywhere in `text`; a pattern that is none matches nothing."""
    return _PARTIAL.eval(data={"text": text, "pattern": pattern}).plain_value() is True


def find_all(pattern: str, text: str, limit: int = -1) -> list[str]:
    """Return what a pattern matches in a text, at most `limit` matches unless it is negative. Raises ValueError."""
    if problem := syntax_problem(pattern):
        raise ValueError(problem)
    found = _ALL.eval(data={"text": text, "pattern": _without_groups(pattern)}).plain_value()
    matched = [str(one) for one in found] if isinstance(found, list) else []
    return matched if limit < 0 else matched[:limit]


@lru_cache(1024)
def _without_groups(pattern: str) -> str:
    """Return the pattern with groups that capture nothing: the runtime extracts what a group captures, not all."""
    return _GROUP.sub(lambda found: "(?:" if found[0].startswith("(") else found[0], pattern)
