"""ExtendedResourceToleration: who asks for a device may run on the nodes that are kept for those who do.

Off by default. Nodes with the resource `example.com/gpu` are tainted with this very key.
"""

from __future__ import annotations

from typing import Any, ClassVar

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.kinds.quantities import is_extended
from orch_api.strategy import put_section, section


class ExtendedResourceToleration(Plugin):
    """Adds a toleration for each extended resource that a pod asks for."""

    name: ClassVar = "ExtendedResourceToleration"
    mutates: ClassVar = (Rule((CREATE, UPDATE), ("pods",)),)

    async def mutate(self, request: Request) -> None:
        """Add the tolerations."""
        if request.document is None:
            return
        spec = put_section(request.document, "spec")
        wanted = {
            name
            for part in ("containers", "initContainers")
            for container in spec.get(part) or ()
            for name in section(section(container, "resources"), "requests")
            if is_extended(name)
        }
        if not wanted:
            return
        tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
        added = [
            {"key": name, "operator": "Exists"}
            for name in sorted(wanted)
            if not any(_covers(toleration, name) for toleration in tolerations)
        ]
        if added:
            spec["tolerations"] = [*tolerations, *added]


def _covers(toleration: dict[str, Any], name: str) -> bool:
    return toleration.get("operator") == "Exists" and not toleration.get("effect") and toleration.get("key") == name
