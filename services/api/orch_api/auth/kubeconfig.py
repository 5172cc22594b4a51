"""Where a webhook of the api is, and what proves to it who asks: a file in the form of a kubeconfig.

The current context's cluster is the webhook, its user the api. Programs that print credentials are not run.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from orch import config
from orch.errors import ConfigError

NamedT = TypeVar("NamedT", "_NamedCluster", "_NamedUser", "_NamedContext")


class _Cluster(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    tls_server_name: str = ""


class _User(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    client_certificate: str = ""
    client_key: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")


class _Context(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    user: _User = _User()


class _NamedContext(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    context: _Context


class _File(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    api_version: Literal["v1"] = msgspec.field(default="v1", name="apiVersion")
    kind: Literal["Config"] = "Config"
    preferences: dict[str, Any] = {}
    clusters: tuple[_NamedCluster, ...]
    users: tuple[_NamedUser, ...] = ()
    contexts: tuple[_NamedContext, ...]
    current_context: str = ""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A server to be asked over HTTPS. `token_file` is read for each question, as tokens are renewed."""

    host: str
    port: int
    target: str
    server_name: str
    tls: ssl.SSLContext
    token: str = ""
    token_file: str = ""

    @property
    def url(self) -> str:
        """How messages name it."""
        return f"https://{self.host}:{self.port}{self.target}"

    def bearer(self) -> str:
        """Return the token that the api shows, "" when it shows none. Raises OSError."""
        return Path(self.token_file).read_text().strip() if self.token_file else self.token


def read_webhook(file: Path) -> Webhook:
    """Return the webhook that a file names. Raises ConfigError with the place in it that is wrong."""
    found = config.read(file, _File)
    context = _named(found.contexts, found.current_context, f"{file}: current-context").context
    cluster = _named(found.clusters, context.cluster, f"{file}: contexts.context.cluster").cluster
    user = _User()
    if context.user:
        user = _named(found.users, context.user, f"{file}: contexts.context.user").user
    try:
        parts = urlsplit(cluster.server)
        port = parts.port or 443
    except ValueError as error:
        raise ConfigError(f"{file}: clusters.cluster.server", str(error)) from error
    if parts.scheme != "https" or not parts.hostname:
        raise ConfigError(f"{file}: clusters.cluster.server", f"{cluster.server!r} is no HTTPS address")
    return Webhook(
        host=parts.hostname,
        port=port,
        target=f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}",
        server_name=cluster.tls_server_name or parts.hostname,
        tls=_tls(file, cluster, user),
        token=user.token,
        token_file=str(file.parent / user.token_file) if user.token_file else "",
    )


def _named(listed: tuple[NamedT, ...], name: str, place: str) -> NamedT:
    for one in listed:
        if one.name == name:
            return one
    raise ConfigError(place, f"there is no {name!r}; there are {', '.join(one.name for one in listed) or 'none'}")


def _tls(file: Path, cluster: _Cluster, user: _User) -> ssl.SSLContext:
    try:
        authority = cluster.certificate_authority
        data = _decoded(cluster.certificate_authority_data)
        context = ssl.create_default_context(
            cafile=str(file.parent / authority) if authority and not data else None, cadata=data.decode() or None
        )
        _show_certificate(context, file, user)
    except (OSError, ValueError, binascii.Error) as error:  # ssl.SSLError is an OSError
        raise ConfigError(str(file), f"holds certificates that cannot be used: {error}") from error
    return context


def _show_certificate(context: ssl.SSLContext, file: Path, user: _User) -> None:
    """Let the context prove who asks; ssl reads certificates from files alone."""
    certificate, key = _decoded(user.client_certificate_data), _decoded(user.client_key_data)
    if certificate:
        with tempfile.NamedTemporaryFile() as both:
            both.write(certificate + b"\n" + key)
            both.flush()
            context.load_cert_chain(both.name)
    elif user.client_certificate:
        context.load_cert_chain(file.parent / user.client_certificate, file.parent / user.client_key)


def _decoded(data: str) -> bytes:
    return base64.b64decode(data, validate=True)
