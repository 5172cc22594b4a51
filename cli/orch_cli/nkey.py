"""Makes keys for NATS users: an Ed25519 key, written as NATS writes them ("SU…" the seed, "U…" the public key)."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orch.errors import ConfigError
from orch_cli.pki import write_private

_SEED: Final = 18 << 3
_USER: Final = 20 << 3


def user_key(seed_file: Path) -> str:
    """Return the public key that belongs to the seed in a file, which is made when it is missing."""
    if not seed_file.exists():
        write_private(seed_file, f"{encode_seed(os.urandom(32))}\n".encode())
    try:
        return public_key(seed_file.read_text().strip())
    except ValueError as error:
        raise ConfigError(str(seed_file), str(error)) from error


def encode_seed(seed: bytes) -> str:
    """Return a user's seed of 32 bytes as text."""
    return _encode(bytes((_SEED | _USER >> 5, (_USER & 31) << 3)) + seed)


def public_key(seed: str) -> str:
    """Return the public key of a user's seed. Raises ValueError when the text is not such a seed."""
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    if len(raw) != 36 or raw[-2:] != _checksum(raw[:-2]) or raw[:2] != bytes((_SEED | _USER >> 5, (_USER & 31) << 3)):
        raise ValueError("not the seed of a NATS user")
    key = Ed25519PrivateKey.from_private_bytes(raw[2:-2])
    return _encode(bytes((_USER,)) + key.public_key().public_bytes_raw())


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")
