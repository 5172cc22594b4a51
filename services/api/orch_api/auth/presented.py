"""What a request shows of who sends it: the connection's certificate, and headers.

Where a header may be given only once the first one counts, as with Go's Header.Get: a proxy in front of the api and the
api itself must not read two different ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from orch.errors import UnauthorizedError

Header = tuple[bytes, bytes]


class Presented(msgspec.Struct, frozen=True, gc=False):
    """What a request shows. Header names are in lower case; `path` is what it asks for.

    `peer` is what ssl's getpeercert() returned for a verified certificate, with the certificate itself under "der".
    """

    peer: Mapping[str, Any] | None = None
    headers: Sequence[Header] = ()
    authorization: str = ""
    path: str = ""

    @property
    def bearer(self) -> str:
        """The bearer token, "" when there is none; credentials of another scheme are nobody's (as bearertoken.go)."""
        parts = self.authorization.strip().split(" ", 2)
        return parts[1] if len(parts) > 1 and parts[0].lower() == "bearer" else ""


def first(headers: Iterable[Header], name: bytes) -> bytes:
    """Return the first value of a header, b"" when it is absent."""
    return next((value for known, value in headers if known == name), b"")


def as_text(value: bytes, name: str) -> str:
    """Return what a header says of an identity. Raises UnauthorizedError unless it is UTF-8: names must not blur."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise UnauthorizedError(f"the header {name} is not UTF-8") from error
