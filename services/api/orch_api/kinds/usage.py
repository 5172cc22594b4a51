"""NodeMetrics and PodMetrics (metrics.k8s.io): what is used, measured by the nodes and never stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from orch import quantity
from orch_api.kinds.columns import NAME, text
from orch_api.resource import Cell, Column, Resource
from orch_api.strategy import Document, Strategy, section

GROUP: Final = "metrics.k8s.io"
_READ: Final = frozenset({"get", "list"})


def _usages(obj: Document) -> list[Document]:
    """Return what a node uses, or each of a pod's containers."""
    containers: list[Document] | None = obj.get("containers")
    return [section(obj, "usage")] if containers is None else [section(one, "usage") for one in containers]


def _total(name: str, shown: Callable[[str], Any]) -> Cell:
    def cell(obj: Document, now: datetime) -> str:
        _ = now
        return shown("+".join(str(usage.get(name) or "0") for usage in _usages(obj)))

    return cell


def _milli(texts: str) -> str:
    return f"{sum(quantity.milli(one) for one in texts.split('+'))}m"


def _mebibytes(texts: str) -> str:
    return f"{sum(quantity.value(one) for one in texts.split('+')) >> 20}Mi"


_USAGE: Final = (
    NAME,
    Column("cpu", _total("cpu", _milli), description="Processors used, in thousandths."),
    Column("memory", _total("memory", _mebibytes), description="Memory in use."),
    Column("Window", text("window"), format="duration", description="The time that the use is the average of."),
)

RESOURCES: Final = (
    Resource(
        group=GROUP,
        version="v1beta1",
        plural="nodes",
        singular="",
        kind="NodeMetrics",
        namespaced=False,
        verbs=_READ,
        strategy=Strategy(),
        columns=_USAGE,
        stored=False,
    ),
    Resource(
        group=GROUP,
        version="v1beta1",
        plural="pods",
        singular="",
        kind="PodMetrics",
        verbs=_READ,
        strategy=Strategy(),
        columns=_USAGE,
        stored=False,
    ),
)
