"""Static pods as files say them: one a file, JSON or YAML, named and marked as kubelet does (pkg/kubelet/config)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import yaml

from orch import quantity
from orch.errors import OrchError
from orch.objects.pods import Pod
from orch_agent.pods.resources import qos_class
from orch_agent.pods.static import CONFIG_HASH, CONFIG_MIRROR, CONFIG_SEEN, CONFIG_SOURCE

_SOURCE: Final = "file"
_LONGEST: Final = 3 << 20
_MOST_VALUES: Final = 100_000
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME: Final = 253
_VOLUMES: Final = {
    "secret": "secrets",
    "configMap": "configmaps",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims",
}
_PROJECTED: Final = {
    "secret": "secrets",
    "configMap": "configmaps",
    "serviceAccountToken": "serviceaccounts",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}
_VARIABLES: Final = {"secretKeyRef": "secrets", "configMapKeyRef": "configmaps"}
_SOURCES: Final = {"secretRef": "secrets", "configMapRef": "configmaps"}
_CONTAINERS: Final = ("initContainers", "containers")

Document = dict[str, Any]


class ManifestError(OrchError):
    """A file is no pod that a node can run on its own; the message says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A pod of a file: as workers know it, and as its mirror is to be written, but for the mirror's owner."""

    pod: Pod
    mirror: Mapping[str, Any]

    @property
    def uid(self) -> str:
        """What tells one content of a file from another."""
        return self.pod.metadata.uid

    @property
    def name(self) -> tuple[str, str]:
        """Namespace and name, in the api as well."""
        return self.pod.metadata.namespace, self.pod.metadata.name


def read_manifest(file: Path, node: str, now: str) -> Manifest:
    """Return the pod that a file holds, as it is on `node`. Raises ManifestError."""
    document = _parsed(_content(file))
    spec, meta = _section(document, "spec"), _section(document, "metadata")
    name = f"{meta.get('name')}-{node.lower()}"
    namespace = meta.get("namespace") or "default"
    _check_names(meta.get("name"), name, namespace)
    reference = next(_references(spec), "")
    if reference:
        raise ManifestError(f"static pods may not reference {reference}")
    _complete(spec, node)
    described: Document = {
        "name": name,
        "namespace": namespace,
        "labels": meta.get("labels") or {},
        "annotations": meta.get("annotations") or {},
    }
    uid = _hashed({"metadata": described, "spec": spec}, node, file)
    marks = {CONFIG_HASH: uid, CONFIG_SEEN: now, CONFIG_SOURCE: _SOURCE}
    annotations = {**described["annotations"], **marks}
    head: Document = {"apiVersion": "v1", "kind": "Pod"}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    own = {**described, "uid": uid, "annotations": annotations, "creationTimestamp": now}
    try:
        pod = msgspec.convert(
            {**head, "metadata": own, "spec": spec, "status": {"phase": "Pending", "conditions": [scheduled]}}, Pod
        )
        quality = qos_class(pod)
    except (msgspec.ValidationError, ValueError) as error:
        raise ManifestError(f"couldn't parse as pod: {error}") from error
    _check_containers(pod)
    status = msgspec.structs.replace(pod.status, qos_class=quality)
    shown = {**described, "annotations": {**annotations, CONFIG_MIRROR: uid}}
    return Manifest(pod=msgspec.structs.replace(pod, status=status), mirror={**head, "metadata": shown, "spec": spec})


def _content(file: Path) -> str:
    try:
        with file.open("rb") as source:
            data = source.read(_LONGEST + 1)
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror}") from error
    if len(data) > _LONGEST:
        raise ManifestError(f"is longer than {_LONGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"is not UTF-8: {error}") from error


def _parsed(text: str) -> Document:
    try:
        document: object = yaml.safe_load(text)  # JSON is YAML
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"couldn't parse as pod: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ManifestError("couldn't parse as pod: it is not an object")
    found = cast("Document", document)
    _check_size(found)
    if (found.get("apiVersion"), found.get("kind")) != ("v1", "Pod"):
        raise ManifestError(f"couldn't parse as pod: it is {found.get('apiVersion')} {found.get('kind')}, not v1 Pod")
    return found


def _check_size(document: object) -> None:
    """Raise ManifestError for what YAML's aliases make much of, or endless."""
    left, stack = _MOST_VALUES, [document]
    while stack:
        value = stack.pop()
        left -= 1
        if left < 0:
            raise ManifestError(f"couldn't parse as pod: it has more than {_MOST_VALUES} values")
        if isinstance(value, dict):
            stack.extend(cast("Document", value).values())
        elif isinstance(value, list):
            stack.extend(cast("list[object]", value))


def _section(document: Document, name: str) -> Document:
    found: object = document.get(name)
    if not isinstance(found, dict):
        raise ManifestError(f"couldn't parse as pod: {name} is not an object")
    return cast("Document", found)


def _check_names(given: object, name: str, namespace: object) -> None:
    if not isinstance(given, str) or not given:
        raise ManifestError("invalid pod: metadata.name: Required value: name or generateName is required")
    if len(name) > _LONGEST_NAME or not _SUBDOMAIN.fullmatch(name):
        raise ManifestError(
            f'invalid pod: metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of '
            "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        )
    if not isinstance(namespace, str) or not _LABEL.fullmatch(namespace):
        raise ManifestError(
            f'invalid pod: metadata.namespace: Invalid value: "{namespace}": a lowercase RFC 1123 label must consist '
            "of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"
        )


def _check_containers(pod: Pod) -> None:
    if not pod.spec.containers:
        raise ManifestError("invalid pod: spec.containers: Required value")
    seen: set[str] = set()
    for part, containers in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        for place, container in enumerate(containers):
            at = f"invalid pod: spec.{part}[{place}]"
            if not _LABEL.fullmatch(container.name):
                raise ManifestError(f'{at}.name: Invalid value: "{container.name}": must be a lowercase RFC 1123 label')
            if container.name in seen:
                raise ManifestError(f'{at}.name: Duplicate value: "{container.name}"')
            if not container.image:
                raise ManifestError(f"{at}.image: Required value")
            seen.add(container.name)


def _complete(spec: Document, node: str) -> None:
    """Put in what kubelet and the api's defaults would."""
    spec["nodeName"] = node
    tolerations: list[Document] = list(spec.get("tolerations") or ())
    everything = {"operator": "Exists", "effect": "NoExecute"}
    spec["tolerations"] = tolerations if everything in tolerations else [*tolerations, everything]
    for container in _containers(spec):
        resources: Document = container.get("resources") or {}
        for kind in ("requests", "limits"):
            if isinstance(resources.get(kind), dict):
                amounts = resources[kind].items()
                resources[kind] = {name: _quantity(amount, f"resources.{kind}[{name}]") for name, amount in amounts}
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort", 0))


def _quantity(amount: object, field: str) -> str:
    text = str(amount)
    try:
        quantity.milli(text)
    except ValueError as error:
        raise ManifestError(f'invalid pod: {field}: Invalid value: "{text}": {error}') from error
    return text


def _containers(spec: Document) -> Iterator[Document]:
    for part in _CONTAINERS:
        containers: object = spec.get(part) or ()
        if not isinstance(containers, list | tuple):
            raise ManifestError(f"couldn't parse as pod: spec.{part} is not a list")
        for container in cast("list[object]", containers):
            if not isinstance(container, dict):
                raise ManifestError(f"couldn't parse as pod: spec.{part} holds what is not an object")
            yield cast("Document", container)


def _references(spec: Document) -> Iterator[str]:
    """Yield what of the api's the pod refers to: such a pod could not be run without the api."""
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        yield "serviceaccounts"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    for volume in spec.get("volumes") or ():
        yield from _present(volume, _VOLUMES)
        for source in _inner(volume, "projected").get("sources") or ():
            yield from _present(source, _PROJECTED)
    for container in _containers(spec):
        for variable in container.get("env") or ():
            yield from _present(_inner(variable, "valueFrom"), _VARIABLES)
        for source in container.get("envFrom") or ():
            yield from _present(source, _SOURCES)


def _inner(document: object, name: str) -> Document:
    found = cast("Document", document).get(name) if isinstance(document, dict) else None
    return cast("Document", found) if isinstance(found, dict) else {}


def _present(source: object, known: Mapping[str, str]) -> Iterator[str]:
    if isinstance(source, dict):
        fields = cast("Document", source)
        yield from (what for field, what in known.items() if fields.get(field) is not None)


def _hashed(content: Document, node: str, file: Path) -> str:
    """Return a uid: the same for the same content of the same file of the same node, also in another process."""
    digest = hashlib.md5(usedforsecurity=False)
    digest.update(msgspec.json.encode(content, order="sorted"))
    digest.update(f"host:{node}file:{file}".encode())
    return digest.hexdigest()
