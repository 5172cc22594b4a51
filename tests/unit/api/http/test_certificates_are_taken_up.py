"""The api follows the files of its certificate: connections that are made from then on see the new one."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from orch_api.http.server import TlsFiles
from orch_cli.pki import Authority, KeyPair, Leaf

LEAF = Leaf(name="api", common_name="api", hosts=("127.0.0.1",), server=True)


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return Authority(tmp_path, "ca").issue(LEAF)


def shown(context: ssl.SSLContext) -> bytes:
    """Return the certificate that a client of a server with this context sees."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serving = threading.Thread(target=lambda: context.wrap_socket(ours, server_side=True).close())
        serving.start()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        with client.wrap_socket(theirs) as channel:
            found = channel.getpeercert(binary_form=True)
        serving.join(10)
    assert found is not None
    return found


def made(pair: KeyPair) -> tuple[ssl.SSLContext, TlsFiles]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context, TlsFiles(context, str(pair.certificate), str(pair.key), [str(pair.authority)])


def test_a_new_certificate_is_shown(pair: KeyPair, tmp_path: Path) -> None:
    context, files = made(pair)
    before = shown(context)
    files.follow()
    assert shown(context) == before
    Authority(tmp_path, "ca", renew=True).issue(LEAF)
    files.follow()
    assert shown(context) == ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()) != before


@pytest.mark.parametrize("what", ["nothing", "damaged", "another key"])
def test_files_that_cannot_be_used_change_nothing_until_they_can(pair: KeyPair, tmp_path: Path, what: str) -> None:
    context, files = made(pair)
    before, good = shown(context), pair.certificate.read_bytes()
    other = Authority(tmp_path / "other", "ca").issue(LEAF)
    if what == "nothing":
        pair.certificate.unlink()
    else:
        pair.certificate.write_bytes(b"no certificate" if what == "damaged" else other.certificate.read_bytes())
    files.follow()
    assert shown(context) == before
    pair.certificate.write_bytes(other.certificate.read_bytes() if what == "another key" else good)
    pair.key.write_bytes(other.key.read_bytes() if what == "another key" else pair.key.read_bytes())
    files.follow()
    assert shown(context) == ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
