"""The identity that somebody asks to be served as: Kubernetes' Impersonate-* headers, which `kubectl --as` sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import msgspec

from orch import quoting
from orch.errors import BadRequestError
from orch_api import validation
from orch_api.auth.identity import SERVICE_ACCOUNT_PREFIX

PREFIX: Final = b"impersonate-"
_EXTRA: Final = "extra-"
_NODE_PREFIX: Final = "system:node:"


class Wanted(msgspec.Struct):
    """The identity that the headers name, as they name it."""

    user: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}

    @property
    def bare(self) -> bool:
        """Whether nothing but a name is asked for."""
        return not (self.uid or self.groups or self.extra)

    @property
    def node(self) -> str:
        """The node that the user is, "" for any other user."""
        name = self.user.removeprefix(_NODE_PREFIX) if self.user.startswith(_NODE_PREFIX) else ""
        return name if name and not validation.dns_subdomain(name) else ""

    @property
    def account(self) -> tuple[str, str] | None:
        """The namespace and name of the service account that the user is, None for any other user."""
        return account_of(self.user)


def account_of(user: str) -> tuple[str, str] | None:
    """Return the namespace and name of the service account that a user is, None for any other user."""
    if not user.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, _, name = user.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
    if validation.dns_label(namespace) or validation.dns_subdomain(name):
        return None
    return namespace, name


def wanted_of(headers: Iterable[tuple[bytes, bytes]]) -> Wanted | None:
    """Return the identity that a request's headers (in lower case) name, None when they name none.

    Of a header that counts once the first counts. An empty name is refused, where Kubernetes serves the request as its
    sender: whoever sent the header meant another. Raises BadRequestError for that, and for a name that is no text.
    """
    named = [(name, value) for name, value in headers if name.startswith(PREFIX)]
    if not named:
        return None
    wanted = Wanted()
    for name, raw in named:
        what = name[len(PREFIX) :].decode("latin-1")
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
    if not wanted.user:
        raise BadRequestError(f"requested {_written(wanted)} without impersonating a user name")
    return wanted


def _written(wanted: Wanted) -> str:
    """Return an identity as Go prints it."""
    extra = ", ".join(f"{quoting.quote(key)}:{_texts(values)}" for key, values in sorted(wanted.extra.items()))
    return (
        f"&user.DefaultInfo{{Name:{quoting.quote(wanted.user)}, UID:{quoting.quote(wanted.uid)}, "
        f"Groups:{_texts(wanted.groups) if wanted.groups else '[]string(nil)'}, "
        f"Extra:{f'map[string][]string{{{extra}}}' if wanted.extra else 'map[string][]string(nil)'}}}"
    )


def _texts(texts: Iterable[str]) -> str:
    return f"[]string{{{', '.join(map(quoting.quote, texts))}}}"
