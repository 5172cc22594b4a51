"""Views of a pod's volumes, of where they come from, and of where containers see them (k8s.io/api/core/v1)."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.objects.meta import LabelSelector, View


class FieldSelector(View, frozen=True):
    """A field of the pod itself."""

    api_version: str = "v1"
    field_path: str = ""


class ResourceFieldSelector(View, frozen=True):
    """A request or limit of a container."""

    container_name: str = ""
    resource: str = ""
    divisor: str = "0"


class KeyToPath(View, frozen=True):
    """One key of an object and the file that shows it. `mode` in place of the volume's default."""

    key: str = ""
    path: str = ""
    mode: int | None = None


class ConfigMapSource(View, frozen=True):
    """The keys of a ConfigMap as files; without `items` all of them. In a projection `default_mode` is not used."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretSource(View, frozen=True):
    """The keys of a Secret as files; without `items` all of them."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretProjection(View, frozen=True):
    """The keys of a Secret, named as projections name it."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class DownwardItem(View, frozen=True):
    """A field of the pod, or a resource of one of its containers, and the file that shows it."""

    path: str = ""
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None


class DownwardSource(View, frozen=True):
    """The pod's own fields as files."""

    items: tuple[DownwardItem, ...] = ()
    default_mode: int | None = None


class TokenProjection(View, frozen=True):
    """A token of the pod's service account. Without an audience it is for the api."""

    audience: str = ""
    expiration_seconds: int = 3600
    path: str = ""


class TrustBundleProjection(View, frozen=True):
    """Certificates of authorities: one bundle by name, or all of a signer that the labels select."""

    name: str = ""
    signer_name: str = ""
    label_selector: LabelSelector | None = None
    optional: bool = False
    path: str = ""


class PodCertificateProjection(View, frozen=True):
    """A key that the node makes, and a certificate for it: in one file, in two, or both."""

    signer_name: str = ""
    key_type: str = ""
    max_expiration_seconds: int | None = None
    credential_bundle_path: str = ""
    key_path: str = ""
    certificate_chain_path: str = ""
    user_annotations: dict[str, str] = {}


class ProjectedPart(View, frozen=True):
    """One of the sources of a projected volume; exactly one is set among those that are known."""

    config_map: ConfigMapSource | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardSource | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenProjection | None = None
    cluster_trust_bundle: TrustBundleProjection | None = None
    pod_certificate: PodCertificateProjection | None = None


class ProjectedSource(View, frozen=True):
    """Several sources in one folder."""

    sources: tuple[ProjectedPart, ...] = ()
    default_mode: int | None = None


class EmptyDirSource(View, frozen=True):
    """A folder that lives as long as the pod. `medium`: "" disk, "Memory", "HugePages" or "HugePages-<size>"."""

    medium: str = ""
    size_limit: str = ""


class HostPathSource(View, frozen=True):
    """A path of the node. `type` says what must be there, or be made: "" checks nothing."""

    path: str = ""
    type: str = ""


class ImageSource(View, frozen=True):
    """The content of an image."""

    reference: str = ""
    pull_policy: str = ""


class ClaimSource(View, frozen=True):
    """A claim in the pod's namespace."""

    claim_name: str = ""
    read_only: bool = False


class EphemeralSource(View, frozen=True):
    """A claim that is made for the pod alone, under the pod's name and the volume's."""


class Volume(View, frozen=True):
    """A volume of a pod. A kind of source that is not listed here reads as none at all."""

    name: str = ""
    empty_dir: EmptyDirSource | None = None
    host_path: HostPathSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    downward_api: DownwardSource | None = msgspec.field(default=None, name="downwardAPI")
    projected: ProjectedSource | None = None
    image: ImageSource | None = None
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None


RECURSIVELY: Final = frozenset({"Enabled", "IfPossible"})
"""Values of recursiveReadOnly by which all that is mounted below a volume may be read alone, too: nodes can do that."""


class VolumeMount(View, frozen=True):
    """Where a container sees a volume, or a part of it."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    mount_propagation: str = ""
