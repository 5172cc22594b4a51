"""What the kinds that keep pods running have in common: replicas, shares of them, counts in their status."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import number
from orch_api.kinds.pod_templates import default_template, name_warnings, template_warnings
from orch_api.resource import Column, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import invalid, non_negative

Share = int | str | None
"""A number of pods, or a percentage of those that are wanted (IntOrString)."""

SCALE: Final = {"scale": Subresource("Scale", "autoscaling", "v1")}

_ABOVE_ALL: Final = "cannot be greater than status.replicas"


class WorkloadStrategy(Strategy):
    """A kind with one template for its pods at `spec.template`."""

    has_status = True
    has_generation = True

    def default(self, obj: Document) -> None:
        """Fill in the template."""
        default_template(put_section(obj, "spec"))

    def warnings(self, obj: Document) -> list[str]:
        """Point out what is odd in the name and in the template."""
        return name_warnings(obj) + template_warnings("spec.template", section(section(obj, "spec"), "template"))


class ReplicatedStrategy(WorkloadStrategy):
    """A kind that says how many of its pods there are to be."""

    def default(self, obj: Document) -> None:
        """Ask for one replica, and fill in the template."""
        spec = put_section(obj, "spec")
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        super().default(obj)


def counts(obj: Document, *names: str) -> list[Cause]:
    """Return which counts of a status are negative."""
    status = section(obj, "status")
    return [cause for name in names for cause in non_negative(f"status.{name}", status.get(name) or 0)]


def counts_of_replicas(obj: Document, *names: str, ready: str = "readyReplicas") -> list[Cause]:
    """Return which counts are larger than that of all pods, and whether more serve than are ready.

    `ready` is what the message calls the pods that are ready.
    """
    status = section(obj, "status")
    causes = [
        invalid(f"status.{name}", status.get(name) or 0, _ABOVE_ALL)
        for name in names
        if (status.get(name) or 0) > (status.get("replicas") or 0)
    ]
    available: int = status.get("availableReplicas") or 0
    if available > (status.get("readyReplicas") or 0):
        causes.append(invalid("status.availableReplicas", available, f"cannot be greater than {ready}"))
    return causes


def collisions(obj: Document, old: Document) -> list[Cause]:
    """Return the cause when the count of collisions falls."""
    now: int | None = section(obj, "status").get("collisionCount")
    before: int | None = section(old, "status").get("collisionCount")
    if before is None or (now is not None and now >= before):
        return []
    return [invalid("status.collisionCount", now or 0, "cannot be decremented")]


def share(at: str, value: Share) -> list[Cause]:
    """Return what is wrong with a count or a percentage."""
    if isinstance(value, str):
        return validation.check(at, value, validation.percent)
    return non_negative(at, value or 0)


def share_of_all(at: str, value: Share) -> list[Cause]:
    """Return what is wrong with a count, or with a percentage that must not be more than all."""
    causes = share(at, value)
    if not causes and isinstance(value, str) and share_value(value) > 100:
        causes.append(invalid(at, value, "must not be greater than 100%"))
    return causes


def share_value(value: Share) -> int:
    """Return the number in a count or a valid percentage."""
    return int(value.removesuffix("%")) if isinstance(value, str) else value or 0


def ready(obj: Document, now: datetime) -> Any:
    """Return the cell of the ready pods, of those that are wanted."""
    _ = now
    return f"{section(obj, 'status').get('readyReplicas') or 0}/{section(obj, 'spec').get('replicas') or 0}"


def count(heading: str, *path: str, description: str) -> Column:
    """Return the column of a whole number at a path."""
    return Column(heading, number(*path), type="integer", description=description)
