import argparse

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from orch.errors import ConfigError, OrchError
from orch_api.auth.keys import SigningKeys
from orch_cli.keys import add_keys, keys, read_keys
from orch_cli.layout import Layout
from orch_cli.pki import signing_key

PAYLOAD = b'{"iss":"me"}'


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path)
    signing_key(found.pki)
    return found


@pytest.fixture
def run(layout):
    def command(*arguments):
        parser = argparse.ArgumentParser()
        add_keys(parser)
        return keys(parser.parse_args(arguments), layout)

    return command


@pytest.fixture
def current(layout):
    """What the api makes of the file."""
    return lambda: SigningKeys.read(layout.pki / "service-accounts.key", "key")


def test_tokens_outlive_rotations(run, current, layout):
    tokens = [current().sign(PAYLOAD)]
    for _ in range(3):
        assert run("rotate") == 0
        tokens.append(current().sign(PAYLOAD))
    assert [current().verify(token) for token in tokens] == [PAYLOAD] * 4
    assert len(current().jwks()["keys"]) == 4
    file = layout.pki / "service-accounts.key"
    assert file.read_text().count("PRIVATE KEY") == 2  # the one that signs, its beginning and its end
    assert file.stat().st_mode & 0o777 == 0o600
    assert signing_key(layout.pki) == file  # which `orch up` keeps
    assert [current().verify(token) for token in tokens] == [PAYLOAD] * 4


def test_a_key_may_be_announced_first(run, current):
    before = current()
    assert run("rotate", "--announce") == 0
    assert len(current().jwks()["keys"]) == 2
    assert before.verify(current().sign(PAYLOAD)) == PAYLOAD
    announced = current().jwks()
    with pytest.raises(OrchError, match="is announced already"):
        run("rotate", "--announce")
    assert run("rotate") == 0
    assert before.verify(current().sign(PAYLOAD)) is None
    assert {one["kid"] for one in current().jwks()["keys"]} == {one["kid"] for one in announced["keys"]}


def test_a_key_is_retired(run, current, layout, capsys):
    old = current().sign(PAYLOAD)
    run("rotate")
    signer, verifier = read_keys(layout.pki / "service-accounts.key")
    with pytest.raises(OrchError, match="lets another one do that first"):
        run("retire", "--", signer.id)  # an id may begin with "-"
    with pytest.raises(OrchError, match="no key has an id"):
        run("retire", "nonsense")
    run("list")
    assert f"{verifier.id}  verifies  signed until " in capsys.readouterr().out
    assert run("retire", "--", verifier.id[:8]) == 0
    assert current().verify(old) is None


def test_other_files_and_other_keys(tmp_path, run):
    file = tmp_path / "own.pem"
    encode = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    own = [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())]
    file.write_bytes(own[0].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    old = SigningKeys.read(file, "key").sign(PAYLOAD)
    assert run("--file", str(file), "rotate") == 0
    assert SigningKeys.read(file, "key").verify(old) == PAYLOAD
    file.write_bytes(own[1].private_bytes(*encode))
    assert run("--file", str(file), "list") == 0
    for content in ("", "nonsense"):
        file.write_text(content)
        with pytest.raises(ConfigError, match="holds no key that signs"):
            run("--file", str(file), "rotate")
    with pytest.raises(ConfigError, match="cannot be read"):
        run("--file", str(tmp_path / "none"), "list")
