import asyncio
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orch.clock import ManualClock
from orch.errors import ConfigError
from orch_api.auth.keys import KeyFile, SigningKeys

PAYLOAD = b'{"iss":"me"}'


def private_pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
    ],
)
def test_others_verify_by_the_published_key(tmp_path, key, algorithm):
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(key))
    keys = SigningKeys.read(file, "key")
    token = keys.sign(PAYLOAD)
    (published,) = keys.jwks()["keys"]
    assert (published["alg"], published["use"]) == (algorithm, "sig")
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": published["kid"]}
    assert jwt.decode(token, jwt.PyJWK(json.loads(json.dumps(published))), [algorithm]) == {"iss": "me"}
    assert keys.verify(token) == PAYLOAD


def test_old_keys_verify_and_the_first_private_one_signs(tmp_path):
    old, older, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    file = tmp_path / "keys.pem"
    file.write_bytes(public_pem(older) + private_pem(new) + b"\n" + private_pem(old))
    keys = SigningKeys.read(file, "key")
    assert [keys.verify(SigningKeys(one).sign(PAYLOAD)) for one in (old, older, new)] == [PAYLOAD] * 3
    assert SigningKeys(new).verify(keys.sign(PAYLOAD)) == PAYLOAD
    assert keys.verify(SigningKeys.generate().sign(PAYLOAD)) is None
    assert len(keys.jwks()["keys"]) == 3


def test_a_public_key_is_no_shared_secret():
    keys = SigningKeys.generate()
    (published,) = keys.jwks()["keys"]
    forged = jwt.encode({"iss": "me"}, "x" * 32, "HS256", {"kid": published["kid"]})
    assert keys.verify(forged) is None
    assert keys.verify(jwt.encode({"iss": "me"}, "", "none", {"kid": published["kid"]})) is None
    assert keys.verify("nonsense") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "holds no private key in PEM"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "holds no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a key that cannot be read"),
        (private_pem(ed25519.Ed25519PrivateKey.generate()), "only RSA keys and keys on elliptic curves can sign"),
        (private_pem(ec.generate_private_key(ec.SECP224R1())), "the curve secp224r1 cannot sign tokens"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path, content, problem):
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        SigningKeys.read(file, "service_account_key_file")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"^service_account_key_file: "):
        SigningKeys.read(tmp_path / "none", "service_account_key_file")


async def test_a_file_that_changes_is_read_again(tmp_path):
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    file, clock = tmp_path / "keys.pem", ManualClock()
    file.write_bytes(private_pem(old))
    keys = KeyFile(file, "key", clock)
    before = keys.current.sign(PAYLOAD)
    running = asyncio.create_task(keys.run())
    try:
        file.write_bytes(b"# rotated\n" + private_pem(new) + public_pem(old))
        assert not keys.look()  # it was looked at a moment ago
        await clock.advance(1)
        assert not keys.current.knows(SigningKeys(new).sign(PAYLOAD))
        assert keys.look()  # which a token of an unknown key is a reason for
        assert SigningKeys(new).verify(keys.current.sign(PAYLOAD)) == PAYLOAD
        assert keys.current.verify(before) == PAYLOAD

        file.write_text("nonsense")
        await clock.advance(5)
        assert keys.current.verify(before) == PAYLOAD

        file.write_bytes(private_pem(new) + b"\n\n")
        await clock.advance(5)
        assert keys.current.verify(before) is None
        file.unlink()
        await clock.advance(5)
        assert keys.current.verify(SigningKeys(new).sign(PAYLOAD)) == PAYLOAD
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
