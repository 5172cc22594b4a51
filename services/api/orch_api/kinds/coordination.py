"""Leases: who does something, and until when."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import invalid, non_negative


class LeaseStrategy(Strategy):
    """The rules of leases."""

    made_by_update = True

    def validate(self, obj: Document) -> list[Cause]:
        """Return which numbers cannot be, or that the holder is an empty text."""
        spec = section(obj, "spec")
        causes: list[Cause] = []
        duration: int | None = spec.get("leaseDurationSeconds")
        if duration is not None and duration <= 0:
            causes.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        causes += non_negative("spec.leaseTransitions", spec.get("leaseTransitions") or 0)
        return causes


RESOURCES: Final = (
    Resource(
        group="coordination.k8s.io",
        plural="leases",
        singular="lease",
        kind="Lease",
        strategy=LeaseStrategy(),
        columns=(NAME, Column("Holder", text("spec", "holderIdentity"), description="Who holds the lease."), AGE),
    ),
)
