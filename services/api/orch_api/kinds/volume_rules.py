"""What a pod's volumes must be (k8s.io/kubernetes/pkg/apis/core/validation, ValidateVolumes)."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.container_rules import PULL_POLICIES, local_path, resource_reference
from orch_api.strategy import Document
from orch_api.validation import check, duplicate, forbidden, invalid, one_of, required

_REQUIRED_FIELDS: Final = {
    "hostPath": "path",
    "secret": "secretName",
    "configMap": "name",
    "persistentVolumeClaim": "claimName",
    "csi": "driver",
    "image": "reference",
}
_HOST_PATH_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_MODE_PROBLEM: Final = "must be a number between 0 and 0777 (octal), both inclusive"


def volumes(field: str, found: list[Document]) -> tuple[list[Cause], frozenset[str]]:
    """Return what is wrong with the volumes, and their names."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, volume in enumerate(found):
        at = f"{field}[{index}]"
        name: str = volume.get("name") or ""
        if not name:
            causes.append(required(f"{at}.name"))
        elif problems := validation.dns_label(name):
            causes += [invalid(f"{at}.name", name, problem) for problem in problems]
        elif name in names:
            causes.append(duplicate(f"{at}.name", name))
        names.add(name)
        causes += _sources(at, volume)
    return causes, frozenset(names)


def _sources(at: str, volume: Document) -> list[Cause]:
    kinds = [kind for kind, source in volume.items() if kind != "name" and source is not None]
    if not kinds:
        return [required(at, "must specify a volume type")]
    causes = [forbidden(f"{at}.{kind}", "may not specify more than 1 volume type") for kind in kinds[1:]]
    kind = kinds[0]
    return causes + _source(f"{at}.{kind}", kind, volume[kind])


def _source(at: str, kind: str, source: Document) -> list[Cause]:
    causes: list[Cause] = []
    if (needed := _REQUIRED_FIELDS.get(kind)) and not source.get(needed):
        causes.append(required(f"{at}.{needed}"))
    if kind in {"secret", "configMap", "downwardAPI", "projected"}:
        causes += _mode(f"{at}.defaultMode", source.get("defaultMode"))
    if kind in {"secret", "configMap"}:
        causes += _key_files(f"{at}.items", source)
    elif kind == "downwardAPI":
        causes += _field_files(f"{at}.items", source)
    elif kind == "projected":
        causes += _projections(f"{at}.sources", source)
    elif kind == "hostPath":
        causes += host_path(at, source)
    elif kind == "emptyDir" and source.get("sizeLimit") is not None:
        causes += validation.quantity_value(f"{at}.sizeLimit", source["sizeLimit"])
    elif kind == "image":
        causes += one_of(f"{at}.pullPolicy", source.get("pullPolicy") or "", PULL_POLICIES)
    return causes


def host_path(at: str, source: Document) -> list[Cause]:
    """Return what is wrong with a path on the node, and with what it is expected to be."""
    path: str = source.get("path") or ""
    causes = [invalid(f"{at}.path", path, "must not contain '..'")] if ".." in path.split("/") else []
    kind: str = source.get("type") or ""
    if kind not in _HOST_PATH_TYPES:
        causes.append(validation.unsupported(f"{at}.type", kind, _HOST_PATH_TYPES))
    return causes


def _mode(at: str, mode: int | None) -> list[Cause]:
    return [invalid(at, mode, _MODE_PROBLEM)] if mode is not None and not 0 <= mode <= 0o777 else []


def _key_files(at: str, source: Document) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        one = f"{at}[{index}]"
        if not item.get("key"):
            causes.append(required(f"{one}.key"))
        causes += _file(one, item)
    return causes


def _field_files(at: str, source: Document) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        one = f"{at}[{index}]"
        if reference := item.get("resourceFieldRef"):
            if not reference.get("containerName"):
                causes.append(required(f"{one}.resourceFieldRef.containerName"))
            causes += resource_reference(f"{one}.resourceFieldRef", reference)
        elif not (item.get("fieldRef") or {}).get("fieldPath"):
            causes.append(required(f"{one}.fieldRef", "one of fieldRef and resourceFieldRef is required"))
        causes += _file(one, item)
    return causes


def _file(at: str, item: Document) -> list[Cause]:
    path: str = item.get("path") or ""
    causes = local_path(f"{at}.path", path) if path else [required(f"{at}.path")]
    return causes + _mode(f"{at}.mode", item.get("mode"))


def _projections(at: str, source: Document) -> list[Cause]:
    causes: list[Cause] = []
    for index, projection in enumerate(source.get("sources") or ()):
        one = f"{at}[{index}]"
        for kind in ("secret", "configMap"):
            if (found := projection.get(kind)) is not None:
                name: str = found.get("name") or ""
                field = f"{one}.{kind}.name"
                causes += check(field, name, validation.dns_subdomain) if name else [required(field)]
                causes += _key_files(f"{one}.{kind}.items", found)
        if (found := projection.get("downwardAPI")) is not None:
            causes += _field_files(f"{one}.downwardAPI.items", found)
        if (found := projection.get("serviceAccountToken")) is not None and not found.get("path"):
            causes.append(required(f"{one}.serviceAccountToken.path"))
    return causes
