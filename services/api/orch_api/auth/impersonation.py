"""Who may ask as somebody else, and who they are then.

Each part of the identity that is asked for must be permitted by itself. Two kinds of permission count: the verb
`impersonate` for any request (the mode `legacy`), or, constrained (KEP-5284), `impersonate:<mode>` together with
`impersonate-on:<mode>:<verb>` for the very request. The constrained modes are tried first, unless another has
permitted the caller before, and the first refusal is the one that is told, as in k8s.io/apiserver's impersonation
filter. Unlike there no answer is kept: a right that is taken away counts no more with the next request.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from orch.errors import ForbiddenError
from orch.quoting import quote
from orch_api.auth import impersonation_figures as figures
from orch_api.auth.attributes import Attributes, Verdict, forbidden
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
from orch_api.auth.impersonated import Wanted, account_of, wanted_of
from orch_api.kinds.addresses import domain_prefixed_path

Mode = Literal["associated-node", "arbitrary-node", "serviceaccount", "user-info", "legacy"]

_IDENTITIES: Final = "authentication.k8s.io"
_NODE_NAME: Final = "authentication.kubernetes.io/node-name"
_NODE_KEYS: Final = "authentication.kubernetes.io/associated-node-keys"
_REMEMBERED: Final = 1024
"""Callers of whom it is known which mode permitted them last."""
_MANY: Final = 4
"""Groups, or extra values, from which on it is asked first whether the caller may have any of them."""


class Impersonation:
    """Decides as whom requests are served. The mode that permitted a caller last is tried first, and tells why not."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._last: OrderedDict[str, Mode] = OrderedDict()

    async def assumed(
        self, caller: Caller, headers: Iterable[tuple[bytes, bytes]], asked: Callable[[], Attributes]
    ) -> Caller:
        """Return as whom a request is to be served: the caller, or whom its headers name (in lower case).

        `asked` tells what the request is for. Raises ForbiddenError when the caller may not ask for it as them,
        BadRequestError for headers without a user or with a name that is no text.
        """
        wanted = wanted_of(headers)
        if wanted is None:
            return caller
        started, request, refusal = time.perf_counter(), asked(), None
        last = self._last.get(caller.user)
        for mode in sorted(_modes(caller, wanted), key=lambda one: one != last):
            try:
                await self._permit(caller, mode, wanted, request)
            except ForbiddenError as error:
                refusal = refusal or error
                continue
            figures.attempted(mode, time.perf_counter() - started, allowed=True)
            self._note(caller.user, mode)
            return _identity(caller, wanted, mode)
        figures.attempted("", time.perf_counter() - started, allowed=False)
        raise refusal or forbidden(caller, Attributes(verb="impersonate", resource="users", name=wanted.user), "")

    async def _permit(self, caller: Caller, mode: Mode, wanted: Wanted, request: Attributes) -> None:
        """Raise ForbiddenError when a mode does not permit the caller to ask for this as them."""
        asking = _without_node(caller) if mode == "associated-node" else caller
        async for one in self._needed(asking, mode, wanted, request):
            verdict = await self._judge(asking, mode, one)
            if not verdict.allowed:
                raise forbidden(asking, one, ": ".join(part for part in (verdict.error, verdict.reason) if part))

    async def _judge(self, caller: Caller, mode: Mode, wanted: Attributes) -> Verdict:
        started = time.perf_counter()
        verdict = await self._authorizer.judge(caller, wanted)
        figures.asked(mode, time.perf_counter() - started, allowed=verdict.allowed)
        return verdict

    async def _needed(
        self, caller: Caller, mode: Mode, wanted: Wanted, request: Attributes
    ) -> AsyncIterator[Attributes]:
        """Yield what the caller has to be permitted. Raises ForbiddenError for what no constrained mode permits."""
        if mode == "legacy":
            for one in (*_names(wanted, "impersonate", ""), *_groups_of(wanted, "impersonate", "")):
                yield one
            for one in _extra_of(wanted, "impersonate"):
                yield one
            return
        verb = f"impersonate:{mode}"
        yield msgspec.structs.replace(request, verb=f"impersonate-on:{mode}:{request.verb}")
        if wanted.node:
            name = "*" if mode == "associated-node" else wanted.node
            yield Attributes(verb=verb, group=_IDENTITIES, resource="nodes", name=name)
            return
        for one in _names(wanted, verb, _IDENTITIES):
            yield one
        _check_groups(caller, verb, wanted.groups)
        group = Attributes(verb=verb, group=_IDENTITIES, resource="groups", name="*")
        if len(wanted.groups) < _MANY or not (await self._judge(caller, mode, group)).allowed:
            for one in _groups_of(wanted, verb, _IDENTITIES):
                yield one
        _check_extra(caller, verb, wanted.extra)
        extra = Attributes(verb=verb, group=_IDENTITIES, resource="userextras", subresource="*", name="*")
        if sum(map(len, wanted.extra.values())) < _MANY or not (await self._judge(caller, mode, extra)).allowed:
            for one in _extra_of(wanted, verb):
                yield one

    def _note(self, user: str, mode: Mode) -> None:
        self._last[user] = mode
        self._last.move_to_end(user)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)


def _modes(caller: Caller, wanted: Wanted) -> Iterator[Mode]:
    """Yield the modes by which the caller could be permitted, the narrowest first."""
    node = wanted.node
    if wanted.bare and node:
        if account_of(caller.user) is not None and dict(caller.extra).get(_NODE_NAME) == (node,):
            yield "associated-node"
        yield "arbitrary-node"
    elif wanted.bare and wanted.account is not None:
        yield "serviceaccount"
    elif not node and wanted.account is None:
        yield "user-info"
    yield "legacy"


def _without_node(caller: Caller) -> Caller:
    """Return an account as it is asked about when it wants to be its own node: whichever that is."""
    return msgspec.structs.replace(caller, extra=((_NODE_KEYS, tuple(sorted(key for key, _ in caller.extra))),))


# What has to be permitted -----------------------------------------------------------------------------------------


def _names(wanted: Wanted, verb: str, group: str) -> Iterator[Attributes]:
    """Yield the name and the uid; users and accounts are of the API group that is given."""
    if wanted.account is not None:
        namespace, name = wanted.account
        yield Attributes(verb=verb, group=group, resource="serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes(verb=verb, group=group, resource="users", name=wanted.user)
    if wanted.uid:
        yield Attributes(verb=verb, group=_IDENTITIES, resource="uids", name=wanted.uid)


def _groups_of(wanted: Wanted, verb: str, group: str) -> Iterator[Attributes]:
    for one in wanted.groups:
        yield Attributes(verb=verb, group=group, resource="groups", name=one)


def _extra_of(wanted: Wanted, verb: str) -> Iterator[Attributes]:
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes(verb=verb, group=_IDENTITIES, resource="userextras", subresource=key, name=value)


def _check_groups(caller: Caller, verb: str, groups: Sequence[str]) -> None:
    """Raise ForbiddenError for groups that nobody is in but by the mode `legacy`."""
    group = Attributes(verb=verb, group=_IDENTITIES, resource="groups")
    if "" in groups:
        raise forbidden(caller, group, "impersonating the empty string group is not allowed")
    if MASTERS in groups:
        masters = msgspec.structs.replace(group, name=MASTERS)
        raise forbidden(caller, masters, f"impersonating the {MASTERS} group is not allowed")


def _check_extra(caller: Caller, verb: str, extra: Mapping[str, Sequence[str]]) -> None:
    """Raise ForbiddenError for extra values that nobody has but by the mode `legacy`."""
    for key, values in extra.items():
        problem = _extra_problem(key, values)
        if problem:
            refused = Attributes(verb=verb, group=_IDENTITIES, resource="userextras")
            raise forbidden(caller, refused, f"impersonating {problem}")


def _extra_problem(key: str, values: Sequence[str]) -> str:
    if not key:
        return "the empty string key in extra is not allowed"
    if causes := domain_prefixed_path("extra.key", key):
        told = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
        return f"an invalid key in extra is not allowed: {told if len(causes) == 1 else f'[{told}]'}"
    if key != key.lower():
        return f"a non-lowercase key in extra is not allowed: {quote(key)}"
    return "the empty string value in extra is not allowed" if "" in values else ""


# Who they are then ------------------------------------------------------------------------------------------------


def _identity(caller: Caller, wanted: Wanted, mode: Mode) -> Caller:
    return Caller(
        wanted.user,
        tuple(_groups(wanted, constrained=mode != "legacy")),
        wanted.uid,
        tuple((key, tuple(values)) for key, values in sorted(wanted.extra.items())),
        impersonator=caller,
        constraint="" if mode == "legacy" else f"impersonate:{mode}",
    )


def _groups(wanted: Wanted, *, constrained: bool) -> Iterator[str]:
    """Yield the groups that were asked for, and those that everybody of the kind is in."""
    yield from wanted.groups
    if wanted.account is not None and not wanted.groups:
        yield SERVICE_ACCOUNTS
        yield f"{SERVICE_ACCOUNTS}:{wanted.account[0]}"
    if constrained and wanted.node:
        yield NODES
    if wanted.user == ANONYMOUS.user:
        everybody = UNAUTHENTICATED
    elif UNAUTHENTICATED in wanted.groups:
        return
    else:
        everybody = AUTHENTICATED
    if everybody not in wanted.groups:
        yield everybody
