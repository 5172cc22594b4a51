import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orch.errors import InvalidError
from orch_api.auth.identity import Caller
from orch_api.pipeline import WriteOptions
from orch_api.storage.read import ListOptions

JO = Caller("jo", ("system:masters", "staff"), "u1", (("example.com/team", ("a", "b")),))
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
GROUP = "certificates.k8s.io"


def encoded(pem):
    return base64.b64encode(pem).decode()


def request(**spec):
    made = x509.CertificateSigningRequestBuilder().subject_name(NAME).sign(KEY, hashes.SHA256())
    body = {
        "request": encoded(made.public_bytes(serialization.Encoding.PEM)),
        "signerName": "example.com/signer",
        "usages": ["client auth"],
        **spec,
    }
    return {"metadata": {"name": "jane"}, "spec": body}


def certificate(*, authority=False):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def requests(driver):
    resource = driver.resource("certificatesigningrequests", GROUP)
    do = driver.core.pipeline

    class Requests:
        async def create(self, document, caller=JO):
            outcome = await do.create(caller, resource, "", json.dumps(document).encode(), WriteOptions())
            return json.loads(outcome.json)

        async def put(self, document, subresource):
            body = json.dumps(document).encode()
            outcome = await do.update(JO, resource, "", "jane", body, WriteOptions(), subresource=subresource)
            return json.loads(outcome.json)

        async def approve(self, document, *kinds, subresource="approval"):
            conditions = [{"type": kind, "status": "True", "reason": "Because"} for kind in kinds]
            return await self.put({**document, "status": {"conditions": conditions}}, subresource)

    return Requests()


def said(caught):
    return [f"{cause.field}: {cause.message}" for cause in caught.value.details.causes]


async def test_a_request_names_who_made_it_whatever_it_says(requests):
    forged = request(username="root", uid="0", groups=["system:masters"], extra={"a": ["b"]})
    made = await requests.create({**forged, "status": {"conditions": [{"type": "Approved", "status": "True"}]}})
    assert made["spec"]["username"] == "jo"
    assert made["spec"]["uid"] == "u1"
    assert made["spec"]["groups"] == ["system:masters", "staff"]
    assert made["spec"]["extra"] == {"example.com/team": ["a", "b"]}
    assert made["status"] == {}


async def test_the_request_stays_as_it_was_made(requests):
    made = await requests.create(request())
    changed = {**made, "spec": {**made["spec"], "signerName": "x.y/z"}, "status": {"certificate": "YQ=="}}
    kept = await requests.put({**changed, "metadata": {**made["metadata"], "labels": {"a": "b"}}}, "")
    assert kept["spec"] == made["spec"]
    assert kept["status"] == {}
    assert kept["metadata"]["labels"] == {"a": "b"}


async def test_approval_is_dated_and_stays(requests, driver, cells_of):
    made = await requests.create(request(expirationSeconds=7200))
    assert cells_of(made)["Condition"] == "Pending"
    assert cells_of(made)["RequestedDuration"] == "120m"
    approved = await requests.approve(made, "Approved")
    (condition,) = approved["status"]["conditions"]
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"] != ""
    assert cells_of(approved)["Condition"] == "Approved"
    with pytest.raises(InvalidError) as caught:
        await requests.approve(approved)
    assert said(caught) == ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"']
    with pytest.raises(InvalidError) as caught:
        await requests.approve(approved, "Approved", "Denied")
    assert said(caught) == [
        'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'
    ]


async def test_only_approval_decides_and_only_status_issues(requests, cells_of):
    made = await requests.create(request())
    with pytest.raises(InvalidError) as caught:
        await requests.approve(made, "Approved", subresource="status")
    assert said(caught) == ['status.conditions: Forbidden: updates may not add a condition of type "Approved"']
    issued = {"certificate": encoded(certificate())}
    assert "certificate" not in (await requests.put({**made, "status": issued}, "approval"))["status"]
    made = await requests.approve(made | {"metadata": {"name": "jane"}}, "Approved")
    status = {**made["status"], "certificate": encoded(b"no certificate")}
    with pytest.raises(InvalidError) as caught:
        await requests.put({**made, "status": status}, "status")
    assert said(caught) == [
        'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'
    ]
    altered = [{**made["status"]["conditions"][0], "message": "altered"}]
    done = await requests.put({**made, "status": {"conditions": altered, **issued}}, "status")
    assert done["status"]["conditions"] == made["status"]["conditions"], "a decision is not the signer's to change"
    assert cells_of(done)["Condition"] == "Approved,Issued"
    with pytest.raises(InvalidError) as caught:
        await requests.put({**done, "status": {**done["status"], "certificate": ""}}, "status")
    assert said(caught) == ["status.certificate: Forbidden: updates may not modify existing certificate content"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"usages": []}, ["usages: Required value"]),
        ({"usages": ["any", "any"]}, ['usages[1]: Duplicate value: "any"']),
        ({"signerName": "a"}, ["form 'example.com/signer-name'"]),
        ({"signerName": "a/b"}, ["should be a domain with at least two segments separated by dots"]),
        ({"signerName": "a.b/-"}, ['validating label "-": a lowercase RFC 1123 subdomain']),
        ({"signerName": "kubernetes.io/legacy-unknown"}, ["the legacy signerName is not allowed via this API version"]),
        ({"expirationSeconds": 599}, ["may not specify a duration less than 600 seconds (10 minutes)"]),
        ({"request": encoded(b"x")}, ["PEM block type must be CERTIFICATE REQUEST"]),
        ({"request": encoded(certificate())}, ["PEM block type must be CERTIFICATE REQUEST"]),
    ],
)
async def test_requests_that_cannot_be(requests, spec, expected):
    with pytest.raises(InvalidError) as caught:
        await requests.create(request(**spec))
    found = said(caught)
    assert len(found) == len(expected)
    assert all(one in problem for one, problem in zip(expected, found, strict=True)), found


async def test_the_key_of_a_request_must_have_signed_it(requests):
    pem = base64.b64decode(request()["spec"]["request"]).decode()
    lines = pem.splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[der.index(b"jane")] = ord("J")
    tampered = "\n".join((lines[0], base64.b64encode(bytes(der)).decode(), lines[-1], ""))
    with pytest.raises(InvalidError, match="the request's signature does not belong to its key"):
        await requests.create(request(request=encoded(tampered.encode())))


async def test_requests_are_selected_by_signer(requests, driver):
    await requests.create(request())
    resource = driver.resource("certificatesigningrequests", GROUP)
    found = await driver.core.reader.list_page(
        resource, "", ListOptions(field_selector="spec.signerName=example.com/signer")
    )
    assert len(found.items) == 1


@pytest.mark.parametrize(
    ("name", "spec", "problem"),
    [
        ("a", {"trustBundle": certificate(authority=True).decode()}, ""),
        ("a", {"trustBundle": certificate().decode()}, "entry 0 does not have the CA bit set"),
        ("a", {"trustBundle": ""}, "at least one trust anchor must be provided"),
        ("a", {"trustBundle": certificate(authority=True).decode() * 2}, "duplicate trust anchor (indices [0 1])"),
        (
            "a:b",
            {"trustBundle": certificate(authority=True).decode()},
            'ClusterTrustBundle without signer name must not have ":" in its name',
        ),
        (
            "a",
            {"trustBundle": certificate(authority=True).decode(), "signerName": "x.y/z"},
            "ClusterTrustBundle for signerName x.y/z must be named with prefix x.y:z:",
        ),
        ("x.y:z:a", {"trustBundle": certificate(authority=True).decode(), "signerName": "x.y/z"}, ""),
    ],
)
async def test_trust_bundles(driver, name, spec, problem):
    resource = driver.resource("clustertrustbundles", GROUP)
    body = json.dumps({"metadata": {"name": name}, "spec": spec}).encode()
    refusal = pytest.raises(InvalidError) if problem else contextlib.nullcontext()
    with refusal as caught:
        await driver.core.pipeline.create(JO, resource, "", body, WriteOptions())
    assert caught is None or any(problem in one for one in said(caught))


@pytest.fixture
def cells_of(driver):
    resource = driver.resource("certificatesigningrequests", GROUP)

    def cells(document):
        return {column.name: column.value(document, driver.clock.now()) for column in resource.columns}

    return cells
