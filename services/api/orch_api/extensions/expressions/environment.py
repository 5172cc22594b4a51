"""Compiles expressions: checked against a schema's types when a definition is written, untyped to be evaluated.

The runtime gives up after 10,000 iterations of comprehensions, so no expression runs for ever. Evaluation needs
neither types nor the schema, so all definitions share one environment and equal expressions are compiled once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from cel_expr_python import cel
from google.protobuf.descriptor_pool import DescriptorPool

from orch_api.extensions.expressions.library import functions
from orch_api.extensions.expressions.messages import POOL

Env: TypeAlias = cel.Env
Type: TypeAlias = cel.Type
BOOL: Final = cel.Type.BOOL
DYN: Final = cel.Type.DYN
STRING: Final = cel.Type.STRING
OLD_VALUE: Final = "oldSelf__"
"""The old value where oldSelf is optional: an optional value cannot be handed in, so it is made in the expression."""
HAS_OLD: Final = "hasOldSelf__"

_EXTENSIONS: Final = ("bindings", "encoders", "math", "optional", "sets", "two-var-comprehensions")
_CONFIG: Final = cel.NewEnvConfigFromYaml(
    "name: kubernetes\nextensions:\n" + "".join(f"- name: {name}\n" for name in _EXTENSIONS)
)
_FUNCTIONS: Final = functions()
_LOCATION: Final = re.compile(r"(<input>:)(\d+)(:)")


class ExpressionError(ValueError):
    """An expression that cannot be compiled, or whose evaluation failed; in the runtime's words."""


class ExhaustedError(ExpressionError):
    """An evaluation that took too many steps."""


class Expression:
    """A compiled expression."""

    def __init__(self, compiled: cel.Expression) -> None:
        self._compiled = compiled

    def evaluate(self, data: dict[str, Any]) -> Any:
        """Return the plain result. Raises ExpressionError."""
        try:
            found = self._compiled.eval(data=data)
        except RuntimeError as error:
            if "Iteration budget exceeded" in str(error):
                raise ExhaustedError("the expression took too many steps") from error
            raise ExpressionError(detail(str(error))) from error
        value = found.plain_value()
        if found.type() == cel.Type.ERROR:
            raise ExpressionError(detail(str(value)))
        return value


def environment(pool: DescriptorPool, variables: dict[str, cel.Type], more: Sequence[cel.FunctionDecl] = ()) -> cel.Env:
    """Return an environment with Kubernetes' functions, and `more`."""
    return cel.NewEnv(descriptor_pool=pool, config=_CONFIG, variables=variables, functions=[*_FUNCTIONS, *more])


_UNTYPED: Final = environment(
    POOL, {"self": cel.Type.DYN, "oldSelf": cel.Type.DYN, OLD_VALUE: cel.Type.DYN, HAS_OLD: cel.Type.BOOL}
)


@lru_cache(4096)
def untyped(text: str, *, optional_old: bool = False) -> Expression:
    """Return an expression ready to be evaluated. Raises ExpressionError."""
    if optional_old:
        old = f"{HAS_OLD} ? optional.of({OLD_VALUE}) : optional.none()"
        text = f"cel.bind(oldSelf, {old}, (\n{text}\n))"
    try:
        return Expression(_UNTYPED.compile(text))
    except RuntimeError as error:
        raise ExpressionError(detail(str(error))) from error


def check(env: cel.Env, text: str, wanted: cel.Type, *, optional_old: bool = False) -> bytes:
    """Compile an expression against its types, and return it serialised.

    Raises ExpressionError when that fails or its result is another.
    """
    shift = 0
    if optional_old:
        text, shift = f"cel.bind(oldSelf, optional.of({OLD_VALUE}), (\n{text}\n))", 1
    try:
        compiled = env.compile(text)
    except RuntimeError as error:
        raise ExpressionError(f"compilation failed: {detail(str(error), shift)}") from error
    if compiled.return_type() not in (wanted, cel.Type.DYN):
        raise ExpressionError(f"must evaluate to a {wanted.name().lower()}")
    return compiled.serialize()


def uses_old(text: str) -> bool:
    """Return whether an expression speaks of the old value: whether it does not compile without it."""
    if "oldSelf" not in text:
        return False
    try:
        _ = _WITHOUT_OLD.compile(text)
    except RuntimeError as error:
        return "undeclared reference to 'oldSelf" in str(error)
    return False


_WITHOUT_OLD: Final = environment(POOL, {"self": cel.Type.DYN})


def detail(message: str, shift: int = 0) -> str:
    """Return the runtime's message without its status codes, its lines counted from `shift`."""
    told = re.sub(r"^[A-Z_]+: ", "", message)
    told = re.sub(r" \[[A-Z_]+\]$", "", told)
    return _LOCATION.sub(lambda found: f"{found[1]}{max(int(found[2]) - shift, 1)}{found[3]}", told)
