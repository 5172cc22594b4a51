"""What a request over HTTP shows of who sends it, and what it is for, as authentication looks at them."""

from __future__ import annotations

from orch.errors import ApiError
from orch_api.auth.attributes import Attributes
from orch_api.auth.presented import Header, Presented, first
from orch_api.http.exchange import Scope
from orch_api.http.request import parse_path, parse_query, verb_of
from orch_api.http.server import PEER


def presented(scope: Scope, authorization: str | None = None) -> Presented:
    """Return what a request shows; `authorization` stands in for the header of that name."""
    headers: list[Header] = scope["headers"]
    given = first(headers, b"authorization").decode("latin-1") if authorization is None else authorization
    return Presented(scope.get(PEER), headers, given, scope["path"])


def asked(scope: Scope) -> Attributes:
    """Return what a request is for; one that cannot be read is refused elsewhere."""
    path: str = scope["path"]
    method: str = scope.get("method", "GET")
    target = parse_path(path)
    if target is None:
        return Attributes(verb=method.lower(), path=path)
    try:
        verb = verb_of(method, target, parse_query(scope["query_string"]))
    except ApiError:
        verb = method.lower()
    return Attributes(
        verb=verb,
        group=target.group,
        version=target.version,
        resource=target.resource,
        subresource=target.subresource,
        namespace=target.namespace,
        name=target.name,
    )
