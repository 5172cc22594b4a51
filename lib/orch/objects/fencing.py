"""Which pods must never run twice: a node stops them itself when it may have been given up, and only then they move.

Controllers and agents share this rule: the one side keeps the promise that the other relies on.
"""

from __future__ import annotations

from typing import Final

from orch.objects.pods import Pod

ANNOTATION: Final = "orch.dev/fenced"
"""Set to "true" or "false", it says so for a pod of any owner."""

_OWNER: Final = "StatefulSet"


def is_fenced_by_lease(pod: Pod) -> bool:
    """Return whether the pod lives by its node's lease: a StatefulSet's does, others may ask for it."""
    asked = pod.metadata.annotations.get(ANNOTATION, "")
    if asked:
        return asked == "true"
    owner = pod.metadata.controller
    return owner is not None and owner.kind == _OWNER and owner.api_version.startswith("apps/")
