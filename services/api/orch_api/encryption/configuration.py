"""The file that says what is encrypted, and with what: an EncryptionConfiguration of apiserver.config.k8s.io/v1.

Read and checked as k8s.io/apiserver reads and checks it: of a resource's providers the first writes and all read, and
of the entries that name a resource the first counts. `aescbc` and KMS v1 are refused: neither authenticates what it
seals in a way that anybody recommends, and nothing of orch was ever written with them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from orch import config
from orch.config import Duration
from orch.errors import ConfigError
from orch_api.encryption.providers import Key

_AES_LENGTHS: Final = (16, 24, 32)
_BOX_LENGTHS: Final = (32,)
_KINDS: Final = ("aesgcm", "aescbc", "secretbox", "identity", "kms")


class KeyPart(msgspec.Struct, frozen=True, kw_only=True):
    """A key: its name, and its bytes in base64."""

    name: str
    secret: str


class KeysPart(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a provider; the first writes."""

    keys: tuple[KeyPart, ...] = ()


class IdentityPart(msgspec.Struct, frozen=True):
    """Nothing is to be said of it."""


class KmsPart(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A plugin for a key management service."""

    api_version: str = "v1"
    name: str = ""
    cachesize: int | None = None
    endpoint: str = ""
    timeout: Duration = 3.0


class ProviderPart(msgspec.Struct, frozen=True, kw_only=True):
    """One provider: exactly one of these."""

    aesgcm: KeysPart | None = None
    aescbc: dict[str, Any] | None = None
    secretbox: KeysPart | None = None
    identity: IdentityPart | None = None
    kms: KmsPart | None = None


class ResourcesPart(msgspec.Struct, frozen=True, kw_only=True):
    """Some resources, and what they are stored with."""

    resources: tuple[str, ...] = ()
    providers: tuple[ProviderPart, ...] = ()


class EncryptionConfiguration(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole file."""

    api_version: Literal["apiserver.config.k8s.io/v1"]
    kind: Literal["EncryptionConfiguration"]
    resources: tuple[ResourcesPart, ...] = ()


def read_configuration(file: Path) -> EncryptionConfiguration:
    """Return what the file says. Raises ConfigError with the place in it that is wrong; no error tells a secret."""
    found = config.read(file, EncryptionConfiguration)
    for at, problem in _problems(found):
        raise ConfigError(f"{file}: {at}", problem)
    return found


def keys_of(part: KeysPart) -> list[Key]:
    """Return the keys of a provider that was checked."""
    return [Key(one.name, base64.b64decode(one.secret)) for one in part.keys]


def _problems(found: EncryptionConfiguration) -> Iterator[tuple[str, str]]:
    """Yield each place that is wrong and why."""
    if not found.resources:
        yield "resources", "at least one resources is required"
    kms_names: set[str] = set()
    for index, entry in enumerate(found.resources):
        at = f"resources[{index}]"
        if not entry.resources:
            yield f"{at}.resources", "at least one resources[].resources is required"
        yield from _resource_problems(entry.resources, at)
        if not entry.providers:
            yield f"{at}.providers", "at least one resources[].providers is required"
        for place, provider in enumerate(entry.providers):
            yield from _provider_problems(provider, f"{at}.providers[{place}]", kms_names)


def _resource_problems(resources: Sequence[str], at: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for index, name in enumerate(resources):
        place = f"{at}.resources[{index}]"
        plural, dot, group = name.partition(".")
        if name in seen:
            yield place, f"duplicate resource {name!r}"
        seen.add(name)
        if not plural or (dot and not group and plural != "*") or name == "*" or "/" in name or name != name.lower():
            yield place, f"{name!r} is no resource: write it like secrets, jobs.batch, *.apps or *.*"
        elif group == "events.k8s.io":
            yield place, f"'{name}' objects are stored using the 'events' API group. Use 'events' instead"


def _provider_problems(provider: ProviderPart, at: str, kms_names: set[str]) -> Iterator[tuple[str, str]]:
    given = [kind for kind in _KINDS if getattr(provider, kind) is not None]
    if not given:
        yield at, f"provider does not contain any of the expected providers: {', '.join(_KINDS)}"
    if len(given) > 1:
        yield at, "more than one provider specified in a single element, should split into different list elements"
    if provider.aescbc is not None:
        yield f"{at}.aescbc", "does not authenticate what it encrypts and is not supported; use aesgcm or secretbox"
    if provider.aesgcm is not None:
        yield from _key_problems(provider.aesgcm, f"{at}.aesgcm.keys", _AES_LENGTHS)
    if provider.secretbox is not None:
        yield from _key_problems(provider.secretbox, f"{at}.secretbox.keys", _BOX_LENGTHS)
    if provider.kms is not None:
        yield from _kms_problems(provider.kms, f"{at}.kms", kms_names)


def _key_problems(part: KeysPart, at: str, lengths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if not part.keys:
        yield at, "at least one keys is required"
    names: set[str] = set()
    for index, key in enumerate(part.keys):
        if not key.name:
            yield f"{at}[{index}].name", "name is a mandatory field for a key"
        if key.name in names:
            yield f"{at}[{index}].name", f"duplicate key name {key.name}"
        names.add(key.name)
        if not key.secret:
            yield f"{at}[{index}].secret", "secret is a mandatory field for a key"
            continue
        try:
            length = len(base64.b64decode(key.secret, validate=True))
        except (binascii.Error, ValueError):
            yield f"{at}[{index}].secret", "secrets must be base64 encoded"
            continue
        if length not in lengths:
            expected = " ".join(map(str, lengths))
            problem = f"secret is not of the expected length, got {length}, expected one of [{expected}]"
            yield f"{at}[{index}].secret", problem


def _kms_problems(part: KmsPart, at: str, names: set[str]) -> Iterator[tuple[str, str]]:
    if part.api_version != "v2":
        yield f"{at}.apiVersion", f"unsupported apiVersion {part.api_version} for KMS provider, only v2 is supported"
    if not part.name:
        yield f"{at}.name", "name is a mandatory field for a KMS provider"
    if ":" in part.name:
        yield f"{at}.name", f"invalid KMS provider name {part.name}, must not contain ':'"
    if part.name in names:
        yield f"{at}.name", f"duplicate KMS provider name {part.name}, names must be unique"
    names.add(part.name)
    if part.cachesize is not None:
        yield f"{at}.cachesize", "cachesize is not supported in v2"
    if part.timeout <= 0:
        yield f"{at}.timeout", "should be a positive value"
    scheme, _, path = part.endpoint.partition("://")
    if not part.endpoint:
        yield f"{at}.endpoint", "endpoint is a mandatory field for a KMS provider"
    elif scheme != "unix" or not path:
        yield f"{at}.endpoint", f'unsupported scheme "{scheme}" for KMS provider, only unix is supported'
