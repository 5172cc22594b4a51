"""PodDisruptionBudgets: how many pods may be away at a time because somebody wants them to be."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, at, number
from orch_api.kinds.condition_rules import conditions
from orch_api.kinds.workload_rules import counts, share_of_all
from orch_api.resource import Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import Problems, invalid, unsupported

_POLICIES: Final = ("AlwaysAllow", "IfHealthyBudget")
_SHARES: Final = ("minAvailable", "maxUnavailable")
_COUNTS: Final = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


class DisruptionBudgetStrategy(Strategy):
    """The rules of budgets."""

    has_status = True
    has_generation = True

    def name_problems(self, name: str) -> Problems:
        """Refuse only what could not stand in a path."""
        return validation.path_segment(name)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the budget: it says either how many stay, or how many go."""
        spec = section(obj, "spec")
        causes: list[Cause] = []
        if all(spec.get(name) is not None for name in _SHARES):
            causes.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
        for name in _SHARES:
            causes += share_of_all(f"spec.{name}", spec.get(name))
        causes += validation.label_selector("spec.selector", section(spec, "selector"))
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy is not None and policy not in _POLICIES:
            causes.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, _POLICIES))
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with conditions and counts."""
        _ = old
        return conditions("status.conditions", section(obj, "status").get("conditions") or []) + counts(obj, *_COUNTS)


def _share(name: str) -> Cell:
    def cell(obj: Document, now: datetime) -> str:
        _ = now
        value = at(obj, ("spec", name))
        return "N/A" if value is None else str(value)

    return cell


RESOURCES: Final = (
    Resource(
        group="policy",
        plural="poddisruptionbudgets",
        singular="poddisruptionbudget",
        kind="PodDisruptionBudget",
        short_names=("pdb",),
        strategy=DisruptionBudgetStrategy(),
        columns=(
            NAME,
            Column("Min Available", _share("minAvailable"), description="How many pods are to stay."),
            Column("Max Unavailable", _share("maxUnavailable"), description="How many pods may go."),
            Column(
                "Allowed Disruptions",
                number("status", "disruptionsAllowed"),
                type="integer",
                description="How many pods may go now.",
            ),
            AGE,
        ),
        subresources={"status": Subresource("PodDisruptionBudget", "policy")},
    ),
)
