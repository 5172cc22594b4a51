"""The keys of NATS users in files: each is made when it is missing."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orch.bus.user_keys import decode_seed, encode_public, encode_seed
from orch.errors import ConfigError
from orch_cli.pki import write_private


def user_key(seed_file: Path) -> str:
    """Return the public key that belongs to the seed in a file, which is made when it is missing."""
    if not seed_file.exists():
        write_private(seed_file, f"{encode_seed(os.urandom(32))}\n".encode())
    try:
        return public_key(seed_file.read_text().strip())
    except ValueError as error:
        raise ConfigError(str(seed_file), str(error)) from error


def public_key(seed: str) -> str:
    """Return the public key of a user's seed. Raises ValueError when the text is not such a seed."""
    return encode_public(Ed25519PrivateKey.from_private_bytes(decode_seed(seed)).public_key().public_bytes_raw())
