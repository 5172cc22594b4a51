"""`orch token`: short-lived tokens with which nodes join, and the one command that a node joins with.

    orch token create [--ttl 1h]   make a token; prints the command for the node
    orch token list                which tokens there are
    orch token delete ID           forget one

A token is a Secret, as kubeadm's are. With the first one come what a node reads before it knows the cluster: the
ConfigMap cluster-info of kube-public, which anybody may read. It names the authority, which a node believes by the hash
in its command alone, and where the bus is.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from orch.clock import parse_rfc3339, rfc3339
from orch.config import parse_duration
from orch.errors import AlreadyExistsError, OrchError
from orch_cli.administrator import AdministratorApi
from orch_cli.identities import ADMIN, issue_identities
from orch_cli.layout import Layout
from orch_cli.state import load_state

_ALPHABET: Final = string.ascii_lowercase + string.digits
_TYPE: Final = "bootstrap.kubernetes.io/token"
_PREFIX: Final = "bootstrap-token-"
_JOINERS: Final = "system:bootstrappers:kubeadm:default-node-token"
_SECRETS: Final = "/api/v1/namespaces/kube-system/secrets"
_PUBLIC: Final = "/api/v1/namespaces/kube-public/configmaps"
_ROLES: Final = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public"
_READERS: Final = "kubeadm:bootstrap-signer-clusterinfo"
_INFO: Final = "cluster-info"
_TIMEOUT: Final = 10.0
_LONGEST: Final = 7 * 86400.0


class _Metadata(msgspec.Struct):
    name: str = ""


class _Secret(msgspec.Struct):
    metadata: _Metadata
    type: str = ""
    data: dict[str, str] = {}


class _Secrets(msgspec.Struct):
    items: list[_Secret] = []


class _Anything(msgspec.Struct):
    """An answer that nothing is read from."""


class Token(msgspec.Struct, frozen=True):
    """A token: its public half and its secret one."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}"


def add_tokens(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `orch token`."""
    what = command.add_subparsers(dest="what", required=True, metavar="WHAT")
    create = what.add_parser("create", help="make a token, and print the command with which a node joins")
    create.add_argument(
        "--ttl", type=_ttl, default=3600.0, metavar="DURATION", help="how long it counts, up to 168h (default: 1h)"
    )
    create.add_argument("--description", default="", metavar="TEXT", help="what it is for")
    listing = what.add_parser("list", help="say which tokens there are; secrets are not shown")
    delete = what.add_parser("delete", help="forget a token: nobody joins with it any more")
    delete.add_argument("id", metavar="ID", help="the part of the token before the dot, or the whole token")
    for one in (create, listing, delete):  # so that it may stand behind the verb, too
        one.add_argument("--state", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def tokens(parsed: argparse.Namespace, layout: Layout) -> int:
    """Do what is asked of the tokens. Raises OrchError."""
    state = load_state(layout)
    if state is None:
        raise OrchError(f"there is no cluster in {layout.root}")
    admin = issue_identities(layout.pki, []).clients[ADMIN].pair
    api = AdministratorApi(state.ports.api, admin, _TIMEOUT)
    match parsed.what:
        case "create":
            server, bus = f"https://127.0.0.1:{state.ports.api}", f"tls://127.0.0.1:{state.ports.nats}"
            authority = layout.pki / "ca.crt"
            info = _info(server, bus, authority.read_bytes())
            made = asyncio.run(_create(api, info, parsed.ttl, parsed.description))
            print(f"orch-agent join --server {server} --token {made} --ca-cert-hash {pin(authority)}")
        case "list":
            _show(asyncio.run(api.get(f"{_SECRETS}?fieldSelector=type%3D{_TYPE.replace('/', '%2F')}", _Secrets)))
        case _:
            public = parsed.id.partition(".")[0]
            if len(public) != 6 or not set(public) <= set(_ALPHABET):
                raise OrchError(f"{parsed.id!r} is no token: six lower-case letters and digits are expected")
            asyncio.run(api.delete(f"{_SECRETS}/{_PREFIX}{public}"))
            print(f"The token {public} is forgotten")
    return 0


def pin(authority: Path) -> str:
    """Return what a node pins: the hash of the authority's public key, as kubeadm writes it."""
    key = x509.load_pem_x509_certificate(authority.read_bytes()).public_key()
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


async def _create(api: AdministratorApi, info: dict[str, str], ttl: float, description: str) -> Token:
    await _publish(api, info)
    token = Token(_random(6), _random(16))
    ends = datetime.now(UTC) + timedelta(seconds=ttl)
    data = {
        "token-id": token.id,
        "token-secret": token.secret,
        "expiration": rfc3339(ends),
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": _JOINERS,
        **({"description": description} if description else {}),
    }
    secret = _document("v1", "Secret", f"{_PREFIX}{token.id}", type=_TYPE, stringData=data)
    await api.create(_SECRETS, secret, _Anything)
    return token


def _info(server: str, bus: str, authority: bytes) -> dict[str, str]:
    """Return what a node reads first: where the servers are, and whom to believe that they are these."""
    embedded = base64.b64encode(authority).decode()
    cluster = {"name": "", "cluster": {"server": server, "certificate-authority-data": embedded}}
    kubeconfig = yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": [cluster]}, sort_keys=False)
    return {"kubeconfig": kubeconfig, "nats": bus}


async def _publish(api: AdministratorApi, info: dict[str, str]) -> None:
    """Put in place what a node reads first. Where the servers are may have changed since the last time."""
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [_INFO], "verbs": ["get"]}]
    rbac = "rbac.authorization.k8s.io"
    reference = {"apiGroup": rbac, "kind": "Role", "name": _READERS}
    anybody = [{"apiGroup": rbac, "kind": "User", "name": "system:anonymous"}]
    wanted = (
        (f"{_ROLES}/roles", _document(f"{rbac}/v1", "Role", _READERS, rules=rules)),
        (
            f"{_ROLES}/rolebindings",
            _document(f"{rbac}/v1", "RoleBinding", _READERS, roleRef=reference, subjects=anybody),
        ),
    )
    for path, document in wanted:
        try:
            await api.create(path, document, _Anything)
        except AlreadyExistsError:
            continue
    try:
        await api.create(_PUBLIC, _document("v1", "ConfigMap", _INFO, data=info), _Anything)
    except AlreadyExistsError:
        await api.patch(f"{_PUBLIC}/{_INFO}", msgspec.json.encode({"data": info}))


def _document(api_version: str, kind: str, name: str, **content: Any) -> bytes:
    return msgspec.json.encode({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **content})


def _show(found: _Secrets) -> None:
    rows = [("ID", "ENDS", "DESCRIPTION")]
    for secret in found.items:
        data = {key: _text(value) for key, value in secret.data.items()}
        rows.append((data.get("token-id", "?"), _end(data), data.get("description", "")))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip())


def _end(data: Mapping[str, str]) -> str:
    ends = data.get("expiration", "")
    try:
        over = bool(ends) and parse_rfc3339(ends) <= datetime.now(UTC)
    except ValueError:
        over = True
    return f"{ends} (over)" if over else ends or "never"


def _text(encoded: str) -> str:
    """Return a value as it can be shown: what a terminal would act on is escaped."""
    text = base64.b64decode(encoded).decode(errors="replace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _ttl(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 1 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 1s and 168h")
    return seconds
