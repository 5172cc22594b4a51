"""What a client prefers: the clauses of Accept and Accept-Encoding headers with their qualities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec


class Clause(msgspec.Struct, frozen=True):
    """A media type or an encoding with its parameters; `quality` 0 means that it is not wanted."""

    value: str
    parameters: Mapping[str, str]
    quality: float


def clauses(header: str) -> Iterator[Clause]:
    """Yield the clauses of a header, in its order."""
    for clause in header.split(","):
        value, _, rest = clause.partition(";")
        parameters: dict[str, str] = {}
        for part in rest.split(";"):
            key, _, content = part.partition("=")
            parameters[key.strip()] = content.strip()
        yield Clause(value.strip().lower(), parameters, _quality(parameters.get("q", "")))


@lru_cache(maxsize=256)
def accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header permits gzip."""
    return any(clause.value == "gzip" and clause.quality > 0 for clause in clauses(header))


def _quality(value: str) -> float:
    try:
        return float(value) if value else 1.0
    except ValueError:
        return 1.0
