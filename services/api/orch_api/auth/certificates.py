"""Client certificates: whose a verified one is (k8s.io/apiserver/pkg/authentication/request/x509).

TLS has verified the chain, the time and the purpose when the connection was made. Connections last, so the time is
looked at again with every request; and where two authorities are trusted, which of them has signed.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from orch.clock import Clock, rfc3339
from orch.errors import ConfigError, UnauthorizedError
from orch_api.auth.identity import CREDENTIAL_ID, Caller

UID: Final = "1.3.6.1.4.1.57683.2"
"""The attribute of a subject that holds a user's uid."""

_KNOWN: Final = 4096
"""Certificates that need not be read again."""
_NO_END: Final = float("inf")
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

Subject = Sequence[Sequence[tuple[str, str]]]


class Authorities:
    """The certificates of a file of authorities."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._certificates = certificates

    @classmethod
    def read(cls, file: str, setting: str) -> Authorities:
        """Return the authorities of a PEM file. Raises ConfigError naming `setting`."""
        try:
            found = [x509.load_pem_x509_certificate(block) for block in _BLOCK.findall(Path(file).read_bytes())]
        except OSError as error:
            raise ConfigError(setting, str(error)) from error
        except ValueError as error:
            raise ConfigError(setting, f"{file} holds a certificate that cannot be read: {error}") from error
        if not found:
            raise ConfigError(setting, f"{file} holds no certificate in PEM")
        return cls(found)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Return whether one of them has signed the certificate itself."""
        return any(_is_issued_by(certificate, one) for one in self._certificates)


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of a client certificate. `ours`, `front_proxys`: which authorities have signed it."""

    common_name: str
    holder: Caller | None = None
    problem: str = ""
    """Why the certificate cannot say whose it is."""
    ends: float = _NO_END
    ours: bool = True
    front_proxys: bool = False

    def check_time(self, clock: Clock) -> None:
        """Raise UnauthorizedError when the certificate's time is over."""
        if clock.now().timestamp() > self.ends:
            now = rfc3339(clock.now())
            raise UnauthorizedError(f"x509: certificate has expired or is not yet valid: current time is {now}")

    def caller(self) -> Caller | None:
        """Return whose it is, None when it names nobody. Raises UnauthorizedError when it is ambiguous."""
        if self.problem:
            raise UnauthorizedError(self.problem)
        return self.holder


class CertificateReader:
    """Reads what TLS says of clients' certificates. Without front proxy there is one authority, which TLS asked."""

    def __init__(self, clients: Authorities | None = None, front_proxy: Authorities | None = None) -> None:
        self._clients = clients
        self._front_proxy = front_proxy
        self._read = lru_cache(_KNOWN)(self._of)

    def read(self, peer: Mapping[str, Any]) -> ClientCertificate:
        """Return the certificate that a connection was made with."""
        return self._read(peer.get("subject", ()), peer.get("notAfter", ""), peer.get("der", b""))

    def _of(self, subject: Subject, not_after: str, der: bytes) -> ClientCertificate:
        named: dict[str, list[str]] = {}
        for part in subject:
            for name, value in part:
                named.setdefault(name, []).append(value)
        certificate = x509.load_der_x509_certificate(der) if der and self._front_proxy is not None else None
        ours, front_proxys = True, False
        if certificate is not None and self._front_proxy is not None:
            ours = self._clients is not None and self._clients.signed(certificate)
            front_proxys = self._front_proxy.signed(certificate)
        name = named.get("commonName", [""])[-1]
        uids = named.get(UID, [])
        return ClientCertificate(
            common_name=name,
            holder=_holder(name, named.get("organizationName", ()), "".join(uids[:1]), der) if name else None,
            problem=_ambiguity(uids) if name else "",
            ends=float(ssl.cert_time_to_seconds(not_after)) if not_after else _NO_END,
            ours=ours,
            front_proxys=front_proxys,
        )


def _holder(name: str, organizations: Sequence[str], uid: str, der: bytes) -> Caller:
    credential = (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)
    return Caller(name, tuple(organizations), uid, ((CREDENTIAL_ID, credential),) if der else ()).authenticated()


def _ambiguity(uids: Sequence[str]) -> str:
    if len(uids) > 1:
        return f"expected 1 UID, but found multiple: [{' '.join(uids)}]"
    return "UID cannot be an empty string" if "" in uids else ""


def peer_of(channel: ssl.SSLObject) -> Mapping[str, Any] | None:
    """Return what is known of the other side's verified certificate, None when it has shown none."""
    said = channel.getpeercert()
    if not said:
        return None
    return {**cast("Mapping[str, Any]", said), "der": channel.getpeercert(binary_form=True) or b""}


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
