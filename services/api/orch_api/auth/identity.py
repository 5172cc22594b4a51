"""Identities: who a request is from, on HTTPS and on the bus alike."""

from __future__ import annotations

from typing import Final

import msgspec

MASTERS: Final = "system:masters"
NODES: Final = "system:nodes"
MONITORING: Final = "system:monitoring"
AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"
SERVICE_ACCOUNTS: Final = "system:serviceaccounts"
SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"
APISERVER_USER: Final = "system:apiserver"
CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"
"""The extra value that tells one credential of a user from another."""

_NODE_PREFIX: Final = "system:node:"
_ADMIN_USER: Final = "orch:admin"


class Caller(msgspec.Struct, frozen=True):
    """The user that a request is from, with the groups that it belongs to."""

    user: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What else is known, such as the pod that a service account's token was made for."""
    impersonator: Caller | None = None
    """Who really asks, when this identity is only assumed."""
    constraint: str = ""
    """The verb that permitted it for one kind of request alone; empty where it is permitted for any."""

    @property
    def node(self) -> str:
        """The node that this is the agent of, empty for anyone else."""
        if self.user.startswith(_NODE_PREFIX) and NODES in self.groups:
            return self.user[len(_NODE_PREFIX) :]
        return ""

    def authenticated(self) -> Caller:
        """Return the caller as one of those who are known, unless its groups say already whether it is."""
        if self.user == ANONYMOUS.user or AUTHENTICATED in self.groups or UNAUTHENTICATED in self.groups:
            return self
        return msgspec.structs.replace(self, groups=(*self.groups, AUTHENTICATED))


ANONYMOUS: Final = Caller("system:anonymous", (UNAUTHENTICATED,))
"""Who presents nothing."""

APISERVER: Final = Caller(APISERVER_USER, (MASTERS, AUTHENTICATED))
"""The api itself: what it creates at its start, and nodes that register."""


def caller_on_bus(user: str) -> Caller:
    """Return the caller that a subject's user token names; the bus's permissions guarantee that it is theirs."""
    if user.startswith(_NODE_PREFIX):
        return Caller(user, (NODES, AUTHENTICATED))
    if user == APISERVER_USER:
        return APISERVER
    if user == _ADMIN_USER:
        return Caller(user, (MASTERS, AUTHENTICATED))
    return Caller(user, (AUTHENTICATED,))
