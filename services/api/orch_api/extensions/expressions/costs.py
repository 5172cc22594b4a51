"""What an expression may cost at most, estimated from the sizes that its schema allows: no rule may take for ever.

Follows cel-go's checker (cost.go) and apiserver's library of costs, of which only the upper ends count. Where the size
of a value is not known here, it is taken for small: a rule is refused only when it is known to be too dear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from google.protobuf.any_pb2 import Any as AnyMessage

from orch_api.extensions.expressions.sizes import ITEMS, KEYS, VALUES, at_path, most_elements
from orch_api.extensions.props import Props
from orch_pb.v1.expression_pb2 import CheckedExpression, Expression

UNBOUNDED: Final = 2**64 - 1

_TEXT: Final = 0.1
_REGEX: Final = 0.25
_LIST: Final = 10
_MAP: Final = 30
_STRUCT: Final = 40
_UNKNOWN_SIZE: Final = 1

_COMPARED: Final = frozenset({"_==_", "_!=_"})
_ORDERED: Final = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_TRAVERSED: Final = frozenset(
    {
        *("url", "isURL", "ip", "isIP", "cidr", "isCIDR", "quantity", "isQuantity", "semver", "isSemver", "validate"),
        *("lowerAscii", "upperAscii", "substring", "trim", "replace", "split", "reverse", "format", "charAt"),
        *("bytes", "string", "ip.isCanonical", "indexOf", "lastIndexOf"),
    }
)
_WALKED: Final = frozenset({"isSorted", "sum", "min", "max", "join"})
_PATTERNS: Final = frozenset({"matches", "find", "findAll"})
_PASSED_ON: Final = frozenset({"value", "orValue", "optional.of", "trim", "lowerAscii", "upperAscii", "reverse"})
"""Functions whose result is what they were given, or as large."""


class _Found(NamedTuple):
    """What is known of a part of an expression: its cost, where its value is, and how large that is at most."""

    cost: int
    path: tuple[str, ...] | None = None
    size: int | None = None


Variables: TypeAlias = Mapping[str, _Found]
"""What is known of the variables of the comprehensions around a part."""


class Estimator:
    """Estimates the costs of expressions about values of one schema."""

    def __init__(self, props: Props, roots: Sequence[str]) -> None:
        self._props = props
        self._roots = frozenset(roots)

    def most(self, checked: bytes) -> int:
        """Return the most that an expression can cost; `checked` is what the compiler made of it, serialised."""
        envelope = AnyMessage.FromString(checked)
        expression = CheckedExpression.FromString(envelope.value)
        overloads = {number: tuple(one.overload_id) for number, one in expression.reference_map.items()}
        return min(_Walk(self._props, self._roots, overloads).of(expression.expr, {}).cost, UNBOUNDED)


class _Walk:
    """One expression's estimate."""

    def __init__(self, props: Props, roots: frozenset[str], overloads: dict[int, tuple[str, ...]]) -> None:
        self._props = props
        self._roots = roots
        self._overloads = overloads
        self._readers: Mapping[str, Callable[[Expression, Variables], _Found]] = {
            "const_expr": self._constant,
            "ident_expr": self._ident,
            "select_expr": self._select,
            "call_expr": self._call,
            "list_expr": self._list,
            "struct_expr": self._struct,
            "comprehension_expr": self._comprehension,
        }

    def of(self, part: Expression, variables: Variables) -> _Found:
        """Return what is known of a part."""
        read = self._readers.get(part.WhichOneof("kind") or "")
        return _Found(0) if read is None else read(part, variables)

    def _constant(self, part: Expression, _: Variables) -> _Found:
        constant = part.const_expr
        match constant.WhichOneof("kind"):
            case "string_value":
                return _Found(0, size=len(constant.string_value.encode()))
            case "bytes_value":
                return _Found(0, size=len(constant.bytes_value))
            case _:
                return _Found(0, size=1)

    def _list(self, part: Expression, variables: Variables) -> _Found:
        items = part.list_expr.elements
        return _Found(_LIST + sum(self.of(one, variables).cost for one in items), size=len(items))

    def _struct(self, part: Expression, variables: Variables) -> _Found:
        made = part.struct_expr
        cost = _STRUCT if made.message_name else _MAP
        for entry in made.entries:
            cost += self.of(entry.value, variables).cost
            cost += self.of(entry.map_key, variables).cost if entry.HasField("map_key") else 0
        return _Found(cost, size=len(made.entries))

    def _ident(self, part: Expression, variables: Variables) -> _Found:
        name = part.ident_expr.name
        known = variables.get(name)
        if known is not None:
            return known._replace(cost=1)
        return _Found(1, path=()) if name in self._roots else _Found(1)

    def _select(self, part: Expression, variables: Variables) -> _Found:
        select = part.select_expr
        operand = self.of(select.operand, variables)
        if select.test_only:
            return _Found(operand.cost)
        return _Found(operand.cost + 1, path=None if operand.path is None else (*operand.path, select.field))

    def _size(self, found: _Found) -> int:
        if found.size is not None:
            return found.size
        if found.path is not None:
            props = at_path(self._props, found.path)
            if props is not None:
                return most_elements(props)
        return _UNKNOWN_SIZE

    def _call(self, part: Expression, variables: Variables) -> _Found:
        call = part.call_expr
        target = self.of(call.target, variables) if call.HasField("target") else None
        args = [self.of(one, variables) for one in call.args]
        costs = sum(one.cost for one in args) + (0 if target is None else target.cost)
        subject = target if target is not None else (args[0] if args else _Found(0))
        match call.function:
            case "_&&_" | "_||_":
                found = _Found(costs)
            case "_?_:_":
                first, *branches = args
                cost = first.cost + max(one.cost for one in branches)
                found = _Found(cost, size=max(map(self._size, branches)))
            case "_[_]" | "_[?_]":
                found = _Found(costs + 1, path=self._indexed(subject))
            case "_?._" if len(call.args) == 2:
                step = call.args[1].const_expr.string_value
                found = _Found(costs + 1, path=None if subject.path is None else (*subject.path, step))
            case "_+_":
                found = self._sum(part, args, costs)
            case _:
                cost = costs + self._function(part, subject, args)
                same = call.function in _PASSED_ON
                found = _Found(cost, path=subject.path if same else None, size=subject.size if same else None)
        return found

    def _indexed(self, subject: _Found) -> tuple[str, ...] | None:
        if subject.path is None:
            return None
        props = at_path(self._props, subject.path)
        return (*subject.path, ITEMS if props is not None and props.type == "array" else VALUES)

    def _sum(self, part: Expression, args: list[_Found], costs: int) -> _Found:
        overloads = self._overloads.get(part.id, ())
        if not any(one in {"add_string", "add_bytes", "add_list"} for one in overloads):
            return _Found(costs + 1)
        size = self._size(args[0]) + self._size(args[1])
        return _Found(costs + (1 if "add_list" in overloads else _scaled(size, _TEXT)), size=size)

    def _function(self, part: Expression, subject: _Found, args: list[_Found]) -> int:
        """Return what a function costs beside its arguments; `subject` is what it is called of, or its first one."""
        function = part.call_expr.function
        last = self._size(args[-1]) if args else 0
        size = self._size(subject)
        if function in _COMPARED or (function in _ORDERED and self._of_texts(part)):
            cost = _scaled(min(size, last), _TEXT)
        elif function in {"startsWith", "endsWith"}:
            cost = _scaled(last, _TEXT)
        elif function == "contains":
            cost = _scaled(size, _TEXT) * _scaled(last, _TEXT)
        elif function in _PATTERNS:
            cost = _scaled(size + 1, _TEXT) * _scaled(last, _REGEX)
        elif function.startswith("sets."):
            cost = size * last
        elif function == "@in":
            cost = last
        elif function in _WALKED:
            cost = size
        else:
            cost = _scaled(size, _TEXT) if function in _TRAVERSED else 1
        return max(cost, 1)

    def _of_texts(self, part: Expression) -> bool:
        return any(one.endswith(("string", "bytes")) for one in self._overloads.get(part.id, ()))

    def _comprehension(self, part: Expression, variables: Variables) -> _Found:
        loop = part.comprehension_expr
        over = self.of(loop.iter_range, variables)
        begun = self.of(loop.accu_init, variables)
        inner = {**variables, loop.accu_var: begun._replace(cost=1, size=begun.size or _UNKNOWN_SIZE)}
        inner |= self._iterated(loop, over)
        each = self.of(loop.loop_condition, inner).cost + self.of(loop.loop_step, inner).cost
        result = self.of(loop.result, {**variables, loop.accu_var: begun._replace(cost=1)})
        count = self._size(over)
        listed = loop.accu_init.WhichOneof("kind") == "list_expr"
        size = count if listed else result.size
        return _Found(
            over.cost + begun.cost + count * each + result.cost, path=None if listed else result.path, size=size
        )

    def _iterated(self, loop: Expression.Comprehension, over: _Found) -> dict[str, _Found]:
        """Return what is known of the variables that a loop gives values to."""
        if over.path is None:
            return {loop.iter_var: _Found(1)} | ({loop.iter_var2: _Found(1)} if loop.iter_var2 else {})
        props = at_path(self._props, over.path)
        listed = props is not None and props.type == "array"
        items, keys = _Found(1, path=(*over.path, ITEMS if listed else VALUES)), _Found(1, path=(*over.path, KEYS))
        if loop.iter_var2:
            return {loop.iter_var: _Found(1) if listed else keys, loop.iter_var2: items}
        return {loop.iter_var: items if listed else keys}


def _scaled(size: int, factor: float) -> int:
    return math.ceil(size * factor)
