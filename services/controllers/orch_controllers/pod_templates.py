"""The pods that controllers make of a template (k8s.io/kubernetes pkg/controller GetPodFromTemplate)."""

from __future__ import annotations

import random
from typing import Any, Final

from orch.objects.meta import ObjectMeta
from orch.objects.pods import PodTemplate
from orch.objects.scheme import Kind
from orch_controllers.documents import controller_reference

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX: Final = 5
_MAX_PREFIX: Final = 63 - _SUFFIX


def generated_name(owner: str) -> str:
    """Return a name as the api would generate it.

    It is chosen here so that, when the answer to a creation does not come, the pod can be looked up by its name.
    """
    suffix = "".join(random.choices(_ALPHABET, k=_SUFFIX))  # noqa: S311 - a collision is noticed and tried again
    return f"{owner}-"[:_MAX_PREFIX] + suffix


def pod_of(kind: Kind[Any], owner: ObjectMeta, template: PodTemplate, name: str) -> dict[str, Any]:
    """Return the body of a pod of the template that is controlled by `owner`, an object of `kind`."""
    metadata: dict[str, Any] = {
        "name": name,
        "generateName": f"{owner.name}-",
        "labels": template.metadata.labels,
        "ownerReferences": [controller_reference(kind, owner)],
    }
    if template.metadata.annotations:
        metadata["annotations"] = template.metadata.annotations
    if template.metadata.finalizers:
        metadata["finalizers"] = list(template.metadata.finalizers)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}
