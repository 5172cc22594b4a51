"""What expressions may ask of the authorizer (k8s.io/apiserver/pkg/cel/library/authz.go).

A check is a message that carries what was said so far as JSON. Whom it asks is known only while an expression is
evaluated, and told by `asking`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal

import msgspec
from cel_expr_python import cel

from orch_api.extensions.expressions.messages import PACKAGE, message_class

_T: Final = cel.Type
AUTHORIZER: Final = _T(f"{PACKAGE}.Authorizer")
RESOURCE_CHECK: Final = _T(f"{PACKAGE}.ResourceCheck")
_PATH_CHECK: Final = _T(f"{PACKAGE}.PathCheck")
_GROUP_CHECK: Final = _T(f"{PACKAGE}.GroupCheck")
_DECISION: Final = _T(f"{PACKAGE}.Decision")
_SERVICE_ACCOUNT: Final = "system:serviceaccount"

_Kind = Literal["Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision"]


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked so far. Without an account it is about who sends the request."""

    account: tuple[str, str] | None = None
    path: str | None = None
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    verb: str = ""
    field_selector: str | None = None
    label_selector: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What the authorizer says; `error` is why it could not tell."""

    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[Question], Answer]

_ASK: ContextVar[Ask | None] = ContextVar("orch_expression_authorizer", default=None)
_read: Final = msgspec.json.Decoder(Question).decode
_read_answer: Final = msgspec.json.Decoder(Answer).decode


@contextmanager
def asking(ask: Ask) -> Generator[None]:
    """Let the expressions that are evaluated inside ask this."""
    token = _ASK.set(ask)
    try:
        yield
    finally:
        _ASK.reset(token)


def authorizer() -> Any:
    """Return the value of the variable `authorizer`."""
    return _made("Authorizer", Question())


def request_resource(question: Question) -> Any:
    """Return the value of the variable `authorizer.requestResource`."""
    return _made("ResourceCheck", question)


def authorizing() -> list[cel.FunctionDecl]:
    """Return the declarations of the functions."""
    text = _T.STRING
    resource = (RESOURCE_CHECK, text)
    return [
        _function("path", _PATH_CHECK, (AUTHORIZER, text), lambda one, path: _next(one, "PathCheck", path=path)),
        _function("group", _GROUP_CHECK, (AUTHORIZER, text), lambda one, group: _next(one, "GroupCheck", group=group)),
        _function(
            "serviceAccount",
            AUTHORIZER,
            (AUTHORIZER, text, text),
            lambda one, namespace, name: _next(one, "Authorizer", account=(namespace, name)),
        ),
        _function(
            "resource",
            RESOURCE_CHECK,
            (_GROUP_CHECK, text),
            lambda one, resource: _next(one, "ResourceCheck", resource=resource),
        ),
        *(
            _function(name, RESOURCE_CHECK, resource, _setter(field))
            for name, field in (
                ("subresource", "subresource"),
                ("namespace", "namespace"),
                ("name", "name"),
                ("fieldSelector", "field_selector"),
                ("labelSelector", "label_selector"),
            )
        ),
        cel.FunctionDecl(
            "check",
            [
                cel.Overload(
                    "orch_resource_check", return_type=_DECISION, parameters=list(resource), is_member=True, impl=_check
                ),
                # the runtime tells overloads apart by the kinds of their parameters alone: the first does the work
                cel.Overload("orch_path_check", return_type=_DECISION, parameters=[_PATH_CHECK, text], is_member=True),
            ],
        ),
        _function("allowed", _T.BOOL, (_DECISION,), lambda one: _read_answer(one.text).allowed),
        _function("reason", text, (_DECISION,), lambda one: _read_answer(one.text).reason),
        _function("errored", _T.BOOL, (_DECISION,), lambda one: bool(_read_answer(one.text).error)),
        _function("error", text, (_DECISION,), lambda one: _read_answer(one.text).error),
    ]


def account_user(account: tuple[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the user and the groups of a service account."""
    namespace, name = account
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return f"{_SERVICE_ACCOUNT}:{namespace}:{name}", groups


def _function(
    name: str,
    returns: cel.Type,
    takes: tuple[cel.Type, ...],
    made: Callable[[Any], Any] | Callable[[Any, str], Any] | Callable[[Any, str, str], Any],
) -> cel.FunctionDecl:
    overload = cel.Overload(
        f"orch_authorizer_{name}", return_type=returns, parameters=list(takes), is_member=True, impl=made
    )
    return cel.FunctionDecl(name, [overload])


def _setter(field: str) -> Callable[[Any, str], Any]:
    def told(one: Any, value: str) -> Any:
        return _next(one, "ResourceCheck", **{field: value})

    return told


def _next(one: Any, kind: _Kind, **told: Any) -> Any:
    return _made(kind, msgspec.structs.replace(_read(one.text), **told))


def _made(kind: _Kind, content: Question | Answer) -> Any:
    return message_class(kind)(text=msgspec.json.encode(content).decode())


def _check(one: Any, verb: str) -> Any:
    ask = _ASK.get()
    if ask is None:
        raise ValueError("nobody is asked about rights here")
    return _made("Decision", ask(msgspec.structs.replace(_read(one.text), verb=verb)))
