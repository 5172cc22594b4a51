"""The authenticating proxy: a server with a certificate of its own authority that says who asks, in headers.

Without that certificate the headers are nobody's word and are not looked at
(k8s.io/apiserver/pkg/authentication/request/headerrequest).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import unquote

import msgspec

from orch.errors import UnauthorizedError
from orch_api.auth.certificates import ClientCertificate
from orch_api.auth.identity import Caller
from orch_api.auth.presented import Header, as_text, first


class ProxyHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Which proxies are believed (all of the authority's when there are no names), and in which headers they speak."""

    allowed_names: Sequence[str] = ()
    users: Sequence[str] = ("X-Remote-User",)
    uids: Sequence[str] = ("X-Remote-Uid",)
    groups: Sequence[str] = ("X-Remote-Group",)
    extra_prefixes: Sequence[str] = ("X-Remote-Extra-",)


class FrontProxy:
    """Believes the proxy."""

    def __init__(self, headers: ProxyHeaders) -> None:
        self._allowed = frozenset(headers.allowed_names)
        self._users = _lowered(headers.users)
        self._uids = _lowered(headers.uids)
        self._groups = _lowered(headers.groups)
        self._prefixes = _lowered(headers.extra_prefixes)

    def identify(self, certificate: ClientCertificate, headers: Sequence[Header]) -> Caller | None:
        """Return whom the proxy speaks for, None when it names nobody. Raises UnauthorizedError."""
        if not certificate.front_proxys:
            return None
        if self._allowed and certificate.common_name not in self._allowed:
            raise UnauthorizedError(f"x509: subject with cn={certificate.common_name} is not in the allowed list")
        user = _first_of(headers, self._users)
        if not user:
            return None
        groups = tuple(
            as_text(value, name.decode())
            for name in self._groups
            for known, value in headers
            if known == name and value
        )
        return Caller(user, groups, _first_of(headers, self._uids), self._extra(headers))

    def _extra(self, headers: Sequence[Header]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found: dict[str, list[str]] = {}
        for prefix in self._prefixes:
            for name, value in headers:
                if name.startswith(prefix):
                    key = unquote(name[len(prefix) :].decode("latin-1"))
                    found.setdefault(key, []).append(as_text(value, name.decode("latin-1")))
        return tuple((key, tuple(values)) for key, values in sorted(found.items()))


def _lowered(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.lower().encode() for name in names)


def _first_of(headers: Sequence[Header], names: Iterable[bytes]) -> str:
    for name in names:
        if value := first(headers, name):
            return as_text(value, name.decode())
    return ""
