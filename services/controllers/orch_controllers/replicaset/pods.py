"""The pods that a replica set makes."""

from __future__ import annotations

import random
from typing import Any, Final

from orch.objects.apps import ReplicaSet
from orch.objects.scheme import REPLICA_SETS
from orch_controllers.documents import controller_reference

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX: Final = 5
_MAX_PREFIX: Final = 63 - _SUFFIX


def pod_name(owner: ReplicaSet) -> str:
    """Return a name as the api would generate it.

    It is chosen here so that, when the answer to a creation does not come, the pod can be looked up by its name.
    """
    suffix = "".join(random.choices(_ALPHABET, k=_SUFFIX))  # noqa: S311 - a collision is noticed and tried again
    return f"{owner.metadata.name}-"[:_MAX_PREFIX] + suffix


def pod_of(owner: ReplicaSet, name: str) -> dict[str, Any]:
    """Return the body of a pod of the template."""
    template = owner.spec.template
    metadata: dict[str, Any] = {
        "name": name,
        "generateName": f"{owner.metadata.name}-",
        "labels": template.metadata.labels,
        "ownerReferences": [controller_reference(REPLICA_SETS, owner.metadata)],
    }
    if template.metadata.annotations:
        metadata["annotations"] = template.metadata.annotations
    if template.metadata.finalizers:
        metadata["finalizers"] = list(template.metadata.finalizers)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}
