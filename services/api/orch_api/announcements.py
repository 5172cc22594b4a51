"""What the api announces of itself in ConfigMaps: whose certificates it believes, and where a cluster is to be found.

`extension-apiserver-authentication` of kube-system is what servers of aggregated APIs read to know their callers as the
api does (k8s.io/kubernetes pkg/controlplane/controller/clusterauthenticationtrust). Authorities that are in it already
stay until they expire: another api process, or the next start of this one, may believe in others.

`cluster-info` of kube-public is what a machine reads that is to join (kubeadm's). It is made once, and not changed:
whoever installed the cluster may know a better address. The controllers sign it with each bootstrap token.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from orch.clock import Clock
from orch.errors import AlreadyExistsError, ConfigError, ConflictError, NotFoundError
from orch.store.keys import ObjectKey
from orch_api.auth.identity import APISERVER
from orch_api.config import ApiConfig
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document, to_json
from orch_api.strategy import Document

log = logging.getLogger(__name__)

AUTHENTICATION: Final = ObjectKey("", "configmaps", "kube-system", "extension-apiserver-authentication")
CLUSTER_INFO: Final = ObjectKey("", "configmaps", "kube-public", "cluster-info")

_CLIENTS: Final = "client-ca-file"
_PROXIES: Final = "requestheader-client-ca-file"
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - where an api listens, not where it is


class Announcements:
    """Keeps both ConfigMaps; what no setting says is not announced."""

    def __init__(
        self, pipeline: Pipeline, cache: ObjectCache, registry: Registry, config: ApiConfig, clock: Clock
    ) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._registry = registry
        self._config = config
        self._clock = clock

    async def keep(self) -> None:
        """Make what is missing, and change what is not as it should be. Raises OrchError; it may be called again."""
        own = await asyncio.to_thread(self._own)
        if own:
            item = self._cache.get(AUTHENTICATION)
            current = None if item is None else to_document(item.json)
            present: dict[str, str] = {} if current is None else current.get("data") or {}
            wanted = {**present, **self._joined(own, present)}
            if wanted != present:
                await self._write(AUTHENTICATION, {**(current or _named(AUTHENTICATION)), "data": wanted})
        if self._cache.get(CLUSTER_INFO) is None:
            info = await asyncio.to_thread(self._info)
            if info:
                await self._write(CLUSTER_INFO, {**_named(CLUSTER_INFO), "data": info})

    async def _write(self, key: ObjectKey, document: Document) -> None:
        """Create the object, or replace the version that was looked at; who was faster will do as well."""
        resource = self._registry.stored(key.group, key.resource)
        if resource is None:
            return
        where = (APISERVER, resource, key.namespace)
        try:
            if document["metadata"].get("resourceVersion"):
                await self._pipeline.update(*where, key.name, to_json(document), WriteOptions())
            else:
                await self._pipeline.create(*where, to_json(document), WriteOptions())
        except (AlreadyExistsError, ConflictError, NotFoundError) as error:
            log.info("%s changed meanwhile, it is looked at again: %s", key, error)

    def _own(self) -> dict[str, str]:
        """Return what this process's settings say. Raises ConfigError."""
        config = self._config
        found: dict[str, str] = {}
        if config.client_ca_file:
            found[_CLIENTS] = _read("client_ca_file", config.client_ca_file)
        if config.requestheader_client_ca_file:
            found[_PROXIES] = _read("requestheader_client_ca_file", config.requestheader_client_ca_file)
            found["requestheader-allowed-names"] = _listed(config.requestheader_allowed_names)
            found["requestheader-username-headers"] = _listed(config.requestheader_username_headers)
            found["requestheader-uid-headers"] = _listed(config.requestheader_uid_headers)
            found["requestheader-group-headers"] = _listed(config.requestheader_group_headers)
            found["requestheader-extra-headers-prefix"] = _listed(config.requestheader_extra_headers_prefix)
        return found

    def _joined(self, own: dict[str, str], present: dict[str, str]) -> dict[str, str]:
        """Return what this process says, its authorities together with those that are there and have not expired."""
        bundles = {
            name: self._bundle((present.get(name, ""), own[name])) for name in (_CLIENTS, _PROXIES) if name in own
        }
        return {**own, **bundles}

    def _bundle(self, texts: Iterable[str]) -> str:
        now = self._clock.now()
        certificates = (each for text in texts for each in _certificates(text) if each.not_valid_after_utc > now)
        return "".join(dict.fromkeys(each.public_bytes(Encoding.PEM).decode() for each in certificates))

    def _info(self) -> dict[str, str]:
        """Return what a machine reads that is to join; nothing where the api knows no authority or no address to name.

        An api on loopback advertises no address, since no pod reaches it there; a machine of this host does.
        """
        config = self._config
        file = config.root_ca_file or config.nats.ca_file
        host = config.advertise_address or config.address
        if not file or host in _EVERYWHERE:
            return {}
        server = f"https://[{host}]:{config.port}" if ":" in host else f"https://{host}:{config.port}"
        authority = base64.b64encode(_read("root_ca_file", file).encode()).decode()
        cluster = {"name": "", "cluster": {"server": server, "certificate-authority-data": authority}}
        kubeconfig = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster]}
        return {"kubeconfig": yaml.safe_dump(kubeconfig, sort_keys=False), "nats": next(iter(config.nats.servers), "")}


def _named(key: ObjectKey) -> Document:
    return {"metadata": {"name": key.name, "namespace": key.namespace}}


def _read(setting: str, file: str) -> str:
    try:
        text = Path(file).read_text()
        x509.load_pem_x509_certificates(text.encode())
    except (OSError, ValueError) as error:
        raise ConfigError(setting, str(error)) from error
    return text


def _certificates(text: str) -> Sequence[x509.Certificate]:
    """Return the certificates in a text; one that somebody wrote by hand and that holds none counts for nothing."""
    try:
        return x509.load_pem_x509_certificates(text.encode()) if text else ()
    except ValueError as error:
        log.warning("%s holds what are no certificates: %s", AUTHENTICATION, error)
        return ()


def _listed(names: Sequence[str]) -> str:
    return json.dumps(list(names), separators=(",", ":"))
