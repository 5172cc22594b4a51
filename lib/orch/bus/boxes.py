"""What one X25519 key alone can open: the box that answers and requests with secrets are put into.

For each box another X25519 key is made; what it has in common with the recipient's gives, by HKDF-SHA256, the key and
the nonce of AES-256-GCM. So both are of one box alone, and what was recorded stays closed once the recipient's key is
gone.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY: Final = 32
_NONCE: Final = 12


class BoxKey:
    """A key to which boxes are made, in this process's memory alone."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def open(self, ephemeral: bytes, content: bytes, label: bytes, bound: bytes = b"") -> bytes:
        """Return what is in a box. Raises ValueError for one that was not made to this key, this label and `bound`."""
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            key, nonce = _derive(shared, label + ephemeral + self.public)
            return AESGCM(key).decrypt(nonce, content, bound)
        except InvalidTag as error:
            raise ValueError("the box was made for another key or another purpose") from error


def put(content: bytes, recipient: bytes, label: bytes, bound: bytes = b"") -> tuple[bytes, bytes]:
    """Return the key that was made for the box, and the box. Raises ValueError for a recipient that is no key."""
    private = X25519PrivateKey.generate()
    ephemeral = private.public_key().public_bytes_raw()
    shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    key, nonce = _derive(shared, label + ephemeral + recipient)
    return ephemeral, AESGCM(key).encrypt(nonce, content, bound)


def check(recipient: bytes) -> None:
    """Raise ValueError for a key that no box can be made to: one of the wrong length, or of low order."""
    X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(recipient))


def _derive(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    derived = HKDF(hashes.SHA256(), _KEY + _NONCE, salt=None, info=info).derive(shared)
    return derived[:_KEY], derived[_KEY:]
