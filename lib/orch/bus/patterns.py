"""Whether a subject matches a NATS pattern, decided here once for permissions, streams and the in-memory broker."""

from __future__ import annotations

from collections.abc import Sequence


def matches(pattern: str, subject: str) -> bool:
    """Whether `subject` matches `pattern`, whose `*` stands for one token and a last `>` for one or more.

    `subject` may itself hold wildcards; then the answer is whether everything that it matches, `pattern` matches too.
    """
    if pattern in (subject, ">"):
        return True
    return tokens_match(pattern.split("."), subject.split("."))


def tokens_match(pattern: Sequence[str], subject: Sequence[str]) -> bool:
    """Do what `matches` does, for a pattern and a subject that are split at their dots."""
    for index, token in enumerate(pattern):
        if token == ">":
            return len(subject) > index
        if index >= len(subject):
            return False
        given = subject[index]
        if token != given and (token != "*" or given == ">"):
            return False
    return len(pattern) == len(subject)


def matches_any(patterns: Sequence[str], subject: str) -> bool:
    """Whether one of `patterns` matches `subject`."""
    return any(matches(pattern, subject) for pattern in patterns)
