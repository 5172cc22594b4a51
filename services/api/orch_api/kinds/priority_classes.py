"""Priority classes: names for the priorities of pods (k8s.io/kubernetes/pkg/apis/scheduling/validation)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, number, text
from orch_api.kinds.pod_defaults import SYSTEM_PRIORITIES
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import forbidden, immutable, one_of

HIGHEST_FOR_USERS: Final = 1_000_000_000
_SYSTEM_PREFIX: Final = "system-"
_PREEMPTION_POLICIES: Final = ("PreemptLowerPriority", "Never")


class PriorityClassStrategy(Strategy):
    """The rules of priority classes."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Let pods push others aside; no value is 0."""
        if obj.get("preemptionPolicy") is None:
            obj["preemptionPolicy"] = "PreemptLowerPriority"
        if obj.get("value") is None:
            obj["value"] = 0

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Never count: what decides may not change."""
        _ = obj, old
        return False

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the name, the value and the policy."""
        name: str = section(obj, "metadata").get("name") or ""
        value: int = obj.get("value") or 0
        causes: list[Cause] = []
        if name.startswith(_SYSTEM_PREFIX):
            if problem := _system_problem(name, value, obj):
                reserved = "priority class names with 'system-' prefix are reserved for system use only. error: "
                causes.append(forbidden("metadata.name", reserved + problem))
        elif value > HIGHEST_FOR_USERS:
            problem = f"maximum allowed value of a user defined priority is {HIGHEST_FOR_USERS}"
            causes.append(forbidden("value", problem))
        return causes + one_of("preemptionPolicy", obj.get("preemptionPolicy") or "", _PREEMPTION_POLICIES)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change."""
        causes: list[Cause] = []
        if (obj.get("value") or 0) != (old.get("value") or 0):
            causes.append(forbidden("value", "may not be changed in an update."))
        if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
            causes.append(immutable("preemptionPolicy", obj.get("preemptionPolicy")))
        return causes


def _system_problem(name: str, value: int, obj: Document) -> str:
    known = SYSTEM_PRIORITIES.get(name)
    if known is None:
        return f"{name} is not a known system priority class"
    if value != known:
        return f"value of {name} PriorityClass must be {known}"
    return f"globalDefault of {name} PriorityClass must be false" if obj.get("globalDefault") else ""


def _is_default(obj: Document, now: datetime) -> bool:
    _ = now
    return bool(obj.get("globalDefault"))


RESOURCES: Final = (
    Resource(
        group="scheduling.k8s.io",
        plural="priorityclasses",
        singular="priorityclass",
        kind="PriorityClass",
        namespaced=False,
        short_names=("pc",),
        strategy=PriorityClassStrategy(),
        columns=(
            NAME,
            Column("Value", number("value"), type="integer", description="The priority of the class's pods."),
            Column("Global-Default", _is_default, type="boolean", description="Whether pods without a class get it."),
            AGE,
            Column(
                "PreemptionPolicy", text("preemptionPolicy"), description="Whether pods push others aside.", priority=1
            ),
        ),
    ),
)
