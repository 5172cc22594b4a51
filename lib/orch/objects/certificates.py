"""Views of CertificateSigningRequest and ClusterTrustBundle (k8s.io/api/certificates/v1)."""

from __future__ import annotations

from orch.objects.meta import Condition, Object, View


class SigningRequestSpec(View, frozen=True):
    """What is asked for, and by whom. `request` is PEM in base64."""

    request: str = ""
    signer_name: str = ""
    expiration_seconds: int | None = None
    usages: tuple[str, ...] = ()
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}


class SigningRequestStatus(View, frozen=True):
    """What was decided, and the certificate (PEM in base64)."""

    conditions: tuple[Condition, ...] = ()
    certificate: str = ""


class CertificateSigningRequest(Object, frozen=True):
    """A request for a certificate."""

    spec: SigningRequestSpec = SigningRequestSpec()
    status: SigningRequestStatus = SigningRequestStatus()

    def decided(self, kind: str) -> Condition | None:
        """Return the condition Approved, Denied or Failed."""
        return next((each for each in self.status.conditions if each.type == kind and each.status == "True"), None)


class PodCertificateStatus(View, frozen=True):
    """What was decided, the chain (PEM), and when another is to be asked for."""

    conditions: tuple[Condition, ...] = ()
    certificate_chain: str = ""
    begin_refresh_at: str = ""


class PodCertificateRequest(Object, frozen=True):
    """A request of a node for a certificate of one of its pods."""

    status: PodCertificateStatus = PodCertificateStatus()

    def decided(self, kind: str) -> Condition | None:
        """Return the condition Issued, Denied or Failed."""
        return next((each for each in self.status.conditions if each.type == kind and each.status == "True"), None)


class ClusterTrustBundleSpec(View, frozen=True):
    """Certificates of authorities in PEM, and the signer that they are for, if any."""

    signer_name: str = ""
    trust_bundle: str = ""


class ClusterTrustBundle(Object, frozen=True):
    """Certificates of authorities that pods may read."""

    spec: ClusterTrustBundleSpec = ClusterTrustBundleSpec()
