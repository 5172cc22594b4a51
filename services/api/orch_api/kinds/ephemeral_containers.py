"""Ephemeral containers: added to a running pod to look into it, through a subresource of the pod.

Source: k8s.io/kubernetes/pkg/apis/core/validation, validateEphemeralContainers.
"""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api.kinds.container_rules import any_container
from orch_api.kinds.status_metadata import keep_metadata
from orch_api.strategy import Document, keep, put_section, section
from orch_api.validation import forbidden, not_found, same

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
"""Marks the image in the api of a pod that a node runs on its own."""

_DISALLOWED: Final = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)
_NOT_HERE: Final = "cannot be set for an Ephemeral Container"


def ephemeral_containers(field: str, spec: Document, volumes: frozenset[str]) -> list[Cause]:
    """Return what is wrong with the ephemeral containers of a pod spec; `field` is the spec's path."""
    others: set[str] = {
        container.get("name") or "" for part in ("containers", "initContainers") for container in spec.get(part) or ()
    }
    names = set(others)
    causes: list[Cause] = []
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        at = f"{field}.ephemeralContainers[{index}]"
        causes += any_container(at, container, names, volumes, host_network=bool(spec.get("hostNetwork")))
        target: str = container.get("targetContainerName") or ""
        if target and target not in others:
            causes.append(not_found(f"{at}.targetContainerName", target))
        causes += [forbidden(f"{at}.{name}", _NOT_HERE) for name in _DISALLOWED if container.get(name)]
        for place, mount in enumerate(container.get("volumeMounts") or ()):
            one = f"{at}.volumeMounts[{place}]"
            causes += [forbidden(f"{one}.{name}", _NOT_HERE) for name in ("subPath", "subPathExpr") if mount.get(name)]
    return causes


def keep_all_but_ephemeral(obj: Document, old: Document) -> None:
    """Keep of a pod everything but its ephemeral containers."""
    containers = section(obj, "spec").get("ephemeralContainers")
    keep(obj, old, "status")
    keep_metadata(obj, old)
    obj["spec"] = dict(section(old, "spec"))
    obj["spec"].pop("ephemeralContainers", None)
    if containers:
        put_section(obj, "spec")["ephemeralContainers"] = containers


def is_mirror(pod: Document) -> bool:
    """Tell whether a node runs the pod on its own, and the api only shows it."""
    return MIRROR_ANNOTATION in section(section(pod, "metadata"), "annotations")


def ephemeral_changes(obj: Document, old: Document) -> list[Cause]:
    """Return which ephemeral containers change or go; new ones may come."""
    field = "spec.ephemeralContainers"
    new: dict[str, Document] = {
        one.get("name") or "": one for one in section(obj, "spec").get("ephemeralContainers") or ()
    }
    causes: list[Cause] = []
    for before in section(old, "spec").get("ephemeralContainers") or ():
        name: str = before.get("name") or ""
        if name not in new:
            causes.append(forbidden(field, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif not same(new[name], before):
            causes.append(forbidden(field, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes
