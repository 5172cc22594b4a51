"""DefaultTolerationSeconds: how long a pod stays bound to a node that is lost, unless it says so itself.

For 3 seconds, unlike in Kubernetes (docs/adr/0003-default-toleration-seconds.md).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.strategy import put_section

DEFAULT_SECONDS: Final = 3
"""Kubernetes waits 300 s."""

_NOT_READY: Final = "node.kubernetes.io/not-ready"
_UNREACHABLE: Final = "node.kubernetes.io/unreachable"


class DefaultTolerationSeconds(Plugin):
    """Adds the tolerations that a pod does not have."""

    name: ClassVar = "DefaultTolerationSeconds"
    mutates: ClassVar = (Rule((CREATE, UPDATE), ("pods",)),)

    def __init__(self, not_ready: int = DEFAULT_SECONDS, unreachable: int = DEFAULT_SECONDS) -> None:
        self._seconds = ((_NOT_READY, not_ready), (_UNREACHABLE, unreachable))

    async def mutate(self, request: Request) -> None:
        """Add the tolerations."""
        if request.document is None:
            return
        spec = put_section(request.document, "spec")
        tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
        added = [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            for taint, seconds in self._seconds
            if not any(_covers(toleration, taint) for toleration in tolerations)
        ]
        if added:
            spec["tolerations"] = [*tolerations, *added]


def _covers(toleration: dict[str, Any], taint: str) -> bool:
    return (toleration.get("key") or taint) == taint and (toleration.get("effect") or "NoExecute") == "NoExecute"
