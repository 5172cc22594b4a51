"""What a pod needs of other objects, read from its document (k8s.io/kubernetes/pkg/api/v1/pod's visitors)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from orch.objects.meta import View

CONFIG_MAP: Final = "configmaps"
SECRET: Final = "secrets"
CLAIM: Final = "persistentvolumeclaims"
ACCOUNT: Final = "serviceaccounts"
RESOURCE_CLAIM: Final = "resourceclaims"

MIRROR: Final = "kubernetes.io/config.mirror"
"""The annotation of pods that stand for what a node runs by itself; they get nothing from the api."""

Reference = tuple[str, str, str]
"""A resource of the above, a namespace and a name."""


class _Named(View, frozen=True):
    name: str = ""


class _SecretNamed(View, frozen=True):
    secret_name: str = ""
    secret_ref: _Named | None = None
    node_publish_secret_ref: _Named | None = None


class _KeyRefs(View, frozen=True):
    config_map_key_ref: _Named | None = None
    secret_key_ref: _Named | None = None


class _Variable(View, frozen=True):
    value_from: _KeyRefs | None = None


class _Source(View, frozen=True):
    config_map_ref: _Named | None = None
    secret_ref: _Named | None = None


class _Container(View, frozen=True):
    env: tuple[_Variable, ...] | None = None
    env_from: tuple[_Source, ...] | None = None


class _Projection(View, frozen=True):
    config_map: _Named | None = None
    secret: _Named | None = None


class _Projected(View, frozen=True):
    sources: tuple[_Projection, ...] | None = None


class _Claimed(View, frozen=True):
    claim_name: str = ""


class _Present(View, frozen=True):
    """A part of which only matters that it is there."""


class _Volume(View, frozen=True):
    name: str = ""
    config_map: _Named | None = None
    secret: _SecretNamed | None = None
    projected: _Projected | None = None
    persistent_volume_claim: _Claimed | None = None
    ephemeral: _Present | None = None
    azure_file: _SecretNamed | None = None
    cephfs: _SecretNamed | None = None
    cinder: _SecretNamed | None = None
    flex_volume: _SecretNamed | None = None
    rbd: _SecretNamed | None = None
    scale_io: _SecretNamed | None = msgspec.field(default=None, name="scaleIO")
    iscsi: _SecretNamed | None = None
    storageos: _SecretNamed | None = None
    csi: _SecretNamed | None = None

    def secrets(self) -> Iterator[str]:
        """Yield the secrets that mounting it takes, possibly empty names."""
        for source in (
            *(self.secret, self.azure_file, self.cephfs, self.cinder, self.flex_volume, self.rbd),
            *(self.scale_io, self.iscsi, self.storageos, self.csi),
        ):
            if source is not None:
                yield source.secret_name
                for reference in (source.secret_ref, source.node_publish_secret_ref):
                    if reference is not None:
                        yield reference.name


class _ResourceClaim(View, frozen=True):
    resource_claim_name: str | None = None


class _Spec(View, frozen=True):
    node_name: str = ""
    service_account_name: str = ""
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    ephemeral_containers: tuple[_Container, ...] | None = None
    volumes: tuple[_Volume, ...] | None = None
    image_pull_secrets: tuple[_Named, ...] | None = None
    resource_claims: tuple[_ResourceClaim, ...] | None = None


class _Status(View, frozen=True):
    resource_claim_statuses: tuple[_ResourceClaim, ...] | None = None
    extended_resource_claim_status: _ResourceClaim | None = None


class _Metadata(View, frozen=True):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None


class _Pod(View, frozen=True):
    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()
    status: _Status | None = None


_decode = msgspec.json.Decoder(_Pod).decode


def references_of(pod: bytes) -> frozenset[Reference]:
    """Return what the node of a pod has to read for it. Raises msgspec.MsgspecError for what is no pod."""
    document = _decode(pod)
    metadata = document.metadata
    if metadata.annotations and MIRROR in metadata.annotations:
        return frozenset()
    space = metadata.namespace
    return frozenset((kind, space, name) for kind, name in _needs(document) if name)


def _needs(pod: _Pod) -> Iterator[tuple[str, str]]:
    spec = pod.spec
    yield ACCOUNT, spec.service_account_name
    for containers in (spec.containers, spec.init_containers, spec.ephemeral_containers):
        for container in containers or ():
            yield from _of_container(container)
    for volume in spec.volumes or ():
        yield from _of_volume(volume, pod.metadata.name)
    for secret in spec.image_pull_secrets or ():
        yield SECRET, secret.name
    claims = [*(spec.resource_claims or ())]
    if pod.status is not None:
        claims += pod.status.resource_claim_statuses or ()
        if pod.status.extended_resource_claim_status is not None:
            claims.append(pod.status.extended_resource_claim_status)
    for claim in claims:
        yield RESOURCE_CLAIM, claim.resource_claim_name or ""


def _of_container(container: _Container) -> Iterator[tuple[str, str]]:
    for variable in container.env or ():
        source = variable.value_from
        if source is not None:
            yield from _named(source.config_map_key_ref, source.secret_key_ref)
    for whole in container.env_from or ():
        yield from _named(whole.config_map_ref, whole.secret_ref)


def _of_volume(volume: _Volume, pod: str) -> Iterator[tuple[str, str]]:
    if volume.config_map is not None:
        yield CONFIG_MAP, volume.config_map.name
    for secret in volume.secrets():
        yield SECRET, secret
    if volume.projected is not None:
        for source in volume.projected.sources or ():
            yield from _named(source.config_map, source.secret)
    if volume.persistent_volume_claim is not None:
        yield CLAIM, volume.persistent_volume_claim.claim_name
    if volume.ephemeral is not None:
        yield CLAIM, f"{pod}-{volume.name}"


def _named(config_map: _Named | None, secret: _Named | None) -> Iterator[tuple[str, str]]:
    if config_map is not None:
        yield CONFIG_MAP, config_map.name
    if secret is not None:
        yield SECRET, secret.name
