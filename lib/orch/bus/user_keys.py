"""Keys of NATS users as text: "SU…" the seed, "U…" the public key (Ed25519, in base32 with a checksum)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_SEED_PREFIX: Final = bytes((_SEED | _USER >> 5, (_USER & 31) << 3))
_PUBLIC: Final = re.compile(r"U[A-Z2-7]{55}")


def encode_seed(seed: bytes) -> str:
    """Return a user's seed of 32 bytes as text."""
    return _encode(_SEED_PREFIX + seed)


def decode_seed(text: str) -> bytes:
    """Return the 32 bytes of a user's seed. Raises ValueError when the text is not such a seed."""
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    if len(raw) != 36 or raw[-2:] != _checksum(raw[:-2]) or raw[:2] != _SEED_PREFIX:
        raise ValueError("not the seed of a NATS user")
    return raw[2:-2]


def encode_public(key: bytes) -> str:
    """Return a user's public key of 32 bytes as text."""
    return _encode(bytes((_USER,)) + key)


def is_public(text: str) -> bool:
    """Say whether a text is a user's public key, checksum included."""
    if not _PUBLIC.fullmatch(text):
        return False
    raw = base64.b32decode(text)
    return raw[:1] == bytes((_USER,)) and raw[-2:] == _checksum(raw[:-2])


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")
