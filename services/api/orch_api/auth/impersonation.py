"""Asking as somebody else: Kubernetes' Impersonate-* headers, which `kubectl --as` sends.

Each part of the identity that is asked for must be permitted by itself (verb `impersonate` on users, groups,
serviceaccounts, uids and userextras), as in k8s.io/apiserver's impersonation filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

import msgspec

from orch.errors import BadRequestError
from orch_api.auth.attributes import Attributes
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import AUTHENTICATED, SERVICE_ACCOUNTS, UNAUTHENTICATED, Caller

_PREFIX: Final = b"impersonate-"
_EXTRA: Final = "extra-"
_ACCOUNT_PREFIX: Final = "system:serviceaccount:"
_ANONYMOUS: Final = "system:anonymous"
_IDENTITIES: Final = "authentication.k8s.io"


class _Wanted(msgspec.Struct):
    """The identity that the headers name."""

    user: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}


async def assumed(caller: Caller, headers: Iterable[tuple[bytes, bytes]], authorizer: Authorizer) -> Caller:
    """Return as whom a request is to be served: the caller, or whom its headers name; header names are in lower case.

    Raises ForbiddenError when the caller may not ask as them, BadRequestError for headers without a user.
    """
    named = [(name, value) for name, value in headers if name.startswith(_PREFIX)]
    if not named:
        return caller
    wanted = _read(named)
    if not wanted.user:
        asked = sorted(name.decode("latin-1") for name, _ in named)
        raise BadRequestError(f"requested [{' '.join(asked)}] without impersonating a user")
    for attributes in _parts(wanted):
        await authorizer.require(caller, attributes)
    return Caller(
        wanted.user,
        tuple(_groups(wanted)),
        wanted.uid,
        tuple((key, tuple(values)) for key, values in sorted(wanted.extra.items())),
        impersonator=caller,
    )


def _read(headers: Iterable[tuple[bytes, bytes]]) -> _Wanted:
    wanted = _Wanted()
    for name, raw in headers:
        what, value = name[len(_PREFIX) :].decode("latin-1"), raw.decode("utf-8", "replace")
        if what == "user":
            wanted.user = value
        elif what == "uid":
            wanted.uid = value
        elif what == "group":
            wanted.groups.append(value)
        elif what.startswith(_EXTRA):
            wanted.extra.setdefault(unquote(what[len(_EXTRA) :]), []).append(value)
    return wanted


def _account(user: str) -> tuple[str, str] | None:
    """Return the namespace and name of the service account that a user is, None for any other user."""
    namespace, colon, name = user.removeprefix(_ACCOUNT_PREFIX).partition(":")
    return (namespace, name) if user.startswith(_ACCOUNT_PREFIX) and colon and namespace and name else None


def _parts(wanted: _Wanted) -> Iterator[Attributes]:
    """Yield what the caller has to be permitted."""
    account = _account(wanted.user)
    if account is not None:
        namespace, name = account
        yield Attributes(verb="impersonate", resource="serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes(verb="impersonate", resource="users", name=wanted.user)
    for group in wanted.groups:
        yield Attributes(verb="impersonate", resource="groups", name=group)
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes(verb="impersonate", group=_IDENTITIES, resource="userextras", subresource=key, name=value)
    if wanted.uid:
        yield Attributes(verb="impersonate", group=_IDENTITIES, resource="uids", name=wanted.uid)


def _groups(wanted: _Wanted) -> Iterator[str]:
    """Yield the groups that were asked for, and those that everybody of the kind is in."""
    yield from wanted.groups
    account = _account(wanted.user)
    if account is not None and not wanted.groups:
        yield SERVICE_ACCOUNTS
        yield f"{SERVICE_ACCOUNTS}:{account[0]}"
    everybody = UNAUTHENTICATED if wanted.user == _ANONYMOUS else AUTHENTICATED
    if everybody not in wanted.groups:
        yield everybody
