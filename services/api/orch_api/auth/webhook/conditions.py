"""When a webhook is asked at all: expressions over the review that it would be sent (apiserver's authorization/cel).

A condition that is false spares the webhook the question. One that cannot be evaluated does as well if another is
false; else the webhook's failure policy says what that means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import Counter

from orch.errors import ConfigError
from orch_api.extensions.expressions.environment import BOOL, DYN, Expression, ExpressionError, detail, environment
from orch_api.extensions.expressions.messages import POOL

EXCLUSIONS: Final = Counter(
    "apiserver_authorization_match_condition_exclusions",
    "Requests that a condition spared an authorizer",
    ("type", "name"),
)
ERRORS: Final = Counter(
    "apiserver_authorization_match_condition_evaluation_errors",
    "Conditions that could not be evaluated",
    ("type", "name"),
)

_ENVIRONMENT: Final = environment(POOL, {"request": DYN})


class Conditions:
    """The conditions of one webhook. Raises ConfigError for one that does not compile."""

    def __init__(self, name: str, texts: Sequence[str], place: str) -> None:
        self._compiled = [_compiled(text, f"{place}[{index}].expression") for index, text in enumerate(texts)]
        self._excluded = EXCLUSIONS.labels("Webhook", name)
        self._failed = ERRORS.labels("Webhook", name)

    def hold(self, spec: dict[str, Any]) -> bool:
        """Return whether all hold of the review's spec. Raises ExpressionError when that cannot be told."""
        failures: list[str] = []
        for condition in self._compiled:
            try:
                held = condition.evaluate({"request": spec})
            except ExpressionError as error:
                failures.append(str(error))
                continue
            if held is not True:
                self._excluded.inc()
                return False
        if failures:
            self._failed.inc()
            raise ExpressionError(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
        return True


def _compiled(text: str, place: str) -> Expression:
    try:
        compiled = _ENVIRONMENT.compile(text)
    except RuntimeError as error:
        raise ConfigError(place, f"compilation failed: {detail(str(error))}") from error
    if compiled.return_type() not in (BOOL, DYN):
        raise ConfigError(place, "must evaluate to bool")
    return Expression(compiled)
