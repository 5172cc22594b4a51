"""What disruption budgets allow, from what their status says (the arithmetic of pods/eviction's EvictionREST)."""

from __future__ import annotations

from typing import Final

import msgspec

from orch import selectors
from orch.errors import Cause, ForbiddenError, StatusDetails, TooManyRequestsError
from orch.objects.meta import LabelSelector
from orch_api.storage.objects import Cached, to_document
from orch_api.strategy import Document, generation, section

RETRY_AFTER: Final = 10
"""Seconds after which a client should ask again when it is told to."""

_MAX_DISRUPTED: Final = 2000
"""Pods on their way out that a budget remembers at most."""

_BUDGET: Final = "poddisruptionbudget"
_ALLOWED: Final = "DisruptionAllowed"
_CAUSE: Final = "DisruptionBudget"
_VIOLATES: Final = "Cannot evict pod as it would violate the pod's disruption budget."


def selects(budget: Cached, pod: Cached) -> bool:
    """Return whether a budget is for a pod: without a selector it is for none, with an empty one for all."""
    selector = section(to_document(budget.json), "spec").get("selector")
    if selector is None:
        return False
    return selectors.from_label_selector(msgspec.convert(selector, LabelSelector)).matches(pod.labels)


def allows_unready(budget: Document) -> bool:
    """Return whether pods that are not ready may go without counting: always, or while enough others are ready."""
    if section(budget, "spec").get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = section(budget, "status")
    desired: int = status.get("desiredHealthy") or 0
    return 0 < desired <= (status.get("currentHealthy") or 0)


def take(budget: Document, pod: str, now: str) -> None:
    """Take one disruption for a pod from the budget's status. Raises ApiError when that cannot be."""
    status: Document = budget.setdefault("status", {})
    name: str = budget["metadata"]["name"]
    allowed: int = status.get("disruptionsAllowed") or 0
    disrupted: dict[str, str] = section(status, "disruptedPods")
    if (status.get("observedGeneration") or 0) < generation(budget):
        raise later(name)
    if allowed < 0:
        raise ForbiddenError.of(_BUDGET, "policy", name, "pdb disruptions allowed is negative")
    if len(disrupted) > _MAX_DISRUPTED:
        problem = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise ForbiddenError.of(_BUDGET, "policy", name, problem)
    if allowed == 0:
        raise _exhausted(name, status)
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        _set_condition(status, now)
    status["disruptedPods"] = disrupted | {pod: now}


def later(budget: str) -> TooManyRequestsError:
    """Return the error for a budget that does not know yet how many pods may go."""
    message = f"The disruption budget {budget} is still being processed by the server."
    return TooManyRequestsError(
        _VIOLATES, StatusDetails(causes=(Cause(_CAUSE, message),), retry_after_seconds=RETRY_AFTER)
    )


def _exhausted(budget: str, status: Document) -> TooManyRequestsError:
    desired, current = status.get("desiredHealthy") or 0, status.get("currentHealthy") or 0
    message = f"The disruption budget {budget} needs {desired} healthy pods and has {current} currently"
    for one in status.get("conditions") or ():
        if (one.get("type"), one.get("status"), one.get("reason")) == (_ALLOWED, "False", "SyncFailed"):
            problem = "does not allow evicting pods currently because it failed sync"
            message = f"The disruption budget {budget} {problem}: {one.get('message') or ''}"
    return TooManyRequestsError(_VIOLATES, StatusDetails(causes=(Cause(_CAUSE, message),)))


def _set_condition(status: Document, now: str) -> None:
    """Note that no more pods may go."""
    conditions: list[Document] = status.get("conditions") or []
    before = next((one for one in conditions if one.get("type") == _ALLOWED), None)
    condition: Document = {"type": _ALLOWED, "status": "False", "reason": "InsufficientPods", "message": ""}
    condition["lastTransitionTime"] = now
    if before is not None and before.get("status") == "False":
        condition["lastTransitionTime"] = before.get("lastTransitionTime")
    if observed := status.get("observedGeneration"):
        condition["observedGeneration"] = observed
    status["conditions"] = [condition if one is before else one for one in conditions]
    if before is None:
        status["conditions"].append(condition)
