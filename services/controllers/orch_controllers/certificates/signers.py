"""What each of Kubernetes' own signers signs (k8s.io/kubernetes pkg/controller/certificates/signer)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from orch.objects.certificates import CertificateSigningRequest

API_CLIENT: Final = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"

NODES: Final = "system:nodes"
NODE_PREFIX: Final = "system:node:"

_ENCIPHERMENT: Final = "key encipherment"
_SIGNATURE: Final = "digital signature"
_CLIENT: Final = "client auth"
_SERVER: Final = "server auth"


class UnfitError(ValueError):
    """A request that its signer does not sign; the message says why."""


def parse(csr: CertificateSigningRequest) -> x509.CertificateSigningRequest:
    """Return the request that an object holds. Raises UnfitError."""
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(csr.spec.request, validate=True))
    except (ValueError, binascii.Error) as error:
        raise UnfitError(f"unable to parse csr {csr.metadata.name!r}: {error}") from error
    if not request.is_signature_valid:
        raise UnfitError("the signature of the request does not fit its key")
    return request


def check(csr: CertificateSigningRequest, request: x509.CertificateSigningRequest) -> None:
    """Raise UnfitError unless the signer that is named signs such a request. Other signers are none of ours."""
    _RULES[csr.spec.signer_name](request, frozenset(csr.spec.usages))


def is_ours(signer: str) -> bool:
    """Return whether a signer is one of those here."""
    return signer in _RULES


def common_name(request: x509.CertificateSigningRequest) -> str:
    """Return the request's common name, "" when it has none."""
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def alternative_names(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    """Return the names and addresses that the request is for beside its subject."""
    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _api_client(_: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    for usage in sorted(usages - {_ENCIPHERMENT, _SIGNATURE, _CLIENT}):
        raise UnfitError(f"invalid usage for client certificate: {usage}")
    if _CLIENT not in usages:
        raise UnfitError(f"missing required usage for client certificate: {_CLIENT}")


def _kubelet_client(request: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    _check_node(request)
    for kind, what in ((x509.DNSName, "DNS"), (x509.RFC822Name, "Email"), (x509.IPAddress, "IP")):
        _forbid(request, kind, what)
    _forbid(request, x509.UniformResourceIdentifier, "URI")
    _check_usages(usages, _CLIENT)


def _kubelet_serving(request: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    _check_node(request)
    names = alternative_names(request)
    if names is None or not any(isinstance(each, x509.DNSName | x509.IPAddress) for each in names):
        raise UnfitError("at least one DNS or IP subjectAltName is required")
    _forbid(request, x509.RFC822Name, "Email")
    _forbid(request, x509.UniformResourceIdentifier, "URI")
    _check_usages(usages, _SERVER)


def _check_node(request: x509.CertificateSigningRequest) -> None:
    organizations = [each.value for each in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if organizations != [NODES]:
        raise UnfitError(f"subject organization is not {NODES}")
    if not common_name(request).startswith(NODE_PREFIX):
        raise UnfitError(f"subject common name does not begin with {NODE_PREFIX}")


def _forbid(request: x509.CertificateSigningRequest, kind: type[x509.GeneralName], what: str) -> None:
    names = alternative_names(request)
    if names is not None and any(isinstance(each, kind) for each in names):
        raise UnfitError(f"{what} subjectAltNames are not allowed")


def _check_usages(usages: frozenset[str], purpose: str) -> None:
    if usages - {_ENCIPHERMENT} != frozenset({_SIGNATURE, purpose}):
        raise UnfitError(f"usages did not match [{_SIGNATURE} {_ENCIPHERMENT} {purpose}]")


_RULES: Final[Mapping[str, Callable[[x509.CertificateSigningRequest, frozenset[str]], None]]] = {
    API_CLIENT: _api_client,
    KUBELET_CLIENT: _kubelet_client,
    KUBELET_SERVING: _kubelet_serving,
}
