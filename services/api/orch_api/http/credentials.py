"""What a request over HTTP shows of who sends it, and what it is for, as authentication looks at them."""

from __future__ import annotations

import base64
import binascii

from orch.errors import ApiError
from orch_api.auth.attributes import Attributes, namespace_of
from orch_api.auth.presented import Header, Presented, first
from orch_api.http.exchange import Scope
from orch_api.http.request import parse_path, parse_query, text, verb_of
from orch_api.http.server import PEER
from orch_api.http.websocket_tokens import is_token


def presented(scope: Scope, authorization: str | None = None) -> Presented:
    """Return what a request shows; `authorization` stands in for the header of that name."""
    headers: list[Header] = scope["headers"]
    given = first(headers, b"authorization").decode("latin-1") if authorization is None else authorization
    return Presented(scope.get(PEER), headers, given, scope["path"])


def attempted(scope: Scope) -> str:
    """Return how somebody who is not known tried to be, as Kubernetes' audit events tell it."""
    authorization = first(scope["headers"], b"authorization").decode("latin-1").strip()
    tried = ["basic"] if _names_a_password(authorization) else []
    if authorization.lower().startswith("bearer ") or any(map(is_token, scope.get("subprotocols", ()))):
        tried.append("bearer")
    try:
        if text(parse_query(scope["query_string"]), "access_token").strip():
            tried.append("access_token")
    except ApiError:
        pass  # too many parameters to look for it; the request is refused anyway
    if scope.get(PEER):
        tried.append("x509")
    if not tried:
        return "Authentication failed, no credentials provided"
    return f"Authentication failed, attempted: {', '.join(tried)}"


def _names_a_password(authorization: str) -> bool:
    scheme, _, encoded = authorization.partition(" ")
    try:
        return scheme.lower() == "basic" and b":" in base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False


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
        namespace=namespace_of(target.resource, target.namespace, target.name),
        name=target.name,
    )
