"""What a pod's user leaves out.

Source: k8s.io/kubernetes/pkg/apis/core/v1/defaults.go. What plugins add is theirs (orch_api.admission).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from orch_api.kinds.quantities import canonical, canonicalise
from orch_api.strategy import Document

_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS: Final = ("postStart", "preStop")
_HANDLER: Final = "httpGet"
_FILE_MODE: Final = 0o644
_TOKEN_LIFETIME: Final = 3600

VOLUME_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "secret": {"defaultMode": _FILE_MODE},
    "configMap": {"defaultMode": _FILE_MODE},
    "downwardAPI": {"defaultMode": _FILE_MODE},
    "projected": {"defaultMode": _FILE_MODE},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}

SYSTEM_PRIORITIES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


@lru_cache(4096)
def pull_policy(image: str) -> str:
    """Return the policy for an image without one: Always for the tag latest, given or implied."""
    name, digest, _ = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or (name and not tag and not digest) else "IfNotPresent"


def _set(document: Document, **values: Any) -> None:
    """Set the fields that are absent, null or zero."""
    for name, value in values.items():
        if not document.get(name):
            document[name] = value


def _set_absent(document: Document, **values: Any) -> None:
    """Set the fields that are absent or null: for those where zero means something."""
    for name, value in values.items():
        if document.get(name) is None:
            document[name] = value


def _containers(spec: Document) -> Iterator[Document]:
    yield from spec.get("containers") or ()
    if found := spec.get("initContainers"):
        yield from found
    if found := spec.get("ephemeralContainers"):
        yield from found


def default_pod_spec(spec: Document) -> None:
    """Fill in a pod spec, in a pod or in a template."""
    _set(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", schedulerName="default-scheduler")
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in _containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    if found := spec.get("overhead"):
        canonicalise(found)
    if found := spec.get("resources"):
        _canonical_resources(found)


def default_pod(spec: Document) -> None:
    """Fill in what only pods get, not templates; call `default_pod_spec` before."""
    _set_absent(spec, enableServiceLinks=True, preemptionPolicy="PreemptLowerPriority")
    if spec.get("priority") is None:
        spec["priority"] = SYSTEM_PRIORITIES.get(spec.get("priorityClassName") or "", 0)
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    for container in _containers(spec):
        resources = container.get("resources")
        if resources and (limits := resources.get("limits")):
            resources["requests"] = limits | (resources.get("requests") or {})
    if spec.get("hostNetwork"):
        for container in _containers(spec):
            for port in container.get("ports") or ():
                _set(port, hostPort=port.get("containerPort") or 0)


def _default_container(container: Document) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    else:
        _canonical_resources(resources)
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for variable in container.get("env") or ():
        if source := variable.get("valueFrom"):
            _default_source(source)
    _default_probes(container)


def _default_probes(container: Document) -> None:
    for name in _PROBES:
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            _default_handler(probe)
    if lifecycle := container.get("lifecycle"):
        for name in _HOOKS:
            if hook := lifecycle.get(name):
                _default_handler(hook)


def _canonical_resources(resources: Document) -> None:
    for name in ("limits", "requests"):
        if found := resources.get(name):
            canonicalise(found)


def _default_handler(handler: Document) -> None:
    if request := handler.get(_HANDLER):
        _set(request, path="/", scheme="HTTP")
    if call := handler.get("grpc"):
        _set_absent(call, service="")


def _default_source(source: Document) -> None:
    if reference := source.get("fieldRef"):
        _set(reference, apiVersion="v1")
    if reference := source.get("resourceFieldRef"):
        reference["divisor"] = canonical(str(reference.get("divisor") or "0"))


def _default_volume(volume: Document) -> None:
    kinds = [kind for kind, source in volume.items() if kind != "name" and source is not None]
    if not kinds:
        volume["emptyDir"] = {}
        return
    for kind in kinds:
        source = volume[kind]
        if defaults := VOLUME_DEFAULTS.get(kind):
            _set_absent(source, **defaults)
        if kind == "downwardAPI":
            _default_files(source)
        elif kind == "projected":
            _default_projections(source)
        elif kind == "emptyDir" and source.get("sizeLimit") is not None:
            source["sizeLimit"] = canonical(str(source["sizeLimit"]))
        elif kind == "image":
            _set(source, pullPolicy=pull_policy(source.get("reference") or ""))
        elif kind == "ephemeral" and (template := source.get("volumeClaimTemplate")):
            _set_absent(template.setdefault("spec", {}), volumeMode="Filesystem")


def _default_files(source: Document) -> None:
    for item in source.get("items") or ():
        _default_source(item)


def _default_projections(source: Document) -> None:
    for projection in source.get("sources") or ():
        if token := projection.get("serviceAccountToken"):
            _set_absent(token, expirationSeconds=_TOKEN_LIFETIME)
        if fields := projection.get("downwardAPI"):
            _default_files(fields)
