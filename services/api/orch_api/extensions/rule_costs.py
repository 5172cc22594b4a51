"""How much the rules of a schema may cost, each and together, as estimated when a definition is written.

Limits and words are those of apiextensions' validation (StaticEstimatedCostLimit, StaticEstimatedCRDCostLimit).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from orch.errors import Cause
from orch_api.extensions.expressions.costs import UNBOUNDED
from orch_api.validation import forbidden

_MOST_A_RULE: Final = 10_000_000
_MOST_TOGETHER: Final = 100_000_000
_BLAMED: Final = 4
_ADVICE: Final = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared"
)


class Costs:
    """The estimates of a schema's expressions."""

    def __init__(self) -> None:
        self._total = 0
        self._known: list[tuple[int, str]] = []

    def note(self, at: str, cost: int, name: str) -> Iterator[Cause]:
        """Note an expression's cost; yield that it is more than one may have."""
        cost = min(cost, UNBOUNDED)
        self._total = min(self._total + cost, UNBOUNDED)
        self._known.append((cost, at))
        if cost > _MOST_A_RULE:
            yield forbidden(at, _exceeds(f"estimated {name} cost", cost, _MOST_A_RULE))

    def total(self, at: str) -> Iterator[Cause]:
        """Yield that all expressions together are more than a schema may have, and which of them cost most."""
        if self._total <= _MOST_TOGETHER:
            return
        for _, one in heapq.nlargest(_BLAMED, self._known):
            yield forbidden(
                one, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            )
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield forbidden(at, _exceeds(name, self._total, _MOST_TOGETHER))


def _exceeds(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    precise = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    shown = "more than 100x" if factor > 100 else precise
    return f"{name} exceeds budget by factor of {shown} ({_ADVICE})"
