"""What a namespace's labels, or the configuration where it has none, ask of its pods: levels and versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Level = Literal["privileged", "baseline", "restricted"]
Mode = Literal["enforce", "audit", "warn"]

LEVELS: Final[tuple[Level, ...]] = ("privileged", "baseline", "restricted")
MODES: Final[tuple[Mode, ...]] = ("enforce", "audit", "warn")
LATEST: Final = "latest"
NEWEST_MINOR: Final = 37

_LABEL: Final = "pod-security.kubernetes.io/"
_VERSION: Final = re.compile(r"v1\.(0|[1-9][0-9]{0,5})")


class Wanted(msgspec.Struct, frozen=True):
    """A level as a version of Kubernetes defines it: by its minor number, None for the latest."""

    level: Level = "privileged"
    minor: int | None = None

    def __str__(self) -> str:
        """Return it as messages show it: "restricted:latest"."""
        return f"{self.level}:{version_text(self.minor)}"

    @property
    def effective(self) -> int:
        """The minor number whose rules are meant."""
        return NEWEST_MINOR if self.minor is None else min(self.minor, NEWEST_MINOR)


class Policy(msgspec.Struct, frozen=True):
    """What is asked for in each mode."""

    enforce: Wanted = Wanted()
    audit: Wanted = Wanted()
    warn: Wanted = Wanted()

    @property
    def is_privileged(self) -> bool:
        """Whether nothing is asked for at all."""
        return all(getattr(self, mode).level == "privileged" for mode in MODES)


def version_text(minor: int | None) -> str:
    """Return a version as labels hold it."""
    return LATEST if minor is None else f"v1.{minor}"


def parse_level(text: str) -> Level:
    """Return the level that a text names. Raises ValueError."""
    for level in LEVELS:
        if text == level:
            return level
    raise ValueError(f"must be one of {', '.join(LEVELS)}")


def parse_version(text: str) -> int | None:
    """Return the minor number that a text names, None for the latest. Raises ValueError."""
    if text == LATEST:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError('must be "latest" or "v1.x"')
    return int(match[1])


class Read(msgspec.Struct, frozen=True):
    """The policy of a namespace, and what is wrong with its labels, by label, value and reason."""

    policy: Policy
    problems: tuple[tuple[str, str, str], ...] = ()


def read(labels: Mapping[str, str], defaults: Policy) -> Read:
    """Return what labels ask for. Where enforce cannot be read, the most is asked for; elsewhere nothing is."""
    found: dict[Mode, Wanted] = {}
    problems: list[tuple[str, str, str]] = []
    for mode in MODES:
        wanted, wrong = _read_mode(labels, mode, getattr(defaults, mode))
        found[mode] = wanted
        problems += wrong
    enforced = f"{_LABEL}enforce" in labels and not any(label == f"{_LABEL}enforce" for label, _, _ in problems)
    if enforced and f"{_LABEL}warn" not in labels and is_stricter(found["enforce"], found["warn"]):
        # who writes a template is warned of what its pods would be refused for
        said = f"{_LABEL}warn-version" in labels
        found["warn"] = Wanted(found["enforce"].level, found["warn"].minor if said else found["enforce"].minor)
    return Read(Policy(**found), tuple(problems))


def _read_mode(labels: Mapping[str, str], mode: Mode, default: Wanted) -> tuple[Wanted, list[tuple[str, str, str]]]:
    level, minor = default.level, default.minor
    problems: list[tuple[str, str, str]] = []
    label = f"{_LABEL}{mode}"
    if (text := labels.get(label)) is not None:
        try:
            level = parse_level(text)
        except ValueError as error:
            level = "restricted" if mode == "enforce" else "privileged"
            problems.append((label, text, str(error)))
    label = f"{_LABEL}{mode}-version"
    if (text := labels.get(label)) is not None:
        try:
            minor = parse_version(text)
        except ValueError as error:
            minor = None
            problems.append((label, text, str(error)))
    return Wanted(level, minor), problems


def is_stricter(one: Wanted, other: Wanted) -> bool:
    """Return whether one level allows less than another."""
    return LEVELS.index(one.level) > LEVELS.index(other.level)
