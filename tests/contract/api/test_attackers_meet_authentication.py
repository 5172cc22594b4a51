"""What attackers try to be taken for somebody else: with tokens, with headers, with certificates."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from asgi import Answer, Connection
from certificates import Files, make
from client_certificates import SERVER, Authority
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oidc_provider import encoded

from orch.clock import ManualClock
from orch.errors import UnauthorizedError
from orch_api.auth.presented import Presented
from orch_api.config import ApiConfig
from orch_api.http.server import Server, listen, server
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application

ISSUER = "https://kubernetes.default.svc.cluster.local"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
POD = {"metadata": {"name": "p"}, "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}}


class Target:
    """An api in memory with a service account, a pod that runs as it, and a key that signs its tokens."""

    def __init__(self, api: InMemoryApi, app: Any, clock: ManualClock, key: ec.EllipticCurvePrivateKey) -> None:
        self.api = api
        self.app = app
        self.clock = clock
        self.key = key
        self.admin = Connection(app)
        self._anonymous = Connection(app, None)

    async def token(self, **spec: Any) -> str:
        """Return a token of the account."""
        path = "/api/v1/namespaces/default/serviceaccounts/robot/token"
        made = await self.admin("POST", path, {"spec": spec})
        assert made.status == 201, made.json
        return made.json["status"]["token"]

    async def shown(self, token: str, **headers: str) -> Answer:
        """Return what somebody is answered who shows a token."""
        return await self._anonymous("POST", WHO, {}, authorization=f"Bearer {token}", **headers)

    async def user(self, token: str) -> str:
        """Return for whom somebody is taken who shows a token, "" for nobody."""
        answer = await self.shown(token)
        if answer.status == 401:
            assert answer.json["message"] == "Unauthorized"
            assert answer.json["reason"] == "Unauthorized"
            return ""
        return answer.json["status"]["userInfo"]["username"]

    async def raw(self, *headers: tuple[bytes, bytes], peer: Any = None, url: str = WHO) -> Answer:
        """Return what is answered to headers exactly as they are sent."""
        path, _, query = url.partition("?")
        answer = Answer()
        scope = Connection(self.app, peer).scope("POST", path, {})
        scope["query_string"] = query.encode()
        scope["headers"] = [*headers, (b"content-type", b"application/json")]
        messages = [{"type": "http.request", "body": b"{}", "more_body": False}]

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            answer.status = message.get("status", answer.status)
            answer.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return answer


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "accounts.key").write_bytes(pem)
    (tmp_path / "tokens.csv").write_text("static-token,admin,1,system:masters\n")
    config = ApiConfig(service_account_key_file=str(tmp_path / "accounts.key"), token_file=str(tmp_path / "tokens.csv"))
    clock = ManualClock()
    async with in_memory_api(clock, config=config) as api:
        found = Target(api, application(api.core, config), clock, key)
        account = {"metadata": {"name": "robot"}}
        assert (await found.admin("POST", "/api/v1/namespaces/default/serviceaccounts", account)).status == 201
        assert (await found.admin("POST", "/api/v1/namespaces/default/pods", POD)).status == 201
        yield found


def body_of(token: str) -> dict[str, Any]:
    """Return what a token claims."""
    return jwt.decode(token, options={"verify_signature": False})


# Tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_of_what_is_gone(target: Target) -> None:
    pods, accounts = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/serviceaccounts"
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p"}
    of_pod, of_account = await target.token(boundObjectRef=bound), await target.token()
    assert await target.user(of_pod) == "system:serviceaccount:default:robot"
    assert (await target.admin("DELETE", f"{pods}/p?gracePeriodSeconds=0")).status == 200
    assert await target.user(of_pod) == ""
    assert (await target.admin("POST", pods, POD)).status == 201
    assert await target.user(of_pod) == ""  # it is another pod
    assert await target.user(of_account) == "system:serviceaccount:default:robot"
    assert (await target.admin("DELETE", f"{accounts}/robot")).status == 200
    assert await target.user(of_account) == ""
    assert (await target.admin("POST", accounts, {"metadata": {"name": "robot"}})).status == 201
    assert await target.user(of_account) == ""


async def test_a_token_ends_with_the_secret_or_the_node_it_is_bound_to(target: Target) -> None:
    for kind, path in (("Secret", "/api/v1/namespaces/default/secrets"), ("Node", "/api/v1/nodes")):
        document = {"metadata": {"name": "bound"}}
        assert (await target.admin("POST", path, document)).status == 201
        token = await target.token(boundObjectRef={"apiVersion": "v1", "kind": kind, "name": "bound"})
        assert await target.user(token) == "system:serviceaccount:default:robot"
        assert (await target.admin("DELETE", f"{path}/bound")).status == 200
        assert await target.user(token) == "", kind
        assert (await target.admin("POST", path, document)).status == 201
        assert await target.user(token) == "", kind  # it is another one


async def test_tokens_that_do_not_count(target: Target) -> None:
    assert await target.user(await target.token(audiences=["https://vault.example.com"])) == ""
    token = await target.token(expirationSeconds=600)
    assert await target.user(token) != ""
    for name in ("access_token", "token", "authorization"):
        answer = await target.raw(url=f"{WHO}?{name}={token}")
        assert answer.status == 403
        assert "system:anonymous" in answer.json["message"]
    await target.clock.advance(600 + 61)  # clocks may differ by a minute
    assert await target.user(token) == ""


async def test_forged_tokens(target: Target) -> None:
    good = await target.token()
    body = body_of(good)
    head, payload, signature = good.split(".")
    kid = jwt.get_unverified_header(good)["kid"]
    public = target.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    mine = ec.generate_private_key(ec.SECP256R1())
    hmac_head = f"{encoded({'alg': 'HS256', 'kid': kid})}.{payload}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(hmac_head.encode(), public)
    places = {"jku": "https://127.0.0.1:1/jwks", "x5u": "https://127.0.0.1:1/x5u"}
    forged = {
        "alg none": f"{encoded({'alg': 'none'})}.{payload}.",
        "alg None": f"{encoded({'alg': 'None'})}.{payload}.",
        "alg none with the key's id": f"{encoded({'alg': 'none', 'kid': kid})}.{payload}.{signature}",
        "no algorithm": f"{encoded({'kid': kid})}.{payload}.{signature}",
        "the public key as a secret": f"{hmac_head}.{encoded(hmac)}",
        "another key under the key's id": jwt.encode(body, mine, "ES256", {"kid": kid, **places}),
        "another key under its own id": jwt.encode(body, mine, "ES256", {"kid": "mine", **places}),
        "an id that is a path": jwt.encode(body, mine, "ES256", {"kid": "../../../../etc/passwd"}),
        "an id that is no text": f"{encoded({'alg': 'ES256', 'kid': ['a']})}.{payload}.{signature}",
        "another issuer": jwt.encode({**body, "iss": "https://evil"}, target.key, "ES256", {"kid": kid}),
        "an issuer that is no text": f"{head}.{encoded({**body, 'iss': [ISSUER]})}.{signature}",
        "another payload": f"{head}.{encoded({**body, 'sub': 'system:admin'})}.{signature}",
        "no signature": f"{head}.{payload}.",
        "a cut signature": f"{head}.{payload}.{signature[:-8]}",
        "a zero signature": f"{head}.{payload}.{encoded(bytes(64))}",
        "four parts": f"{good}.{payload}",
        "no audience that is ours": jwt.encode({**body, "aud": ["x"]}, target.key, "ES256", {"kid": kid}),
        "from the future": jwt.encode({**body, "nbf": body["nbf"] + 600}, target.key, "ES256", {"kid": kid}),
        "no end": jwt.encode({**body, "exp": None}, target.key, "ES256", {"kid": kid}),
        "nested to death": f"{encoded({'alg': 'ES256'})}.{encoded(b'[' * 50_000)}.AAAA",
        "a nested head": f"{encoded(b'[' * 50_000)}.{payload}.AAAA",
        "huge": f"{head}.{'A' * (1 << 19)}.{signature}",
        "nothing": "..",
    }
    assert {name: await target.user(token) for name, token in forged.items()} == dict.fromkeys(forged, "")
    assert await target.user(good) == "system:serviceaccount:default:robot"


async def test_ten_thousand_bad_logins(target: Target) -> None:
    good = await target.token()
    head, _, signature = good.split(".")
    authenticator = target.api.core.authenticator
    for number in range(10_000):
        token = (f"wrong-{number}", f"abcdef.{number:016d}", f"{head}.{number}.{signature}")[number % 3]
        with pytest.raises(UnauthorizedError):
            await authenticator.identify(Presented(authorization=f"Bearer {token}"))
        if number % 500 == 0:
            assert await target.user(token) == ""
    tokens = target.api.core.tokens
    assert tokens._verified.cache_info().currsize == 0  # nothing is kept of what did not count
    assert await target.user(good) == "system:serviceaccount:default:robot"


# Headers ----------------------------------------------------------------------------------------------------------


async def test_the_first_of_two_authorization_headers_counts(target: Target) -> None:
    robot, admin = (f"Bearer {one}".encode() for one in (await target.token(), "static-token"))
    answer = await target.raw((b"authorization", robot), (b"authorization", admin))
    assert answer.json["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    bad = await target.raw((b"authorization", b"Bearer wrong"), (b"authorization", admin))
    assert bad.status == 401
    none = await target.raw((b"authorization", b"Basic eDp5"), (b"authorization", admin))
    assert none.status == 403


SMUGGLED = [
    ((b"x-remote-user", b"admin"), (b"x-remote-group", b"system:masters")),
    ((b"x-remote-user", b"admin"), (b"connection", b"authorization")),
    ((b"x_remote_user", b"admin"), (b"x_remote_group", b"system:masters")),
    ((b"x-forwarded-user", b"admin"), (b"x-forwarded-client-cert", b'Subject="CN=admin,O=system:masters"')),
    ((b"ssl-client-verify", b"SUCCESS"), (b"ssl-client-subject-dn", b"CN=admin,O=system:masters")),
]


IMPERSONATED = [
    [(b"impersonate-user", b"admin"), (b"impersonate-group", b"system:masters")],
    [(b"impersonate-user", b"system:serviceaccount:default:robot"), (b"impersonate-group", b"system:masters")],
    [(b"impersonate-user", b"system:node:n")],
    [(b"connection", b"impersonate-user"), (b"impersonate-user", b"admin")],
    [(b"impersonate-user", b"system:anonymous"), (b"impersonate-uid", b"1")],
    [(b"impersonate-user", b"jane"), (b"impersonate-extra-scope", b"all")],
]


async def test_headers_say_nothing_without_a_right(target: Target) -> None:
    token = (b"authorization", f"Bearer {await target.token()}".encode())
    for headers in SMUGGLED:
        assert (await target.raw(*headers)).status == 403
        answer = await target.raw(*headers, token)
        assert answer.json["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot", headers
    for impersonated in IMPERSONATED:
        assert (await target.raw(token, *impersonated)).status == 403, impersonated


async def test_who_may_be_somebody_is_nobody_more(target: Target) -> None:
    role = {"rules": [{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["jane"]}]}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    assert (await target.admin("POST", f"{rbac}/clusterroles", {"metadata": {"name": "as-jane"}, **role})).status == 201
    binding = {
        "metadata": {"name": "as-jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "as-jane"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    }
    assert (await target.admin("POST", f"{rbac}/clusterrolebindings", binding)).status == 201
    token = (b"authorization", f"Bearer {await target.token()}".encode())
    jane = (b"impersonate-user", b"jane")
    answer = await target.raw(token, jane)
    assert answer.json["status"]["userInfo"]["username"] == "jane"
    first = await target.raw(token, jane, (b"impersonate-user", b"admin"))
    assert first.status == 201, first.body
    assert first.json["status"]["userInfo"]["username"] == "jane"
    for more in (
        (b"impersonate-group", b"system:masters"),
        (b"impersonate-uid", b"0"),
        (b"impersonate-extra-example.com%2fscope", b"all"),
        (b"impersonate-user", b"joe"),
    ):
        answer = await target.raw(token, more, *(() if more[0] == b"impersonate-user" else (jane,)))
        assert answer.status == 403, more
    for alone in ((b"impersonate-group", b"dev"), (b"impersonate-uid", b"0"), (b"impersonate-extra-a", b"b")):
        assert (await target.raw(token, alone)).status == 400


# Certificates -----------------------------------------------------------------------------------------------------


class Tls:
    """The api behind TLS, which asks clients for certificates of one authority."""

    def __init__(self, app: Any, files: Files, authority: Authority) -> None:
        self._files = files
        self._listener = listen("127.0.0.1", 0)
        self._port: int = self._listener.getsockname()[1]
        self.server: Server = server(app, certificate=files.cert, key=files.key, client_ca=str(authority.file))
        self._serving = asyncio.ensure_future(self.server.serve(sockets=[self._listener]))

    async def ask(self, certificate: str, path: str = "/api/v1/namespaces", headers: str = "") -> int:
        """Return the status that somebody is answered with a certificate, 0 when there is no connection."""
        context = ssl.create_default_context(cafile=self._files.ca)
        if certificate:
            context.load_cert_chain(certificate)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=context)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n".encode())
            answer = await reader.read()
            writer.transport.abort()
        except (ssl.SSLError, ConnectionError):
            return 0
        return int(answer[9:12]) if answer else 0

    async def close(self) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        await self._serving


@pytest.fixture
async def tls(target: Target, tmp_path: Path) -> AsyncIterator[tuple[Tls, Authority]]:
    authority = Authority(tmp_path, "clients")
    found = Tls(target.app, make(tmp_path), authority)
    yield found, authority
    await found.close()


async def test_certificates(tls: tuple[Tls, Authority], tmp_path: Path) -> None:
    site, authority = tls
    stranger = Authority(tmp_path, "strangers")
    masters = ("admin", "system:masters")
    shown = {
        "good": authority.issue(*masters)[1],
        "another authority": stranger.issue(*masters)[1],
        "expired": authority.issue(*masters, lifetime=-timedelta(minutes=1))[1],
        "a server's": authority.issue(*masters, purpose=SERVER)[1],
        "a name that is a group": authority.issue("system:masters")[1],
        "a group that is nobody's": authority.issue("", "system:masters")[1],
        "none": "",
    }
    statuses = {name: await site.ask(file) for name, file in shown.items()}
    assert statuses == {
        "good": 200,
        "another authority": 0,
        "expired": 0,
        "a server's": 0,
        "a name that is a group": 403,
        "a group that is nobody's": 403,
        "none": 403,
    }
    smuggled = "X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n"
    assert await site.ask("", headers=smuggled) == 403
    assert await site.ask(shown["a name that is a group"], headers=smuggled) == 403
    lines = f"Authorization: Bearer wrong\r\n\tstatic-token\r\nX-Padding: {base64.b64encode(bytes(9)).decode()}\r\n"
    assert await site.ask("", headers=lines) in {400, 401}
