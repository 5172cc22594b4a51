"""Expressions about requests: the conditions of webhooks, and all that admission policies say.

They speak of `object`, `oldObject`, `request`, `params`, `namespaceObject`, `authorizer` and of a policy's own
`variables`. A variable is bound around the expression that needs it, which the runtime evaluates at its first use, if
at all. Follows k8s.io/apiserver/pkg/admission/plugin/cel.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from cel_expr_python import cel
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool

from orch.clock import rfc3339
from orch_api.extensions.expressions.authorizing import AUTHORIZER, RESOURCE_CHECK, authorizing
from orch_api.extensions.expressions.environment import ExpressionError, detail, environment
from orch_api.extensions.expressions.messages import PACKAGE, new_pool
from orch_api.extensions.expressions.tokens import (
    InitializerError,
    bound_name,
    variables_of,
    with_bound_names,
    without_initializers,
)

BUDGET_SECONDS: Final = 1.0
"""What the expressions of all policies, or of all webhooks' conditions, may take for one request."""
OUT_OF_BUDGET: Final = "validation failed due to running out of cost budget, no further validation rules will be run"

_T: Final = cel.Type
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_GROUP_KIND: Final = ("group", "version", "kind")
_GROUP_RESOURCE: Final = ("group", "version", "resource")
_MESSAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "GroupVersionKind": dict.fromkeys(_GROUP_KIND, "string"),
    "GroupVersionResource": dict.fromkeys(_GROUP_RESOURCE, "string"),
    "UserInfo": {"username": "string", "uid": "string", "groups": "strings", "extra": "any"},
    "AdmissionRequest": {
        "kind": "GroupVersionKind",
        "resource": "GroupVersionResource",
        "subResource": "string",
        "requestKind": "GroupVersionKind",
        "requestResource": "GroupVersionResource",
        "requestSubResource": "string",
        "name": "string",
        "namespace": "string",
        "operation": "string",
        "userInfo": "UserInfo",
        "dryRun": "bool",
        "options": "any",
    },
}
_STRUCT: Final = re.compile(r" not found in struct '[^']*'")
_KEY_MISSING: Final = re.compile(r'Key not found in map : "?([^"]*)"?')

Wanted = Literal["bool", "string", "string or null", "any", "Object", "list(JSONPatch)"]


class Variable(NamedTuple):
    """A policy's variable: `variables.name`."""

    name: str
    expression: str


class Words(msgspec.Struct, frozen=True):
    """What an expression may speak of beside the request and its objects."""

    variables: tuple[Variable, ...] = ()
    params: bool = False
    authorizer: bool = True


class ExhaustedBudgetError(ExpressionError):
    """The expressions about one request have taken too long together."""


class Budget:
    """How long the expressions about one request may still take."""

    __slots__ = ("_deadline",)

    def __init__(self, seconds: float = BUDGET_SECONDS) -> None:
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """Raise ExhaustedBudgetError when nothing is left."""
        if time.monotonic() > self._deadline:
            raise ExhaustedBudgetError(OUT_OF_BUDGET)


class Inputs:
    """The values of what expressions speak of, handed to the runtime once for all expressions about a request."""

    __slots__ = ("_activation",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Raise ExpressionError for a value that expressions cannot be given."""
        try:
            self._activation = _runtime().Activation(data=values)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise ExpressionError(f"the request cannot be shown to expressions: {error}") from error

    @property
    def activation(self) -> cel.Activation:
        """What the runtime takes."""
        return self._activation


class Program:
    """A compiled expression. `asks`: it may ask the authorizer."""

    __slots__ = ("_compiled", "asks", "text")

    def __init__(self, text: str, compiled: cel.Expression, *, asks: bool) -> None:
        self.text = text
        self.asks = asks
        self._compiled = compiled

    def evaluate(self, inputs: Inputs) -> Any:
        """Return the plain result. Raises ExpressionError, worded as Kubernetes."""
        try:
            found = self._compiled.eval(activation=inputs.activation)
            value = found.plain_value()
        except (RuntimeError, TypeError, ValueError) as error:
            raise self._failed(str(error)) from error
        if found.type() == _T.ERROR:
            raise self._failed(str(value))
        return value

    def _failed(self, said: str) -> ExpressionError:
        if "Iteration budget exceeded" in said:
            said = "operation cancelled: actual cost limit exceeded"
        told = _KEY_MISSING.sub(r"no such key: \1", detail(said))
        if told.startswith("No matching overloads found"):
            told = told.replace("No matching overloads found", "no such overload", 1)
        return ExpressionError(f"expression '{self.text}' resulted in error: {told}")


@lru_cache(4096)
def program(text: str, words: Words) -> Program:
    """Return an expression ready to be evaluated. Raises ExpressionError."""
    composed, shift = _composed(text, words.variables)
    try:
        return Program(text, _runtime().compile(composed), asks="authorizer" in composed)
    except RuntimeError as error:
        raise ExpressionError(f"compilation failed: {detail(str(error), shift)}") from error


def problem(text: str, words: Words, wanted: Wanted) -> str:
    """Return why an expression is refused when it is written, "" when nothing is wrong with it."""
    try:
        composed, shift = _composed(text, words.variables)
    except ExpressionError as error:
        return str(error)
    try:
        compiled = _checking(words.params, words.authorizer).compile(composed)
    except RuntimeError as error:
        return f"compilation failed: {_told(error, shift)}"
    found = compiled.return_type().name()
    return "" if found.startswith(_ACCEPTED[wanted]) else f"must evaluate to {wanted}"


def _told(error: RuntimeError, shift: int) -> str:
    """Return the checker's message without the names that types have here alone."""
    return _STRUCT.sub("", detail(str(error), shift))


class TypedChecker:
    """Checks expressions when the types of objects and parameters are known."""

    def __init__(self, words: Words, pool: DescriptorPool, types: Mapping[str, cel.Type]) -> None:
        declared = {**_declared(words.params, words.authorizer, _T.DYN), **types}
        self._env = environment(pool, declared, _functions())
        self._words = words

    def problem(self, text: str) -> str:
        """Return what the checker says of an expression, "" when nothing is wrong. Raises ExpressionError."""
        composed, shift = _composed(text, self._words.variables)
        try:
            _ = self._env.compile(composed)
        except RuntimeError as error:
            return _told(error, shift)
        return ""


def _composed(text: str, variables: Sequence[Variable]) -> tuple[str, int]:
    """Return an expression inside of the variables that it needs, and how many lines come before it."""
    try:
        body = without_initializers(text)
    except InitializerError as error:
        raise ExpressionError(str(error)) from error
    if "variables" not in text:
        return body, 0
    needed = set(variables_of(body))
    if unknown := needed - {one.name for one in variables}:
        raise ExpressionError(f"compilation failed: undefined field '{min(unknown)}'")
    bound: list[Variable] = []
    for one in reversed(variables):
        if one.name in needed:
            needed |= set(variables_of(one.expression))
            bound.append(one)
    if not bound:
        return body, 0
    prefix = "".join(
        f"cel.bind({bound_name(one.name)}, (\n{with_bound_names(without_initializers(one.expression))}\n), "
        for one in reversed(bound)
    )
    prefix += "(\n"
    return f"{prefix}{with_bound_names(body)}\n){')' * len(bound)}", prefix.count("\n")


def as_json(value: Any) -> Any:
    """Return a result as JSON has it. Raises ExpressionError for what has no such form."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return rfc3339(value)
        case timedelta():
            return f"{value.total_seconds():g}s"
        case dict():
            return {str(key): as_json(inner) for key, inner in cast("dict[Any, Any]", value).items()}
        case list():
            return [as_json(inner) for inner in cast("list[Any]", value)]
        case _:
            raise ExpressionError(f"evaluated to a type that could not marshal to JSON: {type(value).__name__}")


# Environments -----------------------------------------------------------------------------------------------------


_ACCEPTED: Final[Mapping[Wanted, tuple[str, ...]]] = {
    "bool": ("BOOL",),
    "string": ("STRING",),
    "string or null": ("STRING", "NULL"),
    "any": ("",),
    "Object": ("MAP<STRING, ",),
    "list(JSONPatch)": ("LIST<MAP<STRING, ", "LIST<DYN>"),
}
"""How the types are called that a result may have."""


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _functions() -> list[cel.FunctionDecl]:
    escaped = cel.Overload(
        "orch_jsonpatch_escape_key",
        return_type=_T.STRING,
        parameters=[_T.STRING],
        is_member=False,
        impl=_escaped,
    )
    return [*authorizing(), cel.FunctionDecl("jsonpatch.escapeKey", [escaped])]


@cache
def _runtime() -> cel.Env:
    return environment(new_pool(), _declared(True, True, _T.DYN), _functions())


@cache
def _checking(params: bool, authorizer: bool) -> cel.Env:
    pool = new_pool()
    pool.Add(request_types())
    request = _T(f"{PACKAGE}.AdmissionRequest")
    return environment(pool, _declared(params, authorizer, request), _functions())


def _declared(params: bool, authorizer: bool, request: cel.Type) -> dict[str, cel.Type]:
    found = {"object": _T.DYN, "oldObject": _T.DYN, "namespaceObject": _T.DYN, "request": request}
    if params:
        found["params"] = _T.DYN
    if authorizer:
        found |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    return found


def request_types() -> descriptor_pb2.FileDescriptorProto:
    """Return the messages that `request` consists of."""
    file = descriptor_pb2.FileDescriptorProto(
        name="kubernetes/request.proto",
        package=PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/struct.proto"],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _declare(message.field.add(name=field, number=number, json_name=f"f{number}"), kind)
    return file


def _declare(field: Any, kind: str) -> None:
    field.label = _FIELD.LABEL_REPEATED if kind == "strings" else _FIELD.LABEL_OPTIONAL
    match kind:
        case "string" | "strings":
            field.type = _FIELD.TYPE_STRING
        case "bool":
            field.type = _FIELD.TYPE_BOOL
        case "any":
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, ".google.protobuf.Value"
        case _:
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
