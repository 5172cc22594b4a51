"""Whose key a request on the bus names, to which an answer that holds secrets is sealed.

The certificate of whoever asks has to vouch for the key: one of the bus's authority, for that user, and for a client.
So whoever passes messages on, the bus itself included, cannot put a key of its own in place.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from prometheus_client import Counter

from orch.bus.sealing import check, verify
from orch.clock import Clock
from orch.errors import BadRequestError, ConfigError, ForbiddenError, ServiceUnavailableError
from orch_api.auth.certificates import Authorities
from orch_pb.v1.rpc_pb2 import Recipient

_REFUSED: Final = Counter("orch_api_recipients_refused", "Keys for answers with secrets that were not believed")

_KNOWN: Final = 4096
"""Statements that need not be verified again: one a process that asks."""


class Recipients:
    """Looks at the keys that requests name. Without an authority there is no bus with certificates: any key will do."""

    def __init__(self, authority_file: str, clock: Clock) -> None:
        self._file = authority_file
        self._clock = clock
        self._known: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def key_of(self, user: str, recipient: Recipient) -> bytes:
        """Return the key to which an answer for `user` is sealed. Raises BadRequestError, ForbiddenError."""
        if not recipient.key:
            raise BadRequestError("what holds secrets is answered sealed, and the request names no key for the answer")
        if not self._file:
            _check(recipient.key)
            return recipient.key
        statement = (user, recipient.SerializeToString(deterministic=True))
        ends = self._known.get(statement)
        if ends is None:
            ends = self._verified(user, recipient)
            self._known[statement] = ends
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        if self._clock.now().timestamp() > ends:
            raise self._refusal(user, "the certificate that vouches for it has expired")
        return recipient.key

    def _verified(self, user: str, recipient: Recipient) -> float:
        """Return until when a key is its user's."""
        _check(recipient.key)
        try:
            authorities = Authorities.read(self._file, "nats.ca_file")  # again: a file may be replaced
        except ConfigError as error:
            raise ServiceUnavailableError(str(error)) from error
        try:
            certificate = x509.load_der_x509_certificate(recipient.certificate)
            verify(user, recipient, certificate)
            names = [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            serves_clients = _is_for_clients(certificate)
        except ValueError as error:
            raise self._refusal(user, str(error)) from error
        if not authorities.signed(certificate):
            raise self._refusal(user, "the certificate that vouches for it is not of the bus's authority")
        if names != [user]:
            raise self._refusal(user, "the certificate that vouches for it is somebody else's")
        if not serves_clients:
            raise self._refusal(user, "the certificate that vouches for it is not for clients")
        if certificate.not_valid_before_utc > self._clock.now():
            raise self._refusal(user, "the certificate that vouches for it is not valid yet")
        return certificate.not_valid_after_utc.timestamp()

    def _refusal(self, user: str, why: str) -> ForbiddenError:
        _REFUSED.inc()
        return ForbiddenError(f"{user} is sent no secrets under this key: {why}")


def _check(key: bytes) -> None:
    try:
        check(key)
    except ValueError as error:
        raise BadRequestError(f"nothing can be sealed to the key that the request names: {error}") from error


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes
