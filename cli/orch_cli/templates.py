"""Manifests of anything that makes pods, read for the pods that it would make."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import yaml

from orch.errors import OrchError

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Wanted(msgspec.Struct, frozen=True):
    """Pods that a manifest asks for. `pod`: a Pod without a name, as the API takes it; `replicas`: 1 unless said."""

    kind: str
    namespace: str
    name: str
    pod: dict[str, Any]
    replicas: int


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Pod(msgspec.Struct, frozen=True):
    spec: dict[str, Any]
    metadata: _Meta | None = None


class _WorkloadSpec(msgspec.Struct, frozen=True):
    template: _Pod
    replicas: _Count | None = None
    parallelism: _Count | None = None


class _CronSpec(msgspec.Struct, frozen=True, rename="camel"):
    job_template: _Workload


class _Workload(msgspec.Struct, frozen=True):
    spec: _WorkloadSpec
    metadata: _Meta | None = None


class _Cron(msgspec.Struct, frozen=True):
    spec: _CronSpec
    metadata: _Meta | None = None


class _Kind(msgspec.Struct, frozen=True):
    kind: str


class _Items(msgspec.Struct, frozen=True):
    items: list[Any] = []


class _PodTemplate(msgspec.Struct, frozen=True):
    template: _Pod
    metadata: _Meta | None = None


_KINDS: Final[Mapping[str, type[_Pod | _PodTemplate | _Workload | _Cron]]] = {
    "Pod": _Pod,
    "PodTemplate": _PodTemplate,
    "Deployment": _Workload,
    "ReplicaSet": _Workload,
    "ReplicationController": _Workload,
    "StatefulSet": _Workload,
    "DaemonSet": _Workload,
    "Job": _Workload,
    "CronJob": _Cron,
}


def read_manifests(source: str, namespace: str) -> list[Wanted]:
    """Return what the documents of a file ("-": the standard input) ask for.

    Raises OrchError, with the document's number and the field's path, for what is not a manifest of pods.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
        documents = list(yaml.safe_load_all(text))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise OrchError(f"{source}: {error}") from error
    found: list[Wanted] = []
    for number, document in enumerate(documents, 1):
        try:
            found.extend(_wanted(each, namespace) for each in _flat(document))
        except (msgspec.ValidationError, OrchError) as error:
            raise OrchError(f"{source}, document {number}: {error}") from error
    if not found:
        raise OrchError(f"{source} holds no manifest")
    return found


def _flat(document: Any) -> Iterator[Any]:
    if document is None:
        return
    if msgspec.convert(document, _Kind).kind.endswith("List"):
        yield from msgspec.convert(document, _Items).items
    else:
        yield document


def _wanted(document: Any, namespace: str) -> Wanted:
    kind = msgspec.convert(document, _Kind).kind
    shape = _KINDS.get(kind)
    if shape is None:
        raise OrchError(f"kind: {kind} makes no pods; expected one of {', '.join(_KINDS)}")
    made = msgspec.convert(document, shape)
    pod, count = _template(made)
    inner, outer = pod.metadata or _Meta(), made.metadata or _Meta()
    kept = {"generateName": "what-if-", "labels": inner.labels or {}, "annotations": inner.annotations or {}}
    return Wanted(
        kind=kind,
        namespace=outer.namespace or namespace,
        name=outer.name or outer.generate_name,
        pod={"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": pod.spec},
        replicas=1 if count is None else count,
    )


def _template(made: _Pod | _PodTemplate | _Workload | _Cron) -> tuple[_Pod, int | None]:
    """Return the pods that are made and how many, None when it is not said."""
    match made:
        case _Pod():
            return made, None
        case _PodTemplate():
            return made.template, None
        case _Cron():
            return _template(made.spec.job_template)
        case _Workload():
            spec = made.spec
            return spec.template, spec.replicas if spec.replicas is not None else spec.parallelism
