"""Bearer tokens of browsers, which cannot set a WebSocket's headers: the token is offered as one of its protocols."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from orch.errors import UnauthorizedError
from orch_api.auth.presented import first
from orch_api.http.exchange import Scope

_PREFIX: Final = "base64url.bearer.authorization.k8s.io."


def is_token(protocol: str) -> bool:
    """Return whether what is offered as a protocol is a token."""
    return protocol.startswith(_PREFIX)


def take_authorization(scope: Scope) -> str:
    """Return a request's Authorization; a token among its protocols is taken out of them.

    Raises UnauthorizedError when there are several, one that is malformed, or no other protocol to agree on.
    """
    offered: list[str] = scope.get("subprotocols", [])
    tokens = [protocol.removeprefix(_PREFIX) for protocol in offered if is_token(protocol)]
    given = first(scope["headers"], b"authorization").decode("latin-1")
    if not tokens:
        return given
    others = [protocol for protocol in offered if not is_token(protocol)]
    if len(tokens) > 1 or not others:
        raise UnauthorizedError
    try:
        encoded = tokens[0] + "=" * (-len(tokens[0]) % 4)
        token = base64.b64decode(encoded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise UnauthorizedError from error
    scope["subprotocols"] = others
    return given or f"Bearer {token}"
