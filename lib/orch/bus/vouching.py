"""Whose a key is that a message names: the holder of a certificate of the bus's authority says so, and signs it.

Keys to which things are sealed live in one process's memory. Who sends such a key along puts the certificate beside it
with which the bus knows him, and a signature over what the key is for, the key, and his name. So whoever passes
messages on, the bus itself included, cannot put a key of its own in place.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orch.bus import boxes
from orch.clock import Clock
from orch.config import NatsConfig
from orch.errors import BusError
from orch_pb.v1.rpc_pb2 import Recipient

_LOG = logging.getLogger(__name__)

_KNOWN: Final = 4096
"""Statements that need not be verified again: one a process."""

_Signer = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class Purpose(Enum):
    """What a key is said to be for; a statement for one is none for another."""

    ANSWERS = b"orch: answers to this user are sealed to this key\0"
    REQUESTS = b"orch: requests to this user are sealed to this key\0"


class Signatory:
    """Vouches for keys of this process by its certificate; one that is renewed vouches for them anew."""

    def __init__(self, identity: NatsConfig, purpose: Purpose) -> None:
        """Begin with the files that `identity` names; without a certificate nobody vouches for the keys."""
        self._user = identity.user
        self._purpose = purpose
        self._certificate = Path(identity.cert_file) if identity.cert_file else None
        self._signer = Path(identity.key_file) if identity.key_file else self._certificate
        self._said = Recipient()
        self._read_at = -1

    def recipient(self, public: bytes) -> Recipient:
        """Return what a message says of a key. Raises BusError when there is no certificate that can vouch for it."""
        if self._certificate is None or self._signer is None:
            return Recipient(key=public)
        try:
            changed = self._certificate.stat().st_mtime_ns
            if changed != self._read_at or self._said.key != public:
                self._said = self._vouched(public, self._certificate, self._signer)
                self._read_at = changed
        except (OSError, ValueError) as error:
            if self._said.key != public:
                raise BusError(f"{self._certificate} cannot vouch for the key: {error}") from error
            _LOG.warning("%s cannot vouch for the key yet: %s", self._certificate, error)
        return self._said

    def _vouched(self, public: bytes, certificate: Path, signer: Path) -> Recipient:
        """Return a key with its owner's word for it. Raises OSError; ValueError for files that do not fit together."""
        shown = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(signer.read_bytes(), password=None)
        if not isinstance(private, _Signer):
            raise ValueError(f"{signer} holds a key that signs nothing here")  # noqa: TRY004 - the file's content is wrong
        if private.public_key() != shown.public_key():
            raise ValueError(f"{signer} is not the certificate's key")
        signature = _signed(private, _statement(self._purpose, self._user, public))
        return Recipient(key=public, certificate=shown.public_bytes(Encoding.DER), signature=signature)


class Vouchers:
    """Looks at who vouches for a key. Without an authority there is no bus with certificates: any key will do."""

    def __init__(self, authority_file: str, purpose: Purpose, clock: Clock) -> None:
        self._file = authority_file
        self._purpose = purpose
        self._clock = clock
        self._known: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def check(self, user: str, recipient: Recipient) -> None:
        """Check that a key is this user's.

        Raises ValueError, which says why, when it is not; BusError when the authority's file cannot be read.
        """
        if not self._file:
            boxes.check(recipient.key)
            return
        statement = (user, recipient.SerializeToString(deterministic=True))
        ends = self._known.get(statement)
        if ends is None:
            ends = self._verified(user, recipient).timestamp()
            self._known[statement] = ends
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        if self._clock.now().timestamp() > ends:
            raise ValueError("the certificate that vouches for it has expired")

    def _verified(self, user: str, recipient: Recipient) -> datetime:
        """Return until when a key is its user's."""
        boxes.check(recipient.key)
        try:  # again: a file may be replaced
            authorities = x509.load_pem_x509_certificates(Path(self._file).read_bytes())
        except (OSError, ValueError) as error:
            raise BusError(f"the bus's authority cannot be read from {self._file}: {error}") from error
        certificate = x509.load_der_x509_certificate(recipient.certificate)
        _verify(certificate, recipient.signature, _statement(self._purpose, user, recipient.key))
        if not any(_is_issued_by(certificate, one) for one in authorities):
            raise ValueError("the certificate that vouches for it is not of the bus's authority")
        if [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] != [user]:
            raise ValueError("the certificate that vouches for it is somebody else's")
        if not _is_for_clients(certificate):
            raise ValueError("the certificate that vouches for it is not for clients")
        if certificate.not_valid_before_utc > self._clock.now():
            raise ValueError("the certificate that vouches for it is not valid yet")
        return certificate.not_valid_after_utc


def _statement(purpose: Purpose, user: str, key: bytes) -> bytes:
    return purpose.value + key + user.encode()


def _signed(private: _Signer, statement: bytes) -> bytes:
    match private:
        case ec.EllipticCurvePrivateKey():
            return private.sign(statement, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey():
            return private.sign(statement)
        case _:
            return private.sign(statement, padding.PKCS1v15(), hashes.SHA256())


def _verify(certificate: x509.Certificate, signature: bytes, statement: bytes) -> None:
    """Check that the holder of a certificate has signed a statement. Raises ValueError when he has not."""
    key = certificate.public_key()
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, statement)
            case rsa.RSAPublicKey():
                key.verify(signature, statement, padding.PKCS1v15(), hashes.SHA256())
            case _:
                raise ValueError("the certificate has a key that signs nothing here")
    except InvalidSignature as error:
        raise ValueError("the holder of the certificate has not signed the key") from error


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes
