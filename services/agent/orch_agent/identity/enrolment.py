"""How a machine becomes a node: it learns to know the cluster, gets an identity, and is given its place.

    1. It reads cluster-info, which anybody may, from a server that it does not know yet, and believes nothing of it but
       an authority whose public key has the hash that it was told.
    2. It trusts that authority from now on, shows its token, and asks for a client certificate.
    3. With the certificate it registers its Node, with the public half of a key for the bus. The api sees to it that
       the bus knows the key for as long as there is the Node; the range of the pods' addresses comes with it.

Everything blocks; it happens before the agent runs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import socket
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orch.bus.node_users import ANNOTATION
from orch.bus.permissions import NODE_PREFIX
from orch.bus.user_keys import decode_seed, encode_public, encode_seed
from orch.config import NatsConfig
from orch.errors import AlreadyExistsError, ConfigError, OrchError, UnavailableError
from orch_agent.identity.api import HttpsApi, connect, connect_unverified
from orch_agent.identity.certificate import obtain, write_private

_INFO: Final = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
_NODES: Final = "/api/v1/nodes"
_PIN: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TOKEN: Final = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_PATIENCE: Final = 20.0
_PAUSE: Final = 0.1


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What the command says with which a node joins."""

    server: str
    token: str
    pin: str

    def check(self) -> None:
        """Raise ConfigError for what cannot be right."""
        if not _TOKEN.fullmatch(self.token):
            raise ConfigError("--token", "expected six and sixteen lower-case letters and digits with a dot between")
        if not _PIN.fullmatch(self.pin):
            raise ConfigError("--ca-cert-hash", f"expected sha256: and 64 hexadecimal digits, got {self.pin!r}")


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What the node got: how it reaches the bus and as whom, its address, and the range of its pods."""

    nats: NatsConfig
    address: str
    pod_cidr: str


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


class _Spec(msgspec.Struct, frozen=True, rename={"pod_cidr": "podCIDR"}):
    pod_cidr: str = ""


class _Node(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()


def enrol(invitation: Invitation, node: str, folder: Path) -> Enrolment:
    """Get an identity for `node` and put its files into `folder`. Raises OrchError; it can be tried again."""
    invitation.check()
    if not _NAME.fullmatch(node):
        raise ConfigError("--node-name", f"{node!r} is no name: lower-case letters, digits, '-' and '.' are expected")
    stranger = connect_unverified(invitation.server)
    authority = trusted_authority(stranger.get(_INFO, _ConfigMap).data, invitation.pin)
    # Once more, now that it is known who answers; still as anybody, who alone is sure to be permitted.
    bus = connect(invitation.server, authority).get(_INFO, _ConfigMap).data.get("nats", "")
    if not bus.startswith("tls://"):
        raise OrchError("cluster-info does not say where the bus is; `orch token create` writes it")
    write_private(folder / "ca.crt", authority.encode())
    certificate = folder / "node.pem"
    guest = connect(invitation.server, authority, token=invitation.token)
    obtain(guest, node, certificate)
    seed = folder / "node.nkey"
    key = _bus_key(seed)
    known = connect(invitation.server, authority, certificate=certificate)
    pod_cidr = _register(known, node, key)
    nats = NatsConfig(
        servers=(bus,),
        ca_file=str(folder / "ca.crt"),
        cert_file=str(certificate),
        nkey_seed_file=str(seed),
        user=f"{NODE_PREFIX}{node}",
    )
    return Enrolment(nats=nats, address=_own_address(known), pod_cidr=pod_cidr)


def trusted_authority(info: dict[str, str], pin: str) -> str:
    """Return the authority (PEM) that cluster-info names. Raises OrchError unless its key has the hash `pin`."""
    try:
        cluster: Any = yaml.safe_load(info.get("kubeconfig", ""))["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"], validate=True)
        key = x509.load_pem_x509_certificate(authority).public_key()
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise OrchError(f"cluster-info cannot be read: {error}") from error
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    found = f"sha256:{hashlib.sha256(encoded).hexdigest()}"
    if not hmac.compare_digest(found, pin):
        raise OrchError(f"the server is not the one that --ca-cert-hash names: its authority's key has {found}")
    # Only this one certificate: whatever else the file holds was not vouched for.
    only = x509.load_pem_x509_certificate(authority)
    return only.public_bytes(serialization.Encoding.PEM).decode()


def _bus_key(seed: Path) -> str:
    """Return the public half of the node's key for the bus, which is made when it is missing."""
    if not seed.exists():
        write_private(seed, f"{encode_seed(os.urandom(32))}\n".encode())
    try:
        private = Ed25519PrivateKey.from_private_bytes(decode_seed(seed.read_text().strip()))
    except ValueError as error:
        raise ConfigError(str(seed), str(error)) from error
    return encode_public(private.public_key().public_bytes_raw())


def _register(api: HttpsApi, node: str, key: str) -> str:
    """Register the Node with its key for the bus; return the range of its pods, once the controllers gave it one."""
    metadata = {"annotations": {ANNOTATION: key}}
    document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, **metadata}}
    try:
        api.create(_NODES, document, _Node)
    except AlreadyExistsError:
        api.patch(f"{_NODES}/{node}", {"metadata": metadata}, _Node)
    deadline = time.monotonic() + _PATIENCE
    while not (found := api.get(f"{_NODES}/{node}", _Node).spec.pod_cidr):
        if time.monotonic() > deadline:
            raise UnavailableError(f"node {node} was given no range of addresses for its pods in {_PATIENCE:g} s")
        time.sleep(_PAUSE)
    return found


def _own_address(api: HttpsApi) -> str:
    """Return the address of this machine that leads to the api. Nothing is sent."""
    family, kind, protocol, _, place = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0])
