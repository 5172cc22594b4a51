"""Expressions about identities: what a token claims (`claims`), and the user that came of it (`user`).

Follows k8s.io/apiserver/pkg/authentication/cel. Compiling checks types; evaluation works on plain maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from cel_expr_python import cel
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from orch_api.extensions.expressions.environment import Expression, ExpressionError, detail, environment
from orch_api.extensions.expressions.messages import POOL, SchemaTypes, escape
from orch_api.extensions.props import Props
from orch_pb.v1 import expression_pb2

_TEXT: Final = Props(type="string")
_TEXTS: Final = Props(type="array", items=_TEXT)
_USER: Final = Props(
    type="object",
    properties={
        "username": _TEXT,
        "uid": _TEXT,
        "groups": _TEXTS,
        "extra": Props(type="object", additional_properties=_TEXTS),
    },
)
_TYPES: Final = SchemaTypes()
_USER_TYPE: Final = _TYPES.of(_USER)

_CHECKED: Final = {
    "claims": environment(POOL, {"claims": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)}),
    "user": environment(_TYPES.pool(), {"user": _USER_TYPE}),
}
_UNTYPED: Final = {name: environment(POOL, {name: cel.Type.DYN}) for name in _CHECKED}


class IdentityExpression(msgspec.Struct, frozen=True):
    """A compiled expression about one variable; `selected` are the fields of it that the expression names."""

    text: str
    variable: str
    program: Expression
    selected: frozenset[str]

    def evaluate(self, value: Mapping[str, Any]) -> Any:
        """Return the plain result; the value is what `readable` returned. Raises ExpressionError."""
        return self.program.evaluate({self.variable: value})


def compile_claims(text: str, *, rule: bool = False) -> IdentityExpression:
    """Return an expression about claims; a `rule` must come to a bool. Raises ExpressionError."""
    return _compiled("claims", text, rule=rule)


def compile_user(text: str) -> IdentityExpression:
    """Return a rule about a user. Raises ExpressionError."""
    return _compiled("user", text, rule=True)


def _compiled(variable: str, text: str, *, rule: bool) -> IdentityExpression:
    try:
        checked = _CHECKED[variable].compile(text)
        if rule and checked.return_type() != cel.Type.BOOL:
            raise ExpressionError("must evaluate to bool")
        program = Expression(_UNTYPED[variable].compile(text))
    except RuntimeError as error:
        raise ExpressionError(f"compilation failed: {detail(str(error))}") from error
    envelope = AnyMessage.FromString(checked.serialize())
    parsed = expression_pb2.CheckedExpression.FromString(envelope.value)
    return IdentityExpression(text, variable, program, frozenset(_selected(parsed.expr, variable)))


def _selected(part: Any, variable: str) -> Iterator[str]:
    """Yield the fields of the variable that an expression selects: `claims.email`, `claims.?email`."""
    if isinstance(part, expression_pb2.Expression):
        if part.HasField("select_expr") and part.select_expr.operand.ident_expr.name == variable:
            yield part.select_expr.field
        if part.HasField("call_expr") and part.call_expr.function == "_?._":
            args = part.call_expr.args
            if len(args) == 2 and args[0].ident_expr.name == variable:
                yield args[1].const_expr.string_value
    for field, value in part.ListFields():
        if field.message_type is not None:
            for inner in (value,) if isinstance(value, Message) else cast("Sequence[Any]", value):
                yield from _selected(inner, variable)


def readable(value: Any) -> Any:
    """Return a value with its names as expressions may write them, too: `a__dot__b` for `a.b`, at every depth."""
    if isinstance(value, dict):
        fields = {name: readable(inner) for name, inner in cast("dict[str, Any]", value).items()}
        escaped = {other: inner for name, inner in fields.items() if (other := escape(name)) and other not in fields}
        return {**fields, **escaped}
    if isinstance(value, list):
        return [readable(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return float(value)
    return value
