"""The image policy as its file says it: rules in order, of which the first that names an image counts."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from orch.errors import ConfigError
from orch_api.admission.configuration import Given
from orch_api.admission.images.references import Reference, pattern

PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey
Action = Literal["Allow", "Deny"]

_SECONDS: Final = 10


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key in PEM: itself, or the file that holds it."""

    pem: str = ""
    file: str = ""


class Rule(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What is asked of images. With keys, one of them must have signed the image, which is then named by its digest."""

    images: tuple[str, ...]
    action: Action = "Allow"
    require_digest: bool = False
    keys: tuple[Key, ...] = ()

    def names(self, image: Reference) -> bool:
        """Return whether the rule is about an image."""
        return any(pattern(one).fullmatch(image.name) for one in self.images)


class RegistrySettings(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """How a registry is asked for signatures."""

    ca_file: str = ""
    plain_http: bool = msgspec.field(default=False, name="plainHTTP")
    username: str = ""
    password_file: str = ""


class ImagePolicy(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The file. Images that no rule names are treated as `defaultAction` says."""

    default_action: Action = "Deny"
    rules: tuple[Rule, ...] = ()
    exempt_namespaces: tuple[str, ...] = ()
    when_unreachable: Action = "Deny"
    """What becomes of an image whose registry cannot be asked for signatures."""
    registries: dict[str, RegistrySettings] = {}
    timeout_seconds: int = _SECONDS


class Policy(msgspec.Struct, frozen=True):
    """An image policy ready for use; `keys` has those of each rule."""

    settings: ImagePolicy
    keys: tuple[tuple[PublicKey, ...], ...]


def read(given: Given) -> Policy | None:
    """Return the policy that was given, None for none. Raises ConfigError."""
    if not given.present:
        return None
    settings = given.read(ImagePolicy)
    if not 1 <= settings.timeout_seconds <= 30:
        raise given.refuse("timeoutSeconds", "must be between 1 and 30")
    keys: list[tuple[PublicKey, ...]] = []
    for index, rule in enumerate(settings.rules):
        place = f"rules[{index}]"
        if not rule.images:
            raise given.refuse(f"{place}.images", "is empty: a rule has to name images")
        if rule.action == "Deny" and (rule.keys or rule.require_digest):
            raise given.refuse(f"{place}.action", "Deny asks for neither keys nor digests")
        keys.append(tuple(_key(given, f"{place}.keys[{at}]", one) for at, one in enumerate(rule.keys)))
    return Policy(settings, tuple(keys))


def _key(given: Given, place: str, key: Key) -> PublicKey:
    if bool(key.pem) == bool(key.file):
        raise given.refuse(place, "needs either pem or file")
    try:
        content = Path(key.file).read_bytes() if key.file else key.pem.encode()
        found = load_pem_public_key(content)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise given.refuse(place, f"cannot be read as a public key: {error}") from error
    if not isinstance(found, EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey):
        raise given.refuse(place, "expected an ECDSA, Ed25519 or RSA key")
    return found


def password_of(settings: RegistrySettings) -> str:
    """Return a registry's password, read anew as it may be replaced. Raises ConfigError."""
    if not settings.password_file:
        return ""
    try:
        return Path(settings.password_file).read_text().strip()
    except OSError as error:
        raise ConfigError("passwordFile", f"cannot be read: {error}") from error
