"""Which objects each node's pods need, kept in step with the cache: a question costs a few look-ups, no scan of pods.

What leads from an object to a node is Kubernetes' graph (plugin/pkg/auth/authorizer/node/graph.go): pods and what they
refer to; volumes through the claims that they are bound to, with their secrets; attachments, slices of resources and
requests for certificates through the node that they name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.objects.meta import View
from orch.store.keys import ObjectKey
from orch_api.auth.nodes.references import CLAIM, SECRET, Reference, references_of
from orch_api.storage.cache import CacheEvent, ObjectCache

log = logging.getLogger(__name__)

UNREADABLE: Final = Counter("orch_node_graph_unreadable", "Objects that could not be read and open nothing to nodes")

_STORAGE: Final = "storage.k8s.io"
_RESOURCES: Final = "resource.k8s.io"
_CERTIFICATES: Final = "certificates.k8s.io"


class _SecretRef(View, frozen=True):
    name: str = ""
    namespace: str = ""


class _VolumeSource(View, frozen=True):
    """A source of volumes, as far as it names secrets that the node needs."""

    secret_ref: _SecretRef | None = None
    node_publish_secret_ref: _SecretRef | None = None
    node_stage_secret_ref: _SecretRef | None = None
    node_expand_secret_ref: _SecretRef | None = None
    secret_name: str = ""
    secret_namespace: str | None = None

    def secrets(self, space: str) -> Iterator[tuple[str, str]]:
        """Yield namespace and name of each secret; `space` is the claim's namespace."""
        if self.secret_name:
            yield self.secret_namespace or space, self.secret_name
        for one in (
            self.secret_ref,
            self.node_publish_secret_ref,
            self.node_stage_secret_ref,
            self.node_expand_secret_ref,
        ):
            if one is not None and one.name:
                yield one.namespace or space, one.name


class _ClaimRef(View, frozen=True):
    namespace: str = ""
    name: str = ""


class _VolumeSpec(View, frozen=True):
    claim_ref: _ClaimRef | None = None
    csi: _VolumeSource | None = None
    azure_file: _VolumeSource | None = None
    cephfs: _VolumeSource | None = None
    cinder: _VolumeSource | None = None
    flex_volume: _VolumeSource | None = None
    rbd: _VolumeSource | None = None
    scale_io: _VolumeSource | None = msgspec.field(default=None, name="scaleIO")
    iscsi: _VolumeSource | None = None
    storageos: _VolumeSource | None = None

    def sources(self) -> Iterable[_VolumeSource]:
        """Return the sources that are set: one, in a valid volume."""
        everything = (self.csi, self.azure_file, self.cephfs, self.cinder, self.flex_volume, self.rbd)
        return [one for one in (*everything, self.scale_io, self.iscsi, self.storageos) if one is not None]


class _Volume(View, frozen=True):
    spec: _VolumeSpec = _VolumeSpec()


class _NamesNode(View, frozen=True):
    node_name: str | None = None


class _OfNode(View, frozen=True):
    spec: _NamesNode = _NamesNode()


class _Edges(msgspec.Struct, frozen=True, gc=False):
    """What a pod opens to its node."""

    node: str
    references: frozenset[Reference]


_volume = msgspec.json.Decoder(_Volume).decode
_of_node = msgspec.json.Decoder(_OfNode).decode


class NodeGraph:
    """Answers whether an object is related to a node."""

    def __init__(self, cache: ObjectCache) -> None:
        self._pods: dict[ObjectKey, _Edges] = {}
        self._needed: dict[str, dict[Reference, int]] = {}
        self._claims: dict[str, Reference] = {}
        self._secrets: dict[Reference, set[str]] = {}
        self._by_volume: dict[str, frozenset[Reference]] = {}
        self._named: dict[ObjectKey, str] = {}
        cache.observe("", "pods", self._pod_changed)
        cache.observe("", "persistentvolumes", self._volume_changed)
        for group, resource in (
            (_STORAGE, "volumeattachments"),
            (_RESOURCES, "resourceslices"),
            (_CERTIFICATES, "podcertificaterequests"),
        ):
            cache.observe(group, resource, self._named_changed)

    def runs(self, node: str, pod: ObjectKey) -> bool:
        """Return whether a pod is bound to the node."""
        edges = self._pods.get(pod)
        return edges is not None and edges.node == node

    def needs(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Return whether a pod of the node refers to an object; to a secret perhaps through its volume."""
        needed = self._needed.get(node)
        if needed is None:
            return False
        reference = (resource, namespace, name)
        if reference in needed:
            return True
        if resource == SECRET:
            return any(self._claims.get(volume) in needed for volume in self._secrets.get(reference, ()))
        return False

    def mounts(self, node: str, volume: str) -> bool:
        """Return whether a pod of the node refers to the claim that a volume is bound to."""
        claim = self._claims.get(volume)
        return claim is not None and claim in self._needed.get(node, {})

    def names(self, node: str, key: ObjectKey) -> bool:
        """Return whether an attachment, a slice or a request for a certificate is the node's."""
        return self._named.get(key) == node

    # Following --------------------------------------------------------------------------------------------------

    def _pod_changed(self, event: CacheEvent) -> None:
        item = event.item
        known = self._pods.get(item.key)
        if item.deleted or not item.node:
            if known is not None:
                del self._pods[item.key]
                self._close(known)
            return
        try:
            references = references_of(item.json)
        except msgspec.MsgspecError as error:
            _unreadable(event, error)
            references = frozenset[Reference]()
        if known is not None and known.node == item.node and known.references == references:
            return
        self._pods[item.key] = _Edges(item.node, references)
        needed = self._needed.setdefault(item.node, {}) if references else {}
        for reference in references:
            needed[reference] = needed.get(reference, 0) + 1
        if known is not None:
            self._close(known)

    def _close(self, edges: _Edges) -> None:
        if not edges.references:
            return
        needed = self._needed[edges.node]
        for reference in edges.references:
            needed[reference] -= 1
            if not needed[reference]:
                del needed[reference]
        if not needed:
            del self._needed[edges.node]

    def _volume_changed(self, event: CacheEvent) -> None:
        name = event.item.key.name
        self._claims.pop(name, None)
        for secret in self._by_volume.pop(name, ()):
            volumes = self._secrets[secret]
            volumes.discard(name)
            if not volumes:
                del self._secrets[secret]
        if event.item.deleted:
            return
        try:
            spec = _volume(event.item.json).spec
        except msgspec.MsgspecError as error:
            _unreadable(event, error)
            return
        claim = spec.claim_ref
        if claim is None:
            return
        self._claims[name] = (CLAIM, claim.namespace, claim.name)
        named = (one for source in spec.sources() for one in source.secrets(claim.namespace))
        secrets = self._by_volume[name] = frozenset((SECRET, space, secret) for space, secret in named)
        for secret in secrets:
            self._secrets.setdefault(secret, set()).add(name)

    def _named_changed(self, event: CacheEvent) -> None:
        node = ""
        if not event.item.deleted:
            try:
                node = _of_node(event.item.json).spec.node_name or ""
            except msgspec.MsgspecError as error:
                _unreadable(event, error)
        if node:
            self._named[event.item.key] = node
        else:
            self._named.pop(event.item.key, None)


def _unreadable(event: CacheEvent, error: Exception) -> None:
    UNREADABLE.inc()
    log.error("%s opens nothing to its node, as it cannot be read: %s", event.item.key, error)
