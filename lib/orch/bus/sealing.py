"""Answers that hold secrets, sealed so that only who asked can read them: the bus and its operators see noise.

Whoever asks makes an X25519 key when its process starts, keeps it in memory alone, and sends the public half with each
request, signed by the key of the certificate with which it is known on the bus. For each answer the api makes another
such key; what the two have in common gives, by HKDF-SHA256, the key and the nonce of AES-256-GCM. So what was recorded
is read neither with the certificate's key later nor with the api's, and another key put into a request is not believed.

Sealing hides an answer. That it is the api's, the bus's permissions guarantee. See docs/adr/0017.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from orch.config import NatsConfig
from orch.errors import BusError
from orch_pb.v1.rpc_pb2 import Recipient, Sealed

_LOG = logging.getLogger(__name__)

_STATEMENT: Final = b"orch: answers to this user are sealed to this key\0"
_DERIVED: Final = b"orch: sealed answer, version 1\0"
_KEY: Final = 32
_NONCE: Final = 12

_Signer = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class SealingKey:
    """One process's key, to which answers are sealed. A certificate that is renewed vouches for it anew."""

    def __init__(self, identity: NatsConfig | None = None) -> None:
        """Make a key. `identity` says whose files vouch for it; without a certificate nobody does."""
        identity = identity or NatsConfig()
        self._user = identity.user
        self._certificate = Path(identity.cert_file) if identity.cert_file else None
        self._signer = Path(identity.key_file) if identity.key_file else self._certificate
        self._private = X25519PrivateKey.generate()
        self._public = self._private.public_key().public_bytes_raw()
        self._recipient = Recipient(key=self._public)
        self._read_at = -1

    def recipient(self) -> Recipient:
        """Return what a request says of the key. Raises BusError when there is no certificate that can vouch for it."""
        if self._certificate is None or self._signer is None:
            return self._recipient
        try:
            changed = self._certificate.stat().st_mtime_ns
            if changed != self._read_at:
                self._recipient = _vouched(self._user, self._public, self._certificate, self._signer)
                self._read_at = changed
        except (OSError, ValueError) as error:
            if not self._recipient.certificate:
                raise BusError(f"{self._certificate} cannot vouch for the key of answers: {error}") from error
            _LOG.warning("%s cannot vouch for the key of answers yet: %s", self._certificate, error)
        return self._recipient

    def open(self, user: str, sealed: Sealed) -> bytes:
        """Return what was sealed for `user` to this key. Raises BusError for anything else."""
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(sealed.key))
            key, nonce = _derive(shared, sealed.key, self._public)
            return AESGCM(key).decrypt(nonce, sealed.content, user.encode())
        except (ValueError, InvalidTag) as error:
            raise BusError("the api's answer is not sealed to the key that the request named") from error


def seal(content: bytes, user: str, recipient: bytes) -> Sealed:
    """Return `content` so that only the holder of the key `recipient` reads it. Raises ValueError for a bad key."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    key, nonce = _derive(shared, public, recipient)
    return Sealed(key=public, content=AESGCM(key).encrypt(nonce, content, user.encode()))


def check(recipient: bytes) -> None:
    """Raise ValueError for a key that nothing can be sealed to: one of the wrong length, or of low order."""
    X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(recipient))


def verify(user: str, recipient: Recipient, certificate: x509.Certificate) -> None:
    """Check that the holder of a certificate says that the key is his. Raises ValueError when he does not."""
    key, said = certificate.public_key(), _statement(user, recipient.key)
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(recipient.signature, said, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(recipient.signature, said)
            case rsa.RSAPublicKey():
                key.verify(recipient.signature, said, padding.PKCS1v15(), hashes.SHA256())
            case _:
                raise ValueError("the certificate has a key that signs nothing here")
    except InvalidSignature as error:
        raise ValueError("the holder of the certificate has not signed the key") from error


def _vouched(user: str, public: bytes, certificate: Path, signer: Path) -> Recipient:
    """Return a key with its owner's word for it. Raises OSError, and ValueError for files that do not fit together."""
    shown = x509.load_pem_x509_certificate(certificate.read_bytes())
    private = load_pem_private_key(signer.read_bytes(), password=None)
    if not isinstance(private, _Signer):
        raise ValueError(f"{signer} holds a key that signs nothing here")  # noqa: TRY004 - the file's content is wrong
    if private.public_key() != shown.public_key():
        raise ValueError(f"{signer} is not the certificate's key")
    signature = _signed(private, _statement(user, public))
    return Recipient(key=public, certificate=shown.public_bytes(Encoding.DER), signature=signature)


def _signed(private: _Signer, statement: bytes) -> bytes:
    match private:
        case ec.EllipticCurvePrivateKey():
            return private.sign(statement, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey():
            return private.sign(statement)
        case _:
            return private.sign(statement, padding.PKCS1v15(), hashes.SHA256())


def _statement(user: str, key: bytes) -> bytes:
    return _STATEMENT + key + user.encode()


def _derive(shared: bytes, ephemeral: bytes, recipient: bytes) -> tuple[bytes, bytes]:
    """Return key and nonce. Both are of one answer alone, as its ephemeral key is."""
    derived = HKDF(hashes.SHA256(), _KEY + _NONCE, salt=None, info=_DERIVED + ephemeral + recipient).derive(shared)
    return derived[:_KEY], derived[_KEY:]
