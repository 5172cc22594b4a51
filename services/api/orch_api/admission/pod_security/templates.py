"""Where the pods of workloads are described: the kinds that have a template, and where in them it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orch_api.admission.pod_security.views import Looked
from orch_api.strategy import Document, section

_SPEC: Final = ("spec", "template")

TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "replicationcontrollers": _SPEC,
    "podtemplates": ("template",),
    "replicasets.apps": _SPEC,
    "deployments.apps": _SPEC,
    "statefulsets.apps": _SPEC,
    "daemonsets.apps": _SPEC,
    "jobs.batch": _SPEC,
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}


def looked(pod: Mapping[str, Any]) -> Looked:
    """Return a pod or a template as it is checked."""
    return Looked(section(section(pod, "metadata"), "annotations"), section(pod, "spec"))


def template_of(resource: str, document: Document) -> Looked | None:
    """Return the template of a workload, None when it has none."""
    found: Document | None = document
    for name in TEMPLATES[resource]:
        found = section(found or {}, name) or None
    return None if found is None else looked(found)
