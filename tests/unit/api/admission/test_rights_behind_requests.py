"""Plugins that ask whether the caller may also do what is behind a request: for signers, and with owners."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orch_api.admission import UPDATE
from orch_api.admission import rights as asked_of
from orch_api.admission.certificates import CertificateApproval, CertificateSigning, CertificateSubjectRestriction
from orch_api.admission.owner_references import OwnerReferencesPermissionEnforcement
from orch_api.admission.trust_bundles import ClusterTrustBundleAttest
from orch_api.registry import REGISTRY

REQUESTS = "certificatesigningrequests.certificates.k8s.io"
SIGNER = "example.com/serving"


@pytest.fixture
def rights(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What everybody may do, as `verb resource/subresource name`."""
    granted: set[str] = set()

    async def may(_: Any, __: Any, wanted: Any) -> tuple[bool, str]:
        what = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        return f"{wanted.verb} {what} {wanted.name}" in granted, ""

    for module in (asked_of, __import__("orch_api.admission.owner_references", fromlist=["may"])):
        monkeypatch.setattr(module, "may", may)
    return granted


def signing_request(status: Any = None, signer: str = SIGNER) -> dict[str, Any]:
    return {"metadata": {"name": "r"}, "spec": {"signerName": signer}, "status": status or {}}


async def test_who_approves_may_approve_for_the_signer(ask, tell, rights):
    plugin, old = CertificateApproval(None), signing_request()
    request = ask(f"{REQUESTS}/approval", signing_request({"conditions": [{}]}), old, operation=UPDATE)
    problem = f'user not permitted to approve requests with signerName "{SIGNER}"'
    assert await tell(plugin, request) == f'{REQUESTS} "r" is forbidden: {problem}'
    rights.add(f"approve signers {SIGNER}")
    assert await tell(plugin, request) == ""


async def test_who_signs_may_sign_for_the_whole_domain(ask, tell, rights):
    plugin, old = CertificateSigning(None), signing_request({"conditions": [{"type": "Approved"}]})
    signed = signing_request({**old["status"], "certificate": "x"})
    request = ask(f"{REQUESTS}/status", signed, old, operation=UPDATE)
    assert f'not permitted to sign requests with signerName "{SIGNER}"' in await tell(plugin, request)
    assert await tell(plugin, ask(f"{REQUESTS}/status", old, old, operation=UPDATE)) == ""
    rights.add("sign signers example.com/*")
    assert await tell(plugin, request) == ""


async def test_who_has_a_signer_trusted_may_attest_for_it(ask, tell, rights):
    plugin, kind = ClusterTrustBundleAttest(None), "clustertrustbundles.certificates.k8s.io"
    bundle = {"metadata": {"name": "b"}, "spec": {"signerName": SIGNER, "trustBundle": "x"}}
    assert "user not permitted to attest for signerName" in await tell(plugin, ask(kind, bundle))
    assert await tell(plugin, ask(kind, bundle, bundle, operation=UPDATE)) == ""
    assert await tell(plugin, ask(kind, {"metadata": {"name": "b"}, "spec": {}})) == ""
    rights.add(f"attest signers {SIGNER}")
    assert await tell(plugin, ask(kind, bundle)) == ""


@pytest.mark.parametrize(
    ("organization", "signer", "refused"),
    [
        ("system:masters", "kubernetes.io/kube-apiserver-client", True),
        ("system:masters", SIGNER, False),
        ("developers", "kubernetes.io/kube-apiserver-client", False),
    ],
)
async def test_nobody_is_made_a_master_by_request(ask, tell, organization, signer, refused):
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    pem = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    document = signing_request(signer=signer)
    document["spec"]["request"] = base64.b64encode(pem).decode()
    said = await tell(CertificateSubjectRestriction(), ask(REQUESTS, document))
    told = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    assert (told in said) is refused
    assert bool(said) is refused


def owned(**owner: Any) -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", **owner}
    return {"metadata": {"name": "c", "ownerReferences": [reference]}}


async def test_owners_are_set_by_who_may_delete(ask, tell, rights):
    plugin, bare = OwnerReferencesPermissionEnforcement(None, REGISTRY), {"metadata": {"name": "c"}}
    assert await tell(plugin, ask("configmaps", owned())) == ""
    change = ask("configmaps", owned(), bare, operation=UPDATE)
    assert "cannot set an ownerRef on a resource you can't delete" in await tell(plugin, change)
    assert await tell(plugin, ask("configmaps", owned(), owned(), operation=UPDATE)) == ""
    rights.add("delete configmaps c")
    assert await tell(plugin, change) == ""


async def test_owners_are_held_back_by_who_may_set_their_finalizers(ask, tell, rights):
    plugin = OwnerReferencesPermissionEnforcement(None, REGISTRY)
    blocking = ask("configmaps", owned(blockOwnerDeletion=True))
    problem = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
    assert problem in await tell(plugin, blocking)
    rights.add("update replicasets/finalizers rs")
    assert await tell(plugin, blocking) == ""
    unknown = ask("configmaps", owned(blockOwnerDeletion=True, kind="Nothing"))
    assert "cannot find RESTMapping for APIVersion apps/v1 Kind Nothing" in await tell(plugin, unknown)
