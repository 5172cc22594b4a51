"""LimitPodHardAntiAffinityTopology: required anti-affinity keeps pods apart by node, not by zone or region.

Whoever demands that nothing else of some kind is in a whole zone keeps others out of it. Off by default.
"""

from __future__ import annotations

from typing import ClassVar, Final

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.strategy import section

_HOSTNAME: Final = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology(Plugin):
    """Refuses pods with required anti-affinity over anything but nodes."""

    name: ClassVar = "LimitPodHardAntiAffinityTopology"
    validates: ClassVar = (Rule((CREATE, UPDATE), ("pods",)),)

    async def validate(self, request: Request) -> None:
        """Look at each required term. Raises ForbiddenError."""
        affinity = section(section(request.document or {}, "spec"), "affinity")
        for term in section(affinity, "podAntiAffinity").get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            key = term.get("topologyKey")
            if key != _HOSTNAME:
                problem = (
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key "
                    f"{_HOSTNAME} is allowed"
                )
                raise refused(request, problem)
