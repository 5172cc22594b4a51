"""Who sends a request over HTTPS: a verified client certificate, or a bearer token.

Tokens are those of the token file and those of service accounts. The token file is Kubernetes' static one: lines of
`token,user,uid` or `token,user,uid,"group1,group2"`.
"""

from __future__ import annotations

import csv
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orch.errors import ConfigError, UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.auth.tokens import ServiceAccountTokens

ANONYMOUS: Final = Caller(user="system:anonymous", groups=("system:unauthenticated",))
_AUTHENTICATED: Final = "system:authenticated"


class Authenticator:
    """Turns what a connection and a request carry into a caller."""

    def __init__(
        self, tokens: Mapping[str, Caller] | None = None, accounts: ServiceAccountTokens | None = None
    ) -> None:
        self._tokens = dict(tokens or {})
        self._accounts = accounts
        self.audiences: Final = accounts.audiences if accounts is not None else ()
        """Who the api is to those who make tokens for it."""

    async def identify(self, peer: Mapping[str, Any] | None, authorization: str) -> Caller:
        """Return the caller, ANONYMOUS when nothing is presented.

        `peer` is what ssl's getpeercert() returned for a verified certificate: common name = user, organizations =
        groups. Raises UnauthorizedError for a token that does not count, UnavailableError when that cannot be told.
        """
        if peer:
            return _caller_of(peer)
        if authorization:
            return await self.identify_token(authorization)
        return ANONYMOUS

    async def identify_token(self, authorization: str) -> Caller:
        """Return the caller of an Authorization header. Raises UnauthorizedError, which says no more than that."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthorizedError
        try:
            caller, _ = await self.review(token.strip(), self.audiences)
        except UnauthorizedError as error:
            raise UnauthorizedError from error
        return caller

    async def review(self, token: str, audiences: Sequence[str]) -> tuple[Caller, tuple[str, ...]]:
        """Return whose token it is, and for which of the audiences it counts; none: for no one in particular.

        Raises UnauthorizedError saying why it does not count, UnavailableError when that cannot be told.
        """
        presented = token.encode()
        for known, caller in self._tokens.items():
            if hmac.compare_digest(known.encode(), presented):
                return caller, tuple(one for one in audiences if one in self.audiences)
        if self._accounts is not None:
            try:
                found = await self._accounts.identify(token, audiences)
            except UnauthorizedError as error:
                raise UnauthorizedError(f"[invalid bearer token, {error.message}]") from error
            if found is not None:
                return found
        raise UnauthorizedError("invalid bearer token")


def _caller_of(peer: Mapping[str, Any]) -> Caller:
    user = ""
    groups: list[str] = []
    parts: Sequence[Sequence[tuple[str, str]]] = peer.get("subject", ())
    for part in parts:
        for name, value in part:
            if name == "commonName":
                user = value
            elif name == "organizationName":
                groups.append(value)
    if not user:
        return ANONYMOUS
    return Caller(user=user, groups=(*groups, _AUTHENTICATED))


def read_tokens(path: Path) -> dict[str, Caller]:
    """Return the callers of a token file by token. Raises ConfigError naming the line."""
    callers: dict[str, Caller] = {}
    with path.open(newline="") as lines:
        for line, row in enumerate(csv.reader(lines, skipinitialspace=True), start=1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ConfigError(f"{path}:{line}", "expected token,user,uid and optionally groups")
            groups = tuple(group.strip() for group in row[3].split(",")) if len(row) > 3 and row[3] else ()
            callers[row[0]] = Caller(user=row[1], uid=row[2], groups=(*groups, _AUTHENTICATED))
    return callers
