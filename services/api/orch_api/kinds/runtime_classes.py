"""Runtime classes: which runtime runs a pod's containers, and what it costs."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.kinds.quantities import canonicalise, container_resources
from orch_api.kinds.scheduling_rules import tolerations
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, immutable


class RuntimeClassStrategy(Strategy):
    """The rules of runtime classes."""

    def default(self, obj: Document) -> None:
        """Bring the overhead into canonical form."""
        if fixed := section(obj, "overhead").get("podFixed"):
            canonicalise(fixed)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the handler, the overhead and where pods may run."""
        causes = check("handler", obj.get("handler") or "", validation.dns_label)
        if fixed := section(obj, "overhead").get("podFixed"):
            causes += container_resources("overhead", {"limits": fixed})
        scheduling = section(obj, "scheduling")
        causes += validation.label_map("scheduling.nodeSelector", section(scheduling, "nodeSelector"))
        return causes + tolerations("scheduling.tolerations", scheduling.get("tolerations") or [])

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the handler changes."""
        same = obj.get("handler") == old.get("handler")
        return [] if same else [immutable("handler", obj.get("handler") or "")]


RESOURCES: Final = (
    Resource(
        group="node.k8s.io",
        plural="runtimeclasses",
        singular="runtimeclass",
        kind="RuntimeClass",
        namespaced=False,
        strategy=RuntimeClassStrategy(),
        columns=(NAME, Column("Handler", text("handler"), description="The runtime's own name of its setting."), AGE),
    ),
)
