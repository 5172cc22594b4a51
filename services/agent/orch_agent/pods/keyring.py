"""Credentials for registries: read from secrets, and found for an image as kubelet's keyring finds them.

Source: k8s.io/kubernetes/pkg/credentialprovider (keyring.go, config.go). A location in a secret is a host, with `*`
in its parts, an optional port and an optional path; it fits an image whose name begins with it. The most specific
locations come first, and all that fit are tried.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import itertools
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from orch.objects.cluster import Secret
from orch_agent.runtimes.protocol import Credentials

CONFIG_JSON: Final = "kubernetes.io/dockerconfigjson"
CONFIG: Final = "kubernetes.io/dockercfg"
_KEYS: Final = {CONFIG_JSON: ".dockerconfigjson", CONFIG: ".dockercfg"}
_DEFAULT_REGISTRY: Final = "index.docker.io"
_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io"})
_VERSIONS: Final = ("/v1/", "/v2/")


class KeyringError(ValueError):
    """A secret does not hold what its type promises; the message never says what it holds."""


class _Entry(msgspec.Struct):
    """One registry in a secret. `auth` is base64 of "username:password" and wins over the two."""

    username: str = ""
    password: str = ""
    auth: str = ""


class _File(msgspec.Struct):
    auths: dict[str, _Entry] = {}


class Keyring:
    """Credentials by the locations they are for."""

    def __init__(self, entries: Iterable[tuple[str, Credentials]] = ()) -> None:
        self._held: dict[str, list[Credentials]] = {}
        for location, credentials in entries:
            known = self._held.setdefault(location, [])
            if credentials not in known:
                known.append(credentials)

    def lookup(self, image: str) -> list[Credentials]:
        """Return what may be tried for an image's full name without tag and digest, the best first."""
        # In reverse order of text a longer path precedes the host that it begins with.
        found = [self._held[location] for location in sorted(self._held, reverse=True) if _fits(location, image)]
        if not found and image.partition("/")[0] in _DOCKER_HUB:
            found = [self._held.get(_DEFAULT_REGISTRY, [])]
        return list(itertools.chain.from_iterable(found))


def entries_of(secret: Secret) -> list[tuple[str, Credentials]]:
    """Return (location, credentials) of a secret's registries; nothing for another type. Raises KeyringError."""
    key = _KEYS.get(secret.type, "")
    encoded = secret.data.get(key)
    if not key or not encoded:
        return []
    try:
        content = base64.b64decode(encoded, validate=True)
        decoder = msgspec.json.decode
        entries = (
            decoder(content, type=_File).auths
            if secret.type == CONFIG_JSON
            else decoder(content, type=dict[str, _Entry])
        )
    except (binascii.Error, msgspec.DecodeError):
        # The decoder's own words may quote the secret.
        raise KeyringError(f"its {key} cannot be read") from None
    return [(_location(name), _credentials(name, entry)) for name, entry in entries.items()]


def _credentials(name: str, entry: _Entry) -> Credentials:
    if not entry.auth:
        return Credentials(username=entry.username, password=entry.password)
    problem = KeyringError(f"unable to parse auth field of {name}, must be formatted as base64(username:password)")
    try:
        padded = entry.auth.rstrip("=")
        plain = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise problem from None
    username, colon, password = plain.partition(":")
    if not colon:
        raise problem
    return Credentials(username=username, password=password)


def _location(name: str) -> str:
    """Return a location without scheme; a path that begins with the version of the registry's API is the host's."""
    try:
        parts = urlsplit(name if name.startswith(("https://", "http://")) else f"https://{name}")
    except ValueError:
        raise KeyringError(f"{name!r} is no location of a registry") from None
    path = parts.path
    if path.startswith(_VERSIONS):
        path = path[3:]
    return parts.netloc + (path if path != "/" else "")


def _fits(location: str, image: str) -> bool:
    host, _, path = location.partition("/")
    image_host, _, image_path = image.partition("/")
    name, _, port = _split_port(host)
    image_name, _, image_port = _split_port(image_host)
    parts, image_parts = name.split("."), image_name.split(".")
    return (
        port == image_port
        and len(parts) == len(image_parts)
        and image_path.startswith(path)
        and all(fnmatch.fnmatchcase(part, pattern) for part, pattern in zip(image_parts, parts, strict=True))
    )


def _split_port(host: str) -> tuple[str, str, str]:
    name, colon, port = host.rpartition(":")
    return (name, colon, port) if colon and port.isdecimal() else (host, "", "")


def merged(secrets: Mapping[str, Secret]) -> tuple[Keyring, Mapping[str, str]]:
    """Return the keyring of some secrets, and what is wrong with those that cannot be read, by their names."""
    entries: list[tuple[str, Credentials]] = []
    problems: dict[str, str] = {}
    for name, secret in secrets.items():
        try:
            entries += entries_of(secret)
        except KeyringError as error:
            problems[name] = str(error)
    return Keyring(entries), problems
