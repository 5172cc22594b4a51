import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from orch.clock import rfc3339
from orch_api.kinds.pod_certificates import RESOURCES

STRATEGY = RESOURCES[0].strategy
KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def signed(key=KEY):
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    return base64.b64encode(request.public_bytes(Encoding.DER)).decode()


def request(**spec):
    names = {f"{what}{part}": "x" for what in ("pod", "node", "serviceAccount") for part in ("Name", "UID")}
    body = {"signerName": "example.com/s", "stubPKCS10Request": signed(), **names, **spec}
    return {"metadata": {"name": "r", "namespace": "default"}, "spec": body}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"stubPKCS10Request": signed(ed25519.Ed25519PrivateKey.generate())}, []),
        ({"podUID": ""}, ['podUID: Invalid value: "": must not be empty']),
        ({"nodeUID": "x" * 129}, ["nodeUID: Too long: may not be more than 128 bytes"]),
        (
            {"maxExpirationSeconds": 60},
            ["maxExpirationSeconds: Invalid value: 60: must be in the range [3600, 7862400]"],
        ),
        (
            {"signerName": "kubernetes.io/s", "maxExpirationSeconds": 86401},
            ["maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"],
        ),
        (
            {"stubPKCS10Request": "YQ=="},
            [
                'stubPKCS10Request: Invalid value: "<value omitted>": must be a valid PKCS#10 certificate request',
            ],
        ),
        (
            {"stubPKCS10Request": signed(rsa.generate_private_key(65537, 2048))},
            [
                ('stubPKCS10Request: Invalid value: "2048-bit modulus": RSA keys must have modulus size 3072 or 4096'),
            ],
        ),
    ],
)
def test_requests(problems, spec, expected):
    assert problems("podcertificaterequests", request(**spec)) == [f"spec.{problem}" for problem in expected]


def test_the_request_stays(update_problems):
    (problem,) = update_problems("podcertificaterequests", request(podName="y"), request())
    assert problem.endswith(": field is immutable")


def condition(kind):
    return {"type": kind, "status": "True", "reason": "Because", "lastTransitionTime": rfc3339(BEGIN), "message": ""}


def issued(*, key=KEY, lifetime=timedelta(hours=2), **changes):
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + lifetime)
        .sign(KEY, hashes.SHA256())
    )
    return {
        "conditions": [condition("Issued")],
        "certificateChain": made.public_bytes(Encoding.PEM).decode(),
        "notBefore": rfc3339(BEGIN),
        "notAfter": rfc3339(BEGIN + lifetime),
        "beginRefreshAt": rfc3339(BEGIN + timedelta(hours=1)),
        **changes,
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (issued(), ""),
        ({"conditions": [condition("Denied")]}, ""),
        (issued(conditions=[condition("Denied")]), "non-condition status fields must be empty when denying or failing"),
        (issued(conditions=[]), "status is immutable unless transitioning to"),
        (issued(conditions=[condition("Other")]), 'Unsupported value: "Other"'),
        (issued(conditions=[condition("Issued"), condition("Failed")]), "There may be at most one condition with type"),
        (issued(certificateChain=""), "must contain at least one certificate"),
        (issued(key=ec.generate_private_key(ec.SECP256R1())), "was not issued to the requested public key"),
        (issued(lifetime=timedelta(minutes=30)), "leaf certificate lifetime must be >= 1 hour"),
        (issued(lifetime=timedelta(days=2)), "must be <= spec.maxExpirationSeconds (86400)"),
        (issued(notAfter=rfc3339(BEGIN)), "must be set to the NotAfter time encoded in the leaf certificate"),
        (issued(notBefore=None), "must be present and consistent with the issued certificate"),
        (issued(beginRefreshAt=rfc3339(BEGIN)), "must be at least 10 minutes after status.notBefore"),
    ],
)
def test_outcomes(created, status, expected):
    old = created("podcertificaterequests", request())
    found = STRATEGY.validate_status({**old, "status": status}, old)
    assert [expected in cause.message for cause in found] == ([True] if expected else [])


def test_an_outcome_stays(created, cells):
    done = {**created("podcertificaterequests", request()), "status": issued()}
    assert cells("podcertificaterequests", done)["State"] == "Issued"
    (cause,) = STRATEGY.validate_status({**done, "status": {"conditions": [condition("Failed")]}}, done)
    assert "immutable after PodCertificateRequest is issued, denied, or failed" in cause.message
