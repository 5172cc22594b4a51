"""`orch keys`: the keys that service accounts' tokens are signed with, one file of PEM blocks.

The first private key signs; all keys of the file verify. The api reads the file again by itself, so a rotation ends no
token: the old key stays to verify those that it has signed, until it is retired.

    orch keys list                which keys there are
    orch keys rotate              sign with a new key, or with one that was announced
    orch keys rotate --announce   publish a new key that does not sign yet: who verifies elsewhere learns it first
    orch keys retire ID           forget a key, and with it all tokens that it has signed
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from orch.errors import ConfigError, OrchError
from orch_cli.layout import Layout
from orch_cli.pki import write_private

_BLOCK: Final = re.compile(
    rb"(?:^#(?P<note>[^\n]*)\n)?-----BEGIN (?P<kind>[A-Z ]*)-----.*?-----END (?P=kind)-----\n?",
    re.DOTALL | re.MULTILINE,
)
_FILE: Final = "service-accounts.key"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the file: its id as tokens name it, what is noted of it, and its PEM block."""

    id: str
    private: bool
    note: str
    pem: bytes
    public_pem: bytes


def add_keys(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `orch keys`."""
    command.add_argument(
        "--file", type=Path, metavar="FILE", help=f"the file of the keys (default: pki/{_FILE} below the cluster's DIR)"
    )
    what = command.add_subparsers(dest="what", required=True, metavar="WHAT")
    listing = what.add_parser("list", help="say which keys there are, and what each does")
    rotate = what.add_parser("rotate", help="sign with another key; tokens that were signed before still count")
    rotate.add_argument("--announce", action="store_true", help="publish a new key only, and let it sign the next time")
    retire = what.add_parser("retire", help="forget a key; tokens that it has signed count no more")
    retire.add_argument(
        "id", metavar="ID", help="the key's id, or the beginning of it; `--` before one that begins with a dash"
    )
    for one in (listing, rotate, retire):  # so that these may stand behind the verb, too
        one.add_argument("--state", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        one.add_argument("--file", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def keys(parsed: argparse.Namespace, layout: Layout) -> int:
    """Do what is asked of the keys. Raises OrchError."""
    file: Path = parsed.file or layout.pki / _FILE
    known = read_keys(file)
    commands: Mapping[str, Callable[[], int]] = {
        "list": lambda: _list(known),
        "rotate": lambda: _rotate(file, known, announce=parsed.announce),
        "retire": lambda: _retire(file, known, parsed.id),
    }
    return commands[parsed.what]()


def read_keys(file: Path) -> list[Key]:
    """Return the keys of a file in order. Raises ConfigError."""
    try:
        content = file.read_bytes()
        found = [_key(one[0], (one["note"] or b"").decode().strip()) for one in _BLOCK.finditer(content)]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(str(file), f"cannot be read: {error}") from error
    if not any(one.private for one in found):
        raise ConfigError(str(file), "holds no key that signs")
    return found


def _key(block: bytes, note: str) -> Key:
    pem = block[block.index(b"-----BEGIN") :].rstrip(b"\n") + b"\n"
    private = b"PRIVATE KEY" in pem.partition(b"\n")[0]
    public = load_pem_private_key(pem, password=None).public_key() if private else load_pem_public_key(pem)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Key(id=digest, private=private, note=note, pem=pem, public_pem=public_pem)


def _list(known: Sequence[Key]) -> int:
    width = max(len(one.id) for one in known)
    signer = _signer(known)
    print(f"{'ID':<{width}}  {'DOES':<8}  NOTE")
    for one in known:
        does = "signs" if one is signer else "waits" if one.private else "verifies"
        print(f"{one.id:<{width}}  {does:<8}  {one.note}")
    return 0


def _rotate(file: Path, known: Sequence[Key], *, announce: bool) -> int:
    today = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signer = _signer(known)
    waiting = [one for one in known if one.private and one is not signer]
    if announce:
        if waiting:
            raise OrchError(f"the key {waiting[0].id} is announced already; `orch keys rotate` lets it sign")
        new = _new(f"announced {today}")
        _write(file, [signer, new, *(one for one in known if one is not signer)])
        print(f"The key {new.id} is published; {signer.id} still signs. `orch keys rotate` lets the new one sign")
        return 0
    new = waiting[0] if waiting else _new("")
    new = msgspec.structs.replace(new, note=f"signs since {today}")
    old = msgspec.structs.replace(signer, private=False, pem=signer.public_pem, note=f"signed until {today}")
    rest = [one for one in known if one is not signer and one.id != new.id]
    _write(file, [new, old, *rest])
    print(f"The key {new.id} signs from now on; tokens that {old.id} has signed still count")
    return 0


def _retire(file: Path, known: Sequence[Key], chosen: str) -> int:
    found = [one for one in known if one.id.startswith(chosen)]
    if len(found) != 1:
        raise OrchError(f"{'no key' if not found else 'more than one key'} has an id that begins with {chosen!r}")
    (gone,) = found
    if gone is _signer(known):
        raise OrchError(f"the key {gone.id} signs; `orch keys rotate` lets another one do that first")
    _write(file, [one for one in known if one is not gone])
    print(f"The key {gone.id} is forgotten; tokens that it has signed count no more")
    return 0


def _signer(known: Sequence[Key]) -> Key:
    return next(one for one in known if one.private)


def _new(note: str) -> Key:
    made = ec.generate_private_key(ec.SECP256R1())
    return _key(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), note)


def _write(file: Path, known: Sequence[Key]) -> None:
    """Put the file in place in one step: the api never reads half of it."""
    write_private(file, b"\n".join((f"# {one.note}\n".encode() if one.note else b"") + one.pem for one in known))
