"""What a request over HTTP shows of who sends it, as authentication looks at it."""

from __future__ import annotations

from orch_api.auth.presented import Header, Presented, first
from orch_api.http.exchange import Scope
from orch_api.http.server import PEER


def presented(scope: Scope, authorization: str | None = None) -> Presented:
    """Return what a request shows; `authorization` stands in for the header of that name."""
    headers: list[Header] = scope["headers"]
    given = first(headers, b"authorization").decode("latin-1") if authorization is None else authorization
    return Presented(scope.get(PEER), headers, given, scope["path"])
