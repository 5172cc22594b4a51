"""`orch secrets`: the keys that Secrets are encrypted with in etcd.

They are in the api's EncryptionConfiguration, which `orch up` and `orch prepare` make. The api follows the file by
itself and writes again what other keys than the first have sealed, so a rotation is: put a new key first, wait until
the old ones seal nothing any more, drop them. What seals what is counted in etcd itself.

    orch secrets status    which keys there are, and how much each of them seals
    orch secrets rotate    encrypt everything with a new key, and drop the old ones
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from google.protobuf.message import DecodeError

from orch import config
from orch.config import EtcdConfig
from orch.errors import ConfigError, OrchError
from orch.runtime.service import connect_store
from orch.store import keys
from orch.store.protocol import Store
from orch_cli.layout import Layout
from orch_cli.pki import write_private
from orch_pb.v1.object_pb2 import StoredObject

FILE: Final = "encryption.yaml"
_SETTLE: Final = 5.0
"""Seconds for which old keys are kept in any case: by then every process of the api has read the file."""
_LOOK: Final = 0.5
_PAGE: Final = 500
_COVERS_SECRETS: Final = frozenset({"secrets", "*.", "*.*"})
_PLAIN: Final = "identity"


class _Key(msgspec.Struct, frozen=True):
    name: str
    secret: str


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[_Key, ...]


class _Provider(msgspec.Struct, frozen=True):
    aesgcm: _Keys | None = None


class _Entry(msgspec.Struct, frozen=True):
    resources: tuple[str, ...]
    providers: tuple[_Provider, ...]


class _File(msgspec.Struct, frozen=True):
    resources: tuple[_Entry, ...]


class _Place(msgspec.Struct, frozen=True):
    """Where the keys of Secrets are: the file, its content, and the number of the entry that is about Secrets."""

    file: Path
    tree: dict[str, Any]
    index: int
    entry: _Entry

    @property
    def keys(self) -> Sequence[_Key]:
        """The keys of the provider that writes. Raises OrchError when that has none in the file."""
        first = self.entry.providers[0].aesgcm if self.entry.providers else None
        if first is None or not first.keys:
            raise OrchError(f"{self.file}: the first provider of secrets is not aesgcm; its keys are rotated elsewhere")
        return first.keys

    def put(self, kept: Sequence[_Key]) -> None:
        """Write the file with these keys, in one step and with its owner: the api never meets a file it cannot read."""
        provider = self.tree["resources"][self.index]["providers"][0]
        provider["aesgcm"]["keys"] = [{"name": key.name, "secret": key.secret} for key in kept]
        owner, scratch = self.file.stat(), self.file.with_name(f"{self.file.name}.new")
        write_private(scratch, yaml.safe_dump(self.tree, sort_keys=False).encode())
        if os.geteuid() == 0:
            os.chown(scratch, owner.st_uid, owner.st_gid)
        scratch.replace(self.file)


def encryption_settings(file: Path) -> bytes:
    """Return what a cluster's file says, or that of a new one: Secrets with a key of its own; plain ones are read."""
    if file.is_file():
        return file.read_bytes()
    entry: dict[str, Any] = {
        "resources": ["secrets"],
        "providers": [{"aesgcm": {"keys": [msgspec.to_builtins(_new_key())]}}, {"identity": {}}],
    }
    content: dict[str, Any] = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [entry],
    }
    return yaml.safe_dump(content, sort_keys=False).encode()


def encryption_file(folder: Path) -> Path:
    """Return the file of a cluster whose keys lie in a folder; one that is there is kept as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / FILE
    if not file.is_file():
        write_private(file, encryption_settings(file))
    return file


def add_secrets(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `orch secrets`."""
    what = command.add_subparsers(dest="what", required=True, metavar="WHAT")
    status = what.add_parser("status", help="say which keys there are, and how much each of them seals in etcd")
    rotate = what.add_parser("rotate", help="encrypt everything with a new key, and drop the old ones")
    rotate.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="how long to wait for the api")
    for one in (status, rotate):
        one.add_argument(
            "--config", type=Path, metavar="FILE", help="the api's settings (default: those of the cluster)"
        )
        one.add_argument("--state", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def secrets(parsed: argparse.Namespace, layout: Layout) -> int:
    """Do what is asked of the keys. Raises OrchError."""
    return asyncio.run(_run(parsed, parsed.config or layout.config / "api.yaml"))


async def _run(parsed: argparse.Namespace, settings: Path) -> int:
    tree = config.read_tree(settings)
    file = tree.get("encryption_provider_config")
    if not isinstance(file, str) or not file:
        raise ConfigError(f"{settings}: encryption_provider_config", "names no file: Secrets are plain in etcd")
    place = _read(Path(file))
    store = await connect_store(config.decode(EtcdConfig, tree.get("etcd"), f"{settings}: etcd"), timeout=10)
    try:
        if parsed.what == "status":
            return _status(place, await _count(store, place.entry))
        return await _rotate(store, place, parsed.timeout)
    finally:
        await store.close()


def _read(file: Path) -> _Place:
    tree = config.read_tree(file)
    try:
        entries = msgspec.convert(tree, _File).resources
    except msgspec.ValidationError as error:
        raise ConfigError(str(file), str(error)) from error
    for index, entry in enumerate(entries):
        if _COVERS_SECRETS & set(entry.resources):
            return _Place(file, tree, index, entry)
    raise ConfigError(f"{file}: resources", "none of them is about secrets")


def _status(place: _Place, counted: Counter[str]) -> int:
    first = place.entry.providers[0].aesgcm if place.entry.providers else None
    listed = [f"aesgcm:{key.name}" for key in first.keys] if first is not None else []
    rows = [(name, "writes" if number == 0 else "reads") for number, name in enumerate(listed)]
    rows += [(name, "seals" if name != _PLAIN else "plain") for name in sorted(counted) if name not in listed]
    width = max((len(name) for name, _ in rows), default=3)
    print(f"{'KEY':<{width}}  {'DOES':<6}  OBJECTS")
    for name, does in rows:
        print(f"{name:<{width}}  {does:<6}  {counted[name]}")
    return 0


async def _rotate(store: Store, place: _Place, timeout: float) -> int:
    old = place.keys
    new = _new_key()
    place.put([new, *old])
    began = time.monotonic()
    print(f"The key {new.name} encrypts from now on; what others have encrypted is written again")
    while True:
        counted = await _count(store, place.entry)
        rest = {name: count for name, count in counted.items() if name != f"aesgcm:{new.name}"}
        waited = time.monotonic() - began
        if not rest and waited >= _SETTLE:
            break
        if waited >= timeout:
            told = ", ".join(f"{name} ({count})" for name, count in sorted(rest.items()))
            raise OrchError(
                f"not everything was written again within {timeout:g} s; all keys are kept, as these seal: {told}"
            )
        await asyncio.sleep(_LOOK)
    place.put([new])
    gone = ", ".join(key.name for key in old)
    print(f"{sum(counted.values())} objects are encrypted with {new.name}; dropped: {gone}")
    return 0


async def _count(store: Store, entry: _Entry) -> Counter[str]:
    """Return how many objects of an entry's resources each key seals."""
    counted: Counter[str] = Counter()
    for name in entry.resources:
        start, more = keys.resource_prefix(name), True
        end = keys.prefix_end(start)
        while more:
            page = await store.range(start, end, limit=_PAGE)
            for item in page.items:
                counted[_key_of(item.value)] += 1
            more = page.more
            if page.items:
                start = page.items[-1].key + b"\x00"
    return counted


def _key_of(value: bytes) -> str:
    try:
        return StoredObject.FromString(value).key_id or _PLAIN
    except DecodeError:
        return "unreadable"


def _new_key() -> _Key:
    name = f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-{os.urandom(2).hex()}"
    return _Key(name=f"key-{name}", secret=base64.b64encode(os.urandom(32)).decode())
