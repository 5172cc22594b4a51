"""Tokens of an OpenID provider, which is served on loopback: verified by its keys as they are published now."""

import asyncio
import json

import jwt
import msgspec
import pytest
import yaml
from certificates import make
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from oidc_provider import encoded, oidc_provider

from orch.clock import ManualClock
from orch.errors import UnauthorizedError
from orch_api.auth.authenticator import Anonymity
from orch_api.auth.oidc.configuration import JwtIssuer
from orch_api.auth.oidc.following import ConfigurationFile
from orch_api.auth.oidc.tokens import IssuerTokens

KEYS = {
    "RS": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make(tmp_path_factory.mktemp("provider"))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def provider(files):
    async with oidc_provider(files) as found:
        yield found


def configuration(provider, **changes):
    return {
        "issuer": {"url": provider.url, "audiences": ["orch"], "certificateAuthority": provider.authority, **changes},
        "claimMappings": {
            "username": {"claim": "sub", "prefix": "idp:"},
            "groups": {"claim": "groups", "prefix": "idp:"},
        },
    }


@pytest.fixture
async def tokens(provider, clock):
    found = IssuerTokens(msgspec.convert(configuration(provider), JwtIssuer), clock)
    await found.provider.refresh()
    assert found.provider.problem == ""
    return found


@pytest.fixture
def claims(clock):
    now = int(clock.now().timestamp())
    return {"sub": "jane", "aud": "orch", "exp": now + 60, "iat": now, "groups": ["dev"]}


async def refusal(tokens, token):
    with pytest.raises(UnauthorizedError) as caught:
        await tokens.identify(token)
    return caught.value.message


async def test_whose_a_token_is(tokens, provider, claims):
    caller = await tokens.identify(provider.token(claims))
    assert (caller.user, caller.groups) == ("idp:jane", ("idp:dev",))
    assert (await tokens.identify(provider.token({**claims, "aud": ["other", "orch"]}))).user == "idp:jane"


@pytest.mark.parametrize(
    ("kid", "algorithm"),
    [*((("RS", one)) for one in ("RS256", "RS384", "RS512", "PS256")), *((one, one) for one in KEYS if one != "RS")],
)
async def test_algorithms(provider, clock, claims, kid, algorithm):
    provider.keys = KEYS
    tokens = IssuerTokens(msgspec.convert(configuration(provider), JwtIssuer), clock)
    await tokens.provider.refresh()
    token = provider.token(claims, kid=kid, algorithm=algorithm)
    assert (await tokens.identify(token)).user == "idp:jane"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"exp": 1}, "oidc: token is expired (Token Expiry: 1970-01-01T00:00:01+00:00)"),
        ({"exp": None}, "exp is no number"),
        ({"exp": "9999999999"}, "exp is no number"),
        ({"nbf": 9999999999}, "before the nbf (not before) time"),
        ({"aud": "other"}, 'oidc: expected audience in ["orch"] got ["other"]'),
        ({"aud": ["other", 7]}, 'oidc: expected audience in ["orch"] got ["other",7]'),
        ({"aud": None}, "oidc: expected audience in"),
        ({"iss": "https://elsewhere"}, "issued by a different provider"),
    ],
)
async def test_what_does_not_count(tokens, provider, claims, changes, problem):
    assert problem in await refusal(tokens, provider.token({**claims, **changes}))


async def test_a_token_ends_though_it_was_seen_before(tokens, provider, claims, clock):
    token = provider.token(claims)
    assert (await tokens.identify(token)).user == "idp:jane"
    await clock.advance(60)
    assert "oidc: token is expired" in await refusal(tokens, token)


class Forged:
    """Tokens that nobody has signed as they ought to be."""

    def __init__(self, provider, claims):
        self._body = {"iss": provider.url, **claims}
        self._key = provider.keys["one"]
        self._provider = provider

    def none(self):
        return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(self._body)}."

    def nothing_at_all(self):
        return f"{encoded({'kid': 'one'})}.{encoded(self._body)}."

    def public_key_as_secret(self):
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        head = f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{encoded(self._body)}"
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        return f"{head}.{encoded(algorithm.sign(head.encode(), public))}"

    def own_key_in_the_header(self):
        mine = ec.generate_private_key(ec.SECP256R1())
        own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(mine.public_key()))
        own.pop("key_ops", None)
        places = {"jwk": own, "jku": "https://127.0.0.1:1/keys", "x5u": "https://127.0.0.1:1/cert", "x5c": ["AAAA"]}
        return jwt.encode(self._body, mine, "ES256", {"kid": "one", **places})

    def path_as_key(self):
        return jwt.encode(self._body, "x" * 32, "HS256", {"kid": "../../../dev/null"})

    def other_key(self):
        return jwt.encode(self._body, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "one"})

    def other_payload(self):
        head, _, signature = self._provider.token(self._body).split(".")
        return f"{head}.{encoded({**self._body, 'sub': 'root'})}.{signature}"

    def no_signature(self):
        return self._provider.token(self._body).rpartition(".")[0] + "."

    def critical_extension(self):
        return self._provider.token(self._body, crit=["exp"], exp=1)

    def nested_to_death(self):
        return f"{encoded({'alg': 'ES256'})}.{encoded(b'[' * 100_000)}.AAAA"

    def header_nested_to_death(self):
        return f"{encoded(b'[' * 100_000)}.{encoded(self._body)}.AAAA"

    def not_base64(self):
        return f"!!.{encoded(self._body)}.??"


FORGERIES = [name for name in vars(Forged) if not name.startswith("_")]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forgeries(tokens, provider, claims, forgery):
    assert "oidc: " in await refusal(tokens, getattr(Forged(provider, claims), forgery)())


async def test_a_new_key_is_found_and_an_old_one_forgotten(tokens, provider, claims, clock):
    old = provider.token(claims)
    assert (await tokens.identify(old)).user == "idp:jane"
    provider.keys = {"two": ec.generate_private_key(ec.SECP256R1())}
    new = provider.token(claims, kid="two")
    assert "failed to verify signature" in await refusal(tokens, new)  # it was asked a moment ago
    await clock.advance(10)
    assert (await tokens.identify(new)).user == "idp:jane"
    assert provider.fetches() == 2
    assert "failed to verify signature" in await refusal(tokens, old)


async def test_bad_tokens_do_not_make_the_api_ask_again_and_again(tokens, provider, claims, clock):
    forged = Forged(provider, claims).other_key()
    for _ in range(50):
        await refusal(tokens, forged)
    assert provider.fetches() == 1
    await clock.advance(10)
    await asyncio.gather(*(refusal(tokens, forged) for _ in range(50)))
    assert provider.fetches() == 2


async def test_keys_stay_when_the_provider_is_down(tokens, provider, claims, clock):
    provider.status = 503
    await clock.advance(10)
    await tokens.provider.refresh()
    assert "answered with the status code 503" in tokens.provider.problem
    assert (await tokens.identify(provider.token(claims))).user == "idp:jane"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"issuer": "https://elsewhere"}, "issuer did not match the issuer returned by provider"),
        ({"status": 302}, "answered with the status code 302"),
        ({"published": [{"kty": "oct", "k": "AAAA", "kid": "one"}]}, "publishes no key that can verify tokens"),
        ({"published": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}, "publishes no key that can verify"),
        ({"published": [{}] * 101}, "there are 101 keys, more than 100"),
        ({"authority": ""}, "certificate verify failed"),
    ],
)
async def test_providers_that_are_not_believed(provider, clock, claims, change, problem):
    for name, value in change.items():
        setattr(provider, name, value)
    tokens = IssuerTokens(msgspec.convert(configuration(provider), JwtIssuer), clock)
    await tokens.provider.refresh()
    assert problem in tokens.provider.problem
    assert await refusal(tokens, provider.token(claims)) == "oidc: authenticator not initialized"


async def test_discovery_may_be_elsewhere(provider, clock, claims):
    changes = {"url": "https://idp.example.com", "discoveryURL": f"{provider.url}/.well-known/openid-configuration"}
    provider.issuer = "https://idp.example.com"
    tokens = IssuerTokens(msgspec.convert(configuration(provider, **changes), JwtIssuer), clock)
    await tokens.provider.refresh()
    token = provider.token({**claims, "iss": "https://idp.example.com"})
    assert (await tokens.identify(token)).user == "idp:jane"


class Followed:
    """A configuration's file that is followed."""

    def __init__(self, path, clock):
        self._path = path
        self._clock = clock

    def write(self, *jwt, **more):
        whole = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
        self._path.write_text(yaml.safe_dump({**whole, "jwt": list(jwt), **more}))

    def read(self):
        return ConfigurationFile(self._path, [], self._clock, Anonymity())


@pytest.fixture
async def eventually():
    async def wait(condition):
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.002)

    return wait


async def test_the_file_is_followed(tmp_path, provider, clock, claims, eventually, caplog):
    file = Followed(tmp_path / "authentication.yaml", clock)
    file.write()
    following = file.read()
    running = asyncio.create_task(following.run())
    token = provider.token(claims)
    try:
        assert await following.tokens.identify(token, ()) is None
        good = configuration(provider)
        file.write(good, anonymous={"enabled": False})
        await clock.advance(5)
        await eventually(lambda: not following.anonymity.allowed)
        assert (await following.tokens.identify(token, ())).user == "idp:jane"

        file.write({**good, "claimMappings": {}})
        await clock.advance(5)
        await eventually(lambda: "jwt[0].claimMappings.username: Required value" in caplog.text)
        assert (await following.tokens.identify(token, ())).user == "idp:jane"

        fetches = provider.fetches()
        file.write(good)
        await clock.advance(5)
        await eventually(lambda: following.anonymity.allowed)
        assert provider.fetches() == fetches  # what did not change is not asked again

        file.write()
        await clock.advance(5)
        assert await following.tokens.identify(token, ()) is None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_new_issuer_that_does_not_answer_changes_nothing(tmp_path, provider, clock, claims, eventually, caplog):
    file = Followed(tmp_path / "authentication.yaml", clock)
    file.write(configuration(provider))
    following = file.read()
    running = asyncio.create_task(following.run())
    try:
        await following._issuers[0].provider.ready.wait()
        file.write(configuration(provider, audiences=["other"], discoveryURL=f"{provider.url}/nowhere"))
        await clock.advance(5)
        await eventually(lambda: "/nowhere" in provider.asked)
        await clock.advance(60)
        await eventually(lambda: "jwt[0].issuer: the issuer" in caplog.text)
        assert "is not healthy" in caplog.text
        token = provider.token({**claims, "exp": claims["exp"] + 600})
        assert (await following.tokens.identify(token, ())).user == "idp:jane"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
