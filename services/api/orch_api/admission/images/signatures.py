"""Signatures of images with keys, as cosign makes them.

cosign puts an artifact beside the image, under the tag `sha256-<digest>.sig`. Each of its layers is a small document
that names the image's digest; a signature over that document's bytes is in the layer's annotations.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from orch_api.admission.images.configured import PublicKey
from orch_api.admission.images.references import Reference
from orch_api.admission.images.registry import Registries, RegistryError

_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_TYPE: Final = "cosign container image signature"
_MAX_LAYERS: Final = 32


class _Layer(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""
    digest: str = ""
    annotations: dict[str, str] = {}


class _Manifest(msgspec.Struct, frozen=True):
    layers: list[_Layer] = []


class _Image(msgspec.Struct, frozen=True):
    digest: str = msgspec.field(default="", name="docker-manifest-digest")


class _Critical(msgspec.Struct, frozen=True):
    type: str = ""
    image: _Image = _Image()


class _Payload(msgspec.Struct, frozen=True):
    critical: _Critical = _Critical()


async def problem(image: Reference, keys: Sequence[PublicKey], registries: Registries) -> str:
    """Return why an image, named by its digest, does not count as signed by one of the keys; "" when it does.

    Raises RegistryError when that cannot be found out.
    """
    manifest = await registries.manifest(image, image.digest.replace(":", "-") + ".sig")
    if manifest is None:
        return "it has no signatures"
    try:
        layers = msgspec.json.decode(manifest, type=_Manifest).layers
    except msgspec.MsgspecError as error:
        raise RegistryError(f"{image.registry} answers with a manifest that cannot be read: {error}") from error
    signed = [one for one in layers if one.media_type == _PAYLOAD and one.annotations.get(_SIGNATURE)]
    for layer in signed[:_MAX_LAYERS]:
        payload = await registries.blob(image, layer.digest)
        if _is_signed(payload, layer.annotations[_SIGNATURE], keys) and _is_about(payload, image):
            return ""
    return "none of its signatures is by a key that is asked for" if signed else "it has no signatures"


def _is_about(payload: bytes, image: Reference) -> bool:
    try:
        told = msgspec.json.decode(payload, type=_Payload).critical
    except msgspec.MsgspecError:
        return False
    return told.type == _TYPE and told.image.digest == image.digest


def _is_signed(payload: bytes, signature: str, keys: Sequence[PublicKey]) -> bool:
    try:
        decoded = base64.b64decode(signature, validate=True)
    except binascii.Error:
        return False
    return any(_verifies(key, decoded, payload) for key in keys)


def _verifies(key: PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, payload, ec.ECDSA(SHA256()))
        elif isinstance(key, Ed25519PublicKey):
            key.verify(signature, payload)
        else:
            key.verify(signature, payload, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
