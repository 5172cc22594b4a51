"""What the spec of a persistent volume must be, in a volume of its own or inline in an attachment.

Source: k8s.io/kubernetes/pkg/apis/core/validation, ValidatePersistentVolumeSpec.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.pod_defaults import VOLUME_DEFAULTS
from orch_api.kinds.quantities import canonicalise
from orch_api.kinds.scheduling_rules import node_selector
from orch_api.kinds.volume_rules import host_path
from orch_api.strategy import Document, section
from orch_api.validation import Problems, check, forbidden, inclusive_range, invalid, required, too_long, unsupported

ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES: Final = ("Block", "Filesystem")
POSITIVE: Final = "must be greater than zero"
_RECLAIM_POLICIES: Final = ("Delete", "Recycle", "Retain")
_INLINE: Final = "may not be specified in the context of inline volumes"
_MAX_DRIVER: Final = 63

_REQUIRED_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "hostPath": ("path",),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "glusterfs": ("endpoints", "path"),
    "flocker": (),
    "nfs": ("server", "path"),
    "rbd": ("monitors", "image"),
    "quobyte": ("registry", "volume"),
    "cephfs": ("monitors",),
    "iscsi": ("targetPortal", "iqn"),
    "cinder": ("volumeID",),
    "fc": (),
    "flexVolume": ("driver",),
    "azureFile": ("secretName", "shareName"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "local": ("path",),
    "storageos": ("volumeName",),
    "csi": (),
}
SOURCES: Final = tuple(_REQUIRED_FIELDS)
"""The kinds of volumes, in the order in which they are looked at: the first is the volume's, others are too many."""


def default_sources(spec: Document) -> None:
    """Fill in what the kind of volume has a default for, and bring the capacity into canonical form."""
    if capacity := spec.get("capacity"):
        canonicalise(capacity)
    for kind, defaults in VOLUME_DEFAULTS.items():
        source: Document | None = spec.get(kind)
        if source is not None and kind in _REQUIRED_FIELDS:
            for name, value in defaults.items():
                if source.get(name) is None:
                    source[name] = value


def volume_spec(field: str, spec: Document, *, name: str = "", inline: bool = False) -> list[Cause]:
    """Return what is wrong with a spec; `name` is the volume's, `inline` is for the spec inside of an attachment."""
    causes = _inline_only(field, spec) if inline else []
    modes: list[str] = spec.get("accessModes") or []
    if not modes:
        causes.append(required(f"{field}.accessModes"))
    causes += access_modes(f"{field}.accessModes", modes)
    causes += _retained(field, spec) if inline else _capacity_and_policy(field, spec)
    if (affinity := spec.get("nodeAffinity")) is not None:
        at = f"{field}.nodeAffinity"
        causes += [forbidden(at, _INLINE)] if inline else _affinity(at, affinity)
    causes += _sources(field, spec, name)
    return causes + _classes(field, spec, inline=inline)


def access_modes(at: str, modes: list[str]) -> list[Cause]:
    """Return which access modes are unknown, or may not stand together."""
    causes = [unsupported(at, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        causes.append(forbidden(at, "may not use ReadWriteOncePod with other access modes"))
    return causes


def positive_quantity(at: str, value: Any) -> list[Cause]:
    """Return the cause when a value is no quantity, or not above zero."""
    try:
        milli = quantity.milli(str(value))
    except ValueError as problem:
        return [invalid(at, value, str(problem))]
    return [] if milli > 0 else [invalid(at, str(value), POSITIVE)]


def driver_name(at: str, name: str) -> list[Cause]:
    """Return what is wrong with the name of a storage or device driver."""
    causes = [] if name else [required(at)]
    if len(name) > _MAX_DRIVER:
        causes.append(too_long(at, _MAX_DRIVER))
    return causes + [invalid(at, name, problem) for problem in validation.dns_subdomain(name.lower())]


def _inline_only(field: str, spec: Document) -> list[Cause]:
    causes = [forbidden(f"{field}.{name}", _INLINE) for name in ("claimRef", "capacity") if spec.get(name)]
    if spec.get("csi") is None:
        causes.append(required(f"{field}.csi", "has to be specified in the context of inline volumes"))
    return causes


def _retained(field: str, spec: Document) -> list[Cause]:
    if (spec.get("persistentVolumeReclaimPolicy") or "Retain") == "Retain":
        return []
    at = f"{field}.persistentVolumeReclaimPolicy"
    return [forbidden(at, "may only be Retain in the context of inline volumes")]


def _capacity_and_policy(field: str, spec: Document) -> list[Cause]:
    at = f"{field}.capacity"
    capacity: dict[str, Any] = spec.get("capacity") or {}
    causes = [] if capacity else [required(at)]
    if capacity.keys() != {"storage"}:
        causes.append(unsupported(at, capacity, ("storage",)))
    for name, value in capacity.items():
        causes += positive_quantity(f"{at}[{name}]", value)
    policy: str = spec.get("persistentVolumeReclaimPolicy") or ""
    if policy and policy not in _RECLAIM_POLICIES:
        causes.append(unsupported(f"{field}.persistentVolumeReclaimPolicy", policy, _RECLAIM_POLICIES))
    return causes


def _affinity(at: str, affinity: Document) -> list[Cause]:
    needed: Document | None = affinity.get("required")
    if needed is None:
        return [required(f"{at}.required", "must specify required node constraints")]
    return node_selector(f"{at}.required", needed)


def _sources(field: str, spec: Document, name: str) -> list[Cause]:
    kinds = [kind for kind in SOURCES if spec.get(kind) is not None]
    if not kinds:
        return [required(field, "must specify a volume type")]
    kind = kinds[0]
    source: Document = spec[kind]
    at = f"{field}.{kind}"
    causes = [required(f"{at}.{part}") for part in _REQUIRED_FIELDS[kind] if not source.get(part)]
    if check_source := _SOURCE_RULES.get(kind):
        causes += check_source(at, source)
    if kind == "iscsi":
        causes += _initiator(at, source, name)
    if kind == "local" and spec.get("nodeAffinity") is None:
        causes.append(required(f"{field}.nodeAffinity", "Local volume requires node affinity"))
    causes += [forbidden(f"{field}.{other}", "may not specify more than 1 volume type") for other in kinds[1:]]
    recycled = spec.get("persistentVolumeReclaimPolicy") == "Recycle"
    if kind == "hostPath" and recycled and posixpath.normpath(source.get("path") or ".") == "/":
        problem = "may not be 'recycle' for a hostPath mount of '/'"
        causes.append(forbidden(f"{field}.persistentVolumeReclaimPolicy", problem))
    return causes


def _classes(field: str, spec: Document, *, inline: bool) -> list[Cause]:
    causes: list[Cause] = []
    if name := spec.get("storageClassName"):
        at = f"{field}.storageClassName"
        causes += [forbidden(at, _INLINE)] if inline else check(at, name, validation.dns_subdomain)
    mode: str | None = spec.get("volumeMode")
    if mode is not None:
        at = f"{field}.volumeMode"
        if inline and mode != "Filesystem":
            problem = "may not specify volumeMode other than Filesystem in the context of inline volumes"
            causes.append(forbidden(at, problem))
        elif mode not in VOLUME_MODES:
            causes.append(unsupported(at, mode, VOLUME_MODES))
    if (name := spec.get("volumeAttributesClassName")) is not None and not inline:
        at = f"{field}.volumeAttributesClassName"
        causes += check(at, name, validation.dns_subdomain) if name else [required(at, "an empty string is disallowed")]
        if spec.get("csi") is None:
            causes.append(required(f"{field}.csi", "has to be specified when using volumeAttributesClassName"))
    return causes


# Kinds of volumes -----------------------------------------------------------------------------------------------


def _nfs(at: str, source: Document) -> list[Cause]:
    path: str = source.get("path") or ""
    return [] if path.startswith("/") else [invalid(f"{at}.path", path, "must be an absolute path")]


def _local(at: str, source: Document) -> list[Cause]:
    path: str = source.get("path") or ""
    return [invalid(f"{at}.path", path, "must not contain '..'")] if ".." in path.split("/") else []


def _partition(at: str, source: Document) -> list[Cause]:
    number: int = source.get("partition") or 0
    return [] if 0 <= number <= 255 else [invalid(f"{at}.partition", number, inclusive_range(1, 255))]


def _csi(at: str, source: Document) -> list[Cause]:
    causes = driver_name(f"{at}.driver", source.get("driver") or "")
    if not source.get("volumeHandle"):
        causes.append(required(f"{at}.volumeHandle"))
    for part in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):
        reference: Document | None = source.get(part)
        if reference is not None:
            causes += _secret(f"{at}.{part}.name", reference.get("name") or "", validation.dns_subdomain)
            causes += _secret(f"{at}.{part}.namespace", reference.get("namespace") or "", validation.dns_label)
    return causes


def _secret(at: str, value: str, rule: Callable[[str], Problems]) -> list[Cause]:
    return check(at, value, rule) if value else [required(at)]


def _secret_given(at: str, source: Document) -> list[Cause]:
    """Return what a reference to a secret lacks, when there is one."""
    reference: Document | None = source.get("secretRef")
    if reference is None:
        return []
    return [required(f"{at}.secretRef.{part}") for part in ("name", "namespace") if not reference.get(part)]


def _azure_file(at: str, source: Document) -> list[Cause]:
    return [required(f"{at}.secretNamespace")] if source.get("secretNamespace") == "" else []


def _fibre_channel(at: str, source: Document) -> list[Cause]:
    names: list[str] = source.get("targetWWNs") or []
    ids: list[str] = source.get("wwids") or []
    if not names and not ids:
        return [required(f"{at}.targetWWNs", "must specify either targetWWNs or wwids, but not both")]
    causes: list[Cause] = []
    if names and ids:
        problem = "targetWWNs and wwids can not be specified simultaneously"
        causes.append(invalid(f"{at}.targetWWNs", names, problem))
    if names:
        unit: int | None = source.get("lun")
        if unit is None:
            causes.append(required(f"{at}.lun", "lun is required if targetWWNs is specified"))
        else:
            causes += _unit(at, unit)
    return causes


def _unit(at: str, unit: int) -> list[Cause]:
    return [] if 0 <= unit <= 255 else [invalid(f"{at}.lun", unit, inclusive_range(0, 255))]


_QUALIFIED_NAMES: Final = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9-.]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"^eui.[a-zA-Z0-9]{16}$"),
    "naa": re.compile(r"^naa.[a-zA-Z0-9]{32}$"),
}


def _is_qualified(name: str) -> bool:
    pattern = _QUALIFIED_NAMES.get(name[:3])
    return pattern is not None and pattern.search(name) is not None


def _iscsi(at: str, source: Document) -> list[Cause]:
    causes: list[Cause] = []
    if (name := source.get("iqn")) and not _is_qualified(name):
        causes.append(invalid(f"{at}.iqn", name, "must be valid format"))
    causes += _unit(at, source.get("lun") or 0)
    secret: Document | None = source.get("secretRef")
    if secret is None:
        if source.get("chapAuthDiscovery") or source.get("chapAuthSession"):
            causes.append(required(f"{at}.secretRef"))
    elif not secret.get("name"):
        causes.append(required(f"{at}.secretRef.name"))
    return causes


def _initiator(at: str, source: Document, volume: str) -> list[Cause]:
    initiator: str | None = source.get("initiatorName")
    if initiator is None:
        return []
    causes: list[Cause] = []
    portal: str = source.get("targetPortal") or ""
    if len(f"{volume}:{portal}") > 64:
        problem = (
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
            "specified."
        )
        causes.append(invalid(f"{at}.targetportal", portal, problem))
    if not _is_qualified(initiator):
        causes.append(invalid(f"{at}.initiatorname", initiator, "must be valid format"))
    return causes


def _flocker(at: str, source: Document) -> list[Cause]:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uuid:
        return [required(at, "one of datasetName and datasetUUID is required")]
    causes: list[Cause] = []
    if name and uuid:
        causes.append(invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        causes.append(invalid(f"{at}.datasetName", name, "must not contain '/'"))
    return causes


def _flex(at: str, source: Document) -> list[Cause]:
    return [
        invalid(f"{at}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved")
        for key in section(source, "options")
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io"))
    ]


_SOURCE_RULES: Final[dict[str, Callable[[str, Document], list[Cause]]]] = {
    "hostPath": host_path,
    "gcePersistentDisk": _partition,
    "awsElasticBlockStore": _partition,
    "flocker": _flocker,
    "nfs": _nfs,
    "iscsi": _iscsi,
    "cinder": _secret_given,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "azureFile": _azure_file,
    "local": _local,
    "storageos": _secret_given,
    "csi": _csi,
}
