"""Asking as somebody else: Kubernetes' Impersonate-* headers, which `kubectl --as` sends.

Each part of the identity that is asked for must be permitted by itself. Two kinds of permission count: the verb
`impersonate` for any request, or, constrained (KEP-5284), `impersonate:<mode>` together with
`impersonate-on:<mode>:<verb>` for the very request. The constrained modes are tried first, unless another has
permitted the caller before, and the first refusal is the one that is told, as in k8s.io/apiserver's impersonation
filter.

An empty name is refused, where Kubernetes serves the request as its sender: whoever sent the header meant another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import unquote

import msgspec

from orch.errors import BadRequestError, ForbiddenError
from orch_api.auth.attributes import Attributes, forbidden
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import (
    ANONYMOUS,
    AUTHENTICATED,
    MASTERS,
    NODES,
    SERVICE_ACCOUNTS,
    UNAUTHENTICATED,
    Caller,
)

_PREFIX: Final = b"impersonate-"
_EXTRA: Final = "extra-"
_ACCOUNT_PREFIX: Final = "system:serviceaccount:"
_NODE_PREFIX: Final = "system:node:"
_IDENTITIES: Final = "authentication.k8s.io"
_NODE_NAME: Final = "authentication.kubernetes.io/node-name"
_NODE_KEYS: Final = "authentication.kubernetes.io/associated-node-keys"
_ASSOCIATED: Final = "associated-node"
_LEGACY: Final = ""
_REMEMBERED: Final = 1024
"""Callers of whom it is known which mode permitted them last."""


class _Wanted(msgspec.Struct):
    """The identity that the headers name."""

    user: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}

    @property
    def bare(self) -> bool:
        """Whether nothing but a name is asked for."""
        return not (self.uid or self.groups or self.extra)


class Impersonation:
    """Decides as whom requests are served. The mode that permitted a caller last is tried first, and tells why not."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._last: OrderedDict[str, str] = OrderedDict()

    async def assumed(
        self, caller: Caller, headers: Iterable[tuple[bytes, bytes]], asked: Callable[[], Attributes]
    ) -> Caller:
        """Return as whom a request is to be served: the caller, or whom its headers name (in lower case).

        `asked` tells what the request is for. Raises ForbiddenError when the caller may not ask for it as them,
        BadRequestError for headers without a user or with a name that is no text.
        """
        named = [(name, value) for name, value in headers if name.startswith(_PREFIX)]
        if not named:
            return caller
        wanted = _read(named)
        if not wanted.user:
            told = sorted(name.decode("latin-1") for name, _ in named)
            raise BadRequestError(f"requested [{' '.join(told)}] without impersonating a user")
        refusal: ForbiddenError | None = None
        request, last = asked(), self._last.get(caller.user)
        for mode in sorted(_modes(caller, wanted), key=lambda one: one != last):
            asking = _without_node(caller) if mode == _ASSOCIATED else caller
            try:
                for attributes in _needed(asking, mode, wanted, request):
                    await self._authorizer.require(asking, attributes)
            except ForbiddenError as error:
                refusal = refusal or error
                continue
            self._note(caller.user, mode)
            return _identity(caller, wanted, constrained=mode != _LEGACY)
        raise refusal or forbidden(caller, Attributes(verb="impersonate", resource="users", name=wanted.user), "")

    def _note(self, user: str, mode: str) -> None:
        self._last[user] = mode
        self._last.move_to_end(user)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)


def _identity(caller: Caller, wanted: _Wanted, *, constrained: bool) -> Caller:
    return Caller(
        wanted.user,
        tuple(_groups(wanted, constrained=constrained)),
        wanted.uid,
        tuple((key, tuple(values)) for key, values in sorted(wanted.extra.items())),
        impersonator=caller,
    )


def _read(headers: Iterable[tuple[bytes, bytes]]) -> _Wanted:
    """Return the identity that headers name; of a header that counts once, the first."""
    wanted = _Wanted()
    for name, raw in headers:
        what = name[len(_PREFIX) :].decode("latin-1")
        try:
            value = raw.decode()
        except UnicodeDecodeError as error:
            raise BadRequestError(f"the header impersonate-{what} is not UTF-8") from error
        if what == "user":
            wanted.user = wanted.user or value
        elif what == "uid":
            wanted.uid = wanted.uid or value
        elif what == "group":
            wanted.groups.append(value)
        elif what.startswith(_EXTRA):
            wanted.extra.setdefault(unquote(what[len(_EXTRA) :]), []).append(value)
    return wanted


def _account(user: str) -> tuple[str, str] | None:
    """Return the namespace and name of the service account that a user is, None for any other user."""
    namespace, colon, name = user.removeprefix(_ACCOUNT_PREFIX).partition(":")
    return (namespace, name) if user.startswith(_ACCOUNT_PREFIX) and colon and namespace and name else None


def _node(user: str) -> str:
    """Return the node that a user is, "" for any other user."""
    return user.removeprefix(_NODE_PREFIX) if user.startswith(_NODE_PREFIX) else ""


def _modes(caller: Caller, wanted: _Wanted) -> Iterator[str]:
    """Yield the modes by which the caller could be permitted, the narrowest first."""
    node = _node(wanted.user)
    if wanted.bare and node:
        if _account(caller.user) is not None and dict(caller.extra).get(_NODE_NAME) == (node,):
            yield _ASSOCIATED
        yield "arbitrary-node"
    elif wanted.bare and _account(wanted.user) is not None:
        yield "serviceaccount"
    elif not node and _account(wanted.user) is None:
        yield "user-info"
    yield _LEGACY


def _without_node(caller: Caller) -> Caller:
    """Return an account as it is asked about when it wants to be its own node: whichever that is."""
    return msgspec.structs.replace(caller, extra=((_NODE_KEYS, tuple(sorted(key for key, _ in caller.extra))),))


def _needed(caller: Caller, mode: str, wanted: _Wanted, request: Attributes) -> Iterator[Attributes]:
    """Yield what the caller has to be permitted. Raises ForbiddenError for what no constrained mode permits."""
    if mode == _LEGACY:
        yield from _parts(wanted, "impersonate", "")
        return
    verb = f"impersonate:{mode}"
    yield msgspec.structs.replace(request, verb=f"impersonate-on:{mode}:{request.verb}")
    node = _node(wanted.user)
    if node:
        name = "*" if mode == _ASSOCIATED else node
        yield Attributes(verb=verb, group=_IDENTITIES, resource="nodes", name=name)
        return
    group = Attributes(verb=verb, group=_IDENTITIES, resource="groups")
    if "" in wanted.groups:
        raise forbidden(caller, group, "impersonating the empty string group is not allowed")
    if MASTERS in wanted.groups:
        masters = msgspec.structs.replace(group, name=MASTERS)
        raise forbidden(caller, masters, f"impersonating the {MASTERS} group is not allowed")
    for key, values in wanted.extra.items():
        if "/" not in key.strip("/") or "" in values:
            extra = Attributes(verb=verb, group=_IDENTITIES, resource="userextras")
            raise forbidden(caller, extra, "impersonating an invalid key or an empty value in extra is not allowed")
    yield from _parts(wanted, verb, _IDENTITIES)


def _parts(wanted: _Wanted, verb: str, group: str) -> Iterator[Attributes]:
    """Yield every part of the identity; users, accounts and groups are of the API group that is given."""
    account = _account(wanted.user)
    if account is not None:
        namespace, name = account
        yield Attributes(verb=verb, group=group, resource="serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes(verb=verb, group=group, resource="users", name=wanted.user)
    if wanted.uid:
        yield Attributes(verb=verb, group=_IDENTITIES, resource="uids", name=wanted.uid)
    for one in wanted.groups:
        yield Attributes(verb=verb, group=group, resource="groups", name=one)
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes(verb=verb, group=_IDENTITIES, resource="userextras", subresource=key, name=value)


def _groups(wanted: _Wanted, *, constrained: bool) -> Iterator[str]:
    """Yield the groups that were asked for, and those that everybody of the kind is in."""
    yield from wanted.groups
    account = _account(wanted.user)
    if account is not None and not wanted.groups:
        yield SERVICE_ACCOUNTS
        yield f"{SERVICE_ACCOUNTS}:{account[0]}"
    if constrained and _node(wanted.user):
        yield NODES
    if UNAUTHENTICATED in wanted.groups:
        return
    everybody = UNAUTHENTICATED if wanted.user == ANONYMOUS.user else AUTHENTICATED
    if everybody not in wanted.groups:
        yield everybody
