import hashlib
from datetime import UTC, datetime

import pytest
from client_certificates import Authority
from cryptography.hazmat.primitives.serialization import Encoding

from orch.clock import ManualClock
from orch.errors import ConfigError, UnauthorizedError
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.certificates import Authorities, CertificateReader
from orch_api.auth.front_proxy import FrontProxy, ProxyHeaders
from orch_api.auth.identity import ANONYMOUS, Caller
from orch_api.auth.presented import Presented

NOW = datetime(2030, 1, 1, tzinfo=UTC)
JANE = {"subject": ((("organizationName", "dev"),), (("organizationName", "ops"),), (("commonName", "jane"),))}


@pytest.fixture
def clock():
    return ManualClock(NOW)


@pytest.fixture
def identify(clock):
    async def ask(peer, **parts):
        return await Authenticator(clock=clock, **parts).identify(Presented(peer))

    return ask


async def test_the_common_name_is_the_user_and_organizations_are_groups(identify):
    caller = await identify({**JANE, "der": b"certificate"})
    digest = hashlib.sha256(b"certificate").hexdigest()
    assert caller == Caller(
        "jane",
        ("dev", "ops", "system:authenticated"),
        extra=(("authentication.kubernetes.io/credential-id", (f"X509SHA256={digest}",)),),
    )


async def test_a_certificate_without_a_name_is_nobodys(identify):
    assert await identify({"subject": ((("organizationName", "system:masters"),),)}) == ANONYMOUS


async def test_a_uid_is_read_from_its_own_attribute(identify):
    uid = (("1.3.6.1.4.1.57683.2", "7"),)
    assert (await identify({"subject": (*JANE["subject"], uid)})).uid == "7"
    for uids in ((uid, uid), ((("1.3.6.1.4.1.57683.2", ""),),)):
        with pytest.raises(UnauthorizedError):
            await identify({"subject": (*JANE["subject"], *uids)})


async def test_a_certificate_ends_though_its_connection_goes_on(clock):
    authenticator = Authenticator(clock=clock)
    peer = {**JANE, "notAfter": "Jan  1 00:00:30 2030 GMT"}
    assert (await authenticator.identify(Presented(peer))).user == "jane"
    await clock.advance(31)
    with pytest.raises(UnauthorizedError) as refused:
        await authenticator.identify(Presented(peer))
    assert refused.value.message == "Unauthorized"
    assert "x509: certificate has expired or is not yet valid" in str(refused.value.__cause__)


class Proxy:
    """Two authorities: one for clients, one for authenticating proxies."""

    def __init__(self, folder):
        self.clients, self.proxies = Authority(folder, "clients"), Authority(folder, "proxies")
        self.reader = CertificateReader(
            Authorities.read(str(self.clients.file), "client_ca_file"),
            Authorities.read(str(self.proxies.file), "requestheader_client_ca_file"),
        )

    @staticmethod
    def peer(certificate):
        name = certificate.subject.rfc4514_string().removeprefix("CN=")
        return {"subject": ((("commonName", name),),), "der": certificate.public_bytes(Encoding.DER)}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    return Proxy(tmp_path_factory.mktemp("authorities"))


@pytest.fixture
def through(clock, proxy):
    """Return whom a request is from that is shown with a certificate and headers."""

    async def ask(certificate, headers, **settings):
        front = FrontProxy(ProxyHeaders(**settings))
        authenticator = Authenticator(clock=clock, certificates=proxy.reader, front_proxy=front)
        shown = [(name.lower().encode(), value.encode()) for name, value in headers]
        return await authenticator.identify(Presented(proxy.peer(certificate), shown))

    return ask


SAID = [
    ("X-Remote-User", "jane"),
    ("X-Remote-Uid", "7"),
    ("X-Remote-Group", "dev"),
    ("X-Remote-Group", "ops"),
    ("X-Remote-Extra-Example.com%2Fscope", "read"),
    ("X-Remote-Extra-Example.com%2Fscope", "write"),
]


async def test_an_authenticating_proxy_says_who_asks(proxy, through):
    certificate, _ = proxy.proxies.issue("front")
    assert await through(certificate, SAID) == Caller(
        "jane", ("dev", "ops", "system:authenticated"), "7", (("example.com/scope", ("read", "write")),)
    )


async def test_only_the_proxys_authority_makes_proxies(proxy, through):
    certificate, _ = proxy.clients.issue("front")
    assert (await through(certificate, SAID)).user == "front"
    stranger, _ = Authority(proxy.clients.file.parent, "strangers").issue("front")
    with pytest.raises(UnauthorizedError):
        await through(stranger, SAID)


async def test_a_proxys_certificate_is_no_clients(proxy, through):
    certificate, _ = proxy.proxies.issue("front")
    with pytest.raises(UnauthorizedError) as refused:
        await through(certificate, [("X-Remote-Group", "system:masters")])
    assert "x509: certificate signed by unknown authority" in str(refused.value.__cause__)


async def test_only_proxies_that_are_named_are_believed(proxy, through):
    front, _ = proxy.proxies.issue("front")
    other, _ = proxy.proxies.issue("other")
    assert (await through(front, SAID, allowed_names=("front",))).user == "jane"
    with pytest.raises(UnauthorizedError) as refused:
        await through(other, SAID, allowed_names=("front",))
    assert "x509: subject with cn=other is not in the allowed list" in str(refused.value.__cause__)


async def test_headers_may_have_other_names(proxy, through):
    front, _ = proxy.proxies.issue("front")
    assert (await through(front, [("X-User", "joe"), *SAID], users=("X-User", "X-Remote-User"))).user == "joe"


async def test_names_that_are_no_text_are_refused(clock, proxy):
    front, _ = proxy.proxies.issue("front")
    authenticator = Authenticator(clock=clock, certificates=proxy.reader, front_proxy=FrontProxy(ProxyHeaders()))
    with pytest.raises(UnauthorizedError):
        await authenticator.identify(Presented(proxy.peer(front), [(b"x-remote-user", b"j\xffne")]))


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_files_without_authorities(tmp_path, content):
    file = tmp_path / "ca.crt"
    file.write_text(content)
    with pytest.raises(ConfigError, match="client_ca_file"):
        Authorities.read(str(file), "client_ca_file")
    with pytest.raises(ConfigError, match="client_ca_file"):
        Authorities.read(str(tmp_path / "none"), "client_ca_file")
