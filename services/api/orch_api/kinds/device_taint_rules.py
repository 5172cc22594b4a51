"""Device taint rules: taints that an administrator puts on devices of other people's drivers."""

from __future__ import annotations

from typing import Final

from orch.clock import Clock, SystemClock, rfc3339
from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, since, text
from orch_api.kinds.condition_rules import conditions
from orch_api.kinds.device_rules import GROUP, label, pool_name, taint
from orch_api.kinds.persistent_volume_rules import driver_name
from orch_api.kinds.status_metadata import BareStatusStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, put_section, section
from orch_api.validation import too_many

_MAX_CONDITIONS: Final = 8


class DeviceTaintRuleStrategy(BareStatusStrategy):
    """The rules of taint rules. The clock says since when a taint has its effect."""

    has_generation = True

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def default(self, obj: Document) -> None:
        """Put the taint on now."""
        found = put_section(put_section(obj, "spec"), "taint")
        if found.get("timeAdded") is None:
            found["timeAdded"] = rfc3339(self._clock.now())

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Count the time of a changed effect from now, unless the user says otherwise."""
        found, before = section(section(obj, "spec"), "taint"), section(section(old, "spec"), "taint")
        if found.get("effect") != before.get("effect") and found.get("timeAdded") == before.get("timeAdded"):
            found["timeAdded"] = rfc3339(self._clock.now())
        super().prepare_update(obj, old)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the selector and the taint."""
        spec = section(obj, "spec")
        selector = section(spec, "deviceSelector")
        at = "spec.deviceSelector"
        causes: list[Cause] = []
        for name, rule in (("driver", driver_name), ("pool", pool_name), ("device", label)):
            if selector.get(name) is not None:
                causes += rule(f"{at}.{name}", selector[name])
        return causes + taint("spec.taint", section(spec, "taint"))

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the conditions."""
        _ = old
        found: list[Document] = section(obj, "status").get("conditions") or []
        causes = conditions("status.conditions", found)
        if len(found) > _MAX_CONDITIONS:
            causes.append(too_many("status.conditions", len(found), _MAX_CONDITIONS))
        return causes


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="devicetaintrules",
        singular="devicetaintrule",
        kind="DeviceTaintRule",
        namespaced=False,
        strategy=DeviceTaintRuleStrategy(),
        columns=(
            NAME,
            Column("Key", text("spec", "taint", "key"), description="The taint's key."),
            Column("Value", text("spec", "taint", "value"), description="The taint's value."),
            Column("Effect", text("spec", "taint", "effect"), description="What the taint does."),
            Column(
                "TimeAdded",
                lambda obj, now: since(section(section(obj, "spec"), "taint").get("timeAdded"), now),
                description="Since when it does so.",
            ),
            AGE,
        ),
        subresources={"status": Subresource("DeviceTaintRule", group=GROUP)},
    ),
)
