"""What a pod's volumes must be (k8s.io/kubernetes/pkg/apis/core/validation, ValidateVolumes)."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.container_rules import PULL_POLICIES
from orch_api.kinds.volume_files import field_files, key_files, mode, projections
from orch_api.strategy import Document
from orch_api.validation import duplicate, forbidden, invalid, one_of, required

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
        causes += mode(f"{at}.defaultMode", source.get("defaultMode"))
    if kind in {"secret", "configMap"}:
        causes += key_files(f"{at}.items", source)
    elif kind == "downwardAPI":
        causes += field_files(f"{at}.items", source)
    elif kind == "projected":
        causes += projections(at, source)
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
