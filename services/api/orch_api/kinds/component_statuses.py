"""ComponentStatuses: whether the parts of the cluster are well, found out when somebody asks and never stored."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch_api.kinds.columns import NAME
from orch_api.resource import Cell, Column, Resource
from orch_api.strategy import Document, Strategy

KIND: Final = "ComponentStatus"
HEALTHY: Final = "Healthy"

_SHOWN: Final = {"True": "Healthy", "False": "Unhealthy"}


def _condition(name: str) -> Cell:
    def cell(obj: Document, now: datetime) -> str:
        _ = now
        for condition in obj.get("conditions") or ():
            if condition.get("type") == HEALTHY:
                value: str = condition.get(name) or ""
                return _SHOWN.get(value, "Unknown") if name == "status" else value
        return "Unknown" if name == "status" else ""

    return cell


RESOURCES: Final = (
    Resource(
        plural="componentstatuses",
        singular="componentstatus",
        kind=KIND,
        namespaced=False,
        short_names=("cs",),
        verbs=frozenset({"get", "list"}),
        strategy=Strategy(),
        columns=(
            NAME,
            Column("Status", _condition("status"), description="Whether the component is well."),
            Column("Message", _condition("message"), description="What it says."),
            Column("Error", _condition("error"), description="What is wrong."),
        ),
        deprecation="v1 ComponentStatus is deprecated in v1.19+",
        stored=False,
    ),
)
