"""The checks of the level restricted: what a pod has to give up that has no need of it.

Source: k8s.io/pod-security-admission/policy, whose words messages use.
"""

from __future__ import annotations

from typing import Final

from orch_api.admission.pod_security.baseline import SECCOMP_TYPES, seccomp_fields
from orch_api.admission.pod_security.views import Finding, Looked, containers, plural, quoted, setters
from orch_api.strategy import Document, section

_VOLUMES: Final = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_OTHER_VOLUMES: Final = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
)


def allow_privilege_escalation(pod: Looked, minor: int) -> Finding | None:
    """Demand that no process gets more rights than its parent has."""
    if minor < 8 or (minor >= 25 and pod.is_windows):
        return None
    names = pod.named(lambda context: context.get("allowPrivilegeEscalation") is not False)
    detail = f"{containers(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Finding("allowPrivilegeEscalation != false", detail) if names else None


def capabilities(pod: Looked, minor: int) -> Finding | None:
    """Demand that all capabilities are dropped, and none is added but for low ports."""
    if minor >= 25 and pod.is_windows:
        return None
    bad: set[str] = set()

    def keeps_some(context: Document) -> bool:
        return "ALL" not in (section(context, "capabilities").get("drop") or ())

    def adds_some(context: Document) -> bool:
        added = set(section(context, "capabilities").get("add") or ()) - {"NET_BIND_SERVICE"}
        bad.update(added)
        return bool(added)

    details: list[str] = []
    if names := pod.named(keeps_some):
        details.append(f'{containers(names)} must set securityContext.capabilities.drop=["ALL"]')
    if names := pod.named(adds_some):
        details.append(
            f"{containers(names)} must not include {quoted(sorted(bad))} in securityContext.capabilities.add"
        )
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(pod: Looked, minor: int) -> Finding | None:
    """Allow only volumes of the cluster's own and claimed ones."""
    _ = minor
    names: list[str] = []
    kinds: set[str] = set()
    for volume in pod.spec.get("volumes") or ():
        if any(volume.get(kind) is not None for kind in _VOLUMES):
            continue
        names.append(volume.get("name") or "")
        kinds.add(next((kind for kind in _OTHER_VOLUMES if volume.get(kind) is not None), "unknown"))
    who = f"{plural('volume', 'volumes', names)} {quoted(names)} {plural('uses', 'use', names)}"
    what = plural("restricted volume type", "restricted volume types", kinds)
    return Finding("restricted volume types", f"{who} {what} {quoted(sorted(kinds))}") if names else None


def run_as_non_root(pod: Looked, minor: int) -> Finding | None:
    """Demand that nobody is root, except where users are the pod's own."""
    if minor >= 35 and pod.has_own_users:
        return None
    own: bool | None = pod.security.get("runAsNonRoot")
    who = setters(own is False, pod.named(lambda context: context.get("runAsNonRoot") is False))
    if who:
        return Finding("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    names = [] if own else pod.named(lambda context: context.get("runAsNonRoot") is None)
    detail = f"pod or {containers(names)} must set securityContext.runAsNonRoot=true"
    return Finding("runAsNonRoot != true", detail) if names else None


def run_as_user(pod: Looked, minor: int) -> Finding | None:
    """Forbid the user 0, except where users are the pod's own."""
    if minor < 23 or (minor >= 35 and pod.has_own_users):
        return None

    def is_root(context: Document) -> bool:
        return context.get("runAsUser") == 0

    who = setters(is_root(pod.security), pod.named(is_root))
    return Finding("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp_profile(pod: Looked, minor: int) -> Finding | None:
    """Demand seccomp's confinement."""
    if minor >= 25 and pod.is_windows:
        return None
    if (found := seccomp_fields(pod)) is not None:
        return found
    if section(pod.security, "seccompProfile").get("type") in SECCOMP_TYPES:
        return None
    names = pod.named(lambda context: context.get("seccompProfile") is None)
    must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Finding("seccompProfile", f"pod or {containers(names)} {must}") if names else None
