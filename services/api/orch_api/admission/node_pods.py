"""What a node may create a pod of: the image in the api of one that it runs on its own (a mirror pod)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from orch_api.kinds.ephemeral_containers import MIRROR_ANNOTATION
from orch_api.strategy import Document, section

_VOLUMES: Final = {
    "secret": "secrets",
    "configMap": "configmaps",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims",
}
_PROJECTED: Final = {
    "secret": "secrets",
    "configMap": "configmaps",
    "serviceAccountToken": "a service account",
    "clusterTrustBundle": "clustertrustbundles",
}
_VARIABLES: Final = {"secretKeyRef": "secrets", "configMapKeyRef": "configmaps"}
_SOURCES: Final = {"secretRef": "secrets", "configMapRef": "configmaps"}


def created_pod_problem(pod: Document, node: str, uid: str) -> str:
    """Return why a node may not create a pod, "" when it may. `uid` is the Node's."""
    metadata, spec = section(pod, "metadata"), section(pod, "spec")
    if MIRROR_ANNOTATION not in section(metadata, "annotations"):
        return f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods'
    if spec.get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    problem = _owner_problem(metadata.get("ownerReferences") or [], node, uid)
    if problem:
        return problem
    referred = _reference(spec)
    return f'node "{node}" can not create pods that reference {referred}' if referred else ""


def _owner_problem(owners: list[Document], node: str, uid: str) -> str:
    if len(owners) > 1:
        return f'node "{node}" can only create pods with a single owner reference set to itself'
    whose = (owners[0].get("apiVersion"), owners[0].get("kind"), owners[0].get("name")) if owners else ()
    if whose != ("v1", "Node", node):
        return f'node "{node}" can only create pods with an owner reference set to itself'
    if not owners[0].get("controller"):
        return f'node "{node}" can only create pods with a controller owner reference set to itself'
    if owners[0].get("blockOwnerDeletion"):
        return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
    given = owners[0].get("uid")
    return "" if given == uid else f"node {node} UID mismatch: expected {uid} got {given}"


def _reference(spec: Document) -> str:
    """Return what of the cluster's the pod refers to, "" when it refers to nothing."""
    return next(_references(spec), "")


def _references(spec: Document) -> Iterator[str]:
    if (account := spec.get("serviceAccountName")) and account != "default":
        yield "a service account"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    for volume in spec.get("volumes") or ():
        yield from _present(volume, _VOLUMES)
        for source in section(volume, "projected").get("sources") or ():
            yield from _present(source, _PROJECTED)
    for part in ("containers", "initContainers"):
        for container in spec.get(part) or ():
            for variable in container.get("env") or ():
                yield from _present(section(variable, "valueFrom"), _VARIABLES)
            for source in container.get("envFrom") or ():
                yield from _present(source, _SOURCES)


def _present(source: Document, known: Mapping[str, str]) -> Iterator[str]:
    return (what for field, what in known.items() if source.get(field) is not None)
