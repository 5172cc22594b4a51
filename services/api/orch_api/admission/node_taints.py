"""TaintNodesByCondition: a new node gets no pods before it is known to be ready.

Kubernetes taints every new node. With orch a node registers whole, so that one which says that it is ready needs no
taint; the node lifecycle controller takes the others' away when they become ready.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from orch_api.admission.chain import CREATE, Plugin, Request, Rule
from orch_api.strategy import put_section, section

_TAINT: Final = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class TaintNodesByCondition(Plugin):
    """Taints new nodes that are not ready."""

    name: ClassVar = "TaintNodesByCondition"
    mutates: ClassVar = (Rule((CREATE,), ("nodes",)),)

    async def mutate(self, request: Request) -> None:
        """Add the taint, once."""
        node = request.document
        if node is None or _is_ready(node):
            return
        spec = put_section(node, "spec")
        taints: list[dict[str, Any]] = spec.get("taints") or []
        if not any(one.get("key") == _TAINT["key"] and one.get("effect") == _TAINT["effect"] for one in taints):
            spec["taints"] = [*taints, dict(_TAINT)]


def _is_ready(node: dict[str, Any]) -> bool:
    conditions: list[dict[str, Any]] = section(node, "status").get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
