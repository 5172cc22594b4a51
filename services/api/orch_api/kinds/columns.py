"""What the tables of several kinds share: names, ages, containers, selectors (k8s.io/kubernetes/pkg/printers)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from orch.clock import parse_rfc3339
from orch_api.resource import Cell, Column
from orch_api.strategy import Document, section

NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_YEAR: Final = 365 * _DAY


def human_duration(seconds: int) -> str:
    """Return a time span in at most two units: 45s, 3m12s, 5d3h."""
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 0)}s" if seconds >= -1 else "<invalid>"
    for limit, unit, name, part, part_name in (
        (10 * _MINUTE, _MINUTE, "m", 1, "s"),
        (3 * _HOUR, _MINUTE, "m", 0, ""),
        (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
        (2 * _DAY, _HOUR, "h", 0, ""),
        (8 * _DAY, _DAY, "d", _HOUR, "h"),
        (2 * _YEAR, _DAY, "d", 0, ""),
        (8 * _YEAR, _YEAR, "y", _DAY, "d"),
    ):
        if seconds < limit:
            whole, rest = divmod(seconds, unit)
            parts = rest // part if part else 0
            return f"{whole}{name}{parts}{part_name}" if parts else f"{whole}{name}"
    return f"{seconds // _YEAR}y"


@lru_cache(8192)
def _moment(timestamp: str) -> datetime | None:
    try:
        return parse_rfc3339(timestamp)
    except ValueError:
        return None


def since(timestamp: str | None, now: datetime) -> str:
    """Return how long ago a moment was."""
    moment = _moment(timestamp) if timestamp else None
    return UNKNOWN if moment is None else human_duration(int((now - moment).total_seconds()))


def age(obj: Document, now: datetime) -> str:
    """Return how old an object is."""
    return since(section(obj, "metadata").get("creationTimestamp"), now)


def name(obj: Document, now: datetime) -> str:
    """Return the object's name."""
    _ = now
    return section(obj, "metadata").get("name") or ""


NAME: Final = Column("Name", name, format="name", description="Name must be unique within a namespace.")
AGE: Final = Column("Age", age, description="Time since the object was created.")


def number(*path: str) -> Cell:
    """Return the cell of a whole number at a path, 0 when it is absent."""

    def cell(obj: Document, now: datetime) -> int:
        _ = now
        return at(obj, path) or 0

    return cell


def text(*path: str, missing: str = "") -> Cell:
    """Return the cell of a text at a path."""

    def cell(obj: Document, now: datetime) -> str:
        _ = now
        return at(obj, path) or missing

    return cell


def at(obj: Mapping[str, Any], path: Iterable[str]) -> Any:
    """Return what is at a path of maps, None when it is not there."""
    value: Any = obj
    for key in path:
        if not value:
            return None
        value = value.get(key)
    return value


def container_columns(*path: str) -> tuple[Column, Column]:
    """Return the columns of the containers and their images in the pod template at a path; shown with `-o wide`."""
    place = (*path, "spec", "containers")

    def names(obj: Document, now: datetime) -> str:
        _ = now
        return ",".join(container.get("name") or "" for container in at(obj, place) or ())

    def images(obj: Document, now: datetime) -> str:
        _ = now
        return ",".join(container.get("image") or "" for container in at(obj, place) or ())

    return (
        Column("Containers", names, description="Names of each container in the template.", priority=1),
        Column("Images", images, description="Images referenced by each container in the template.", priority=1),
    )


def selector_column(*path: str) -> Column:
    """Return the column of the metav1.LabelSelector at a path; shown with `-o wide`."""

    def selector(obj: Document, now: datetime) -> str:
        _ = now
        return format_selector(at(obj, path))

    return Column("Selector", selector, description="Which pods belong to the object.", priority=1)


WORKLOAD_DETAILS: Final = (*container_columns("spec", "template"), selector_column("spec", "selector"))


def format_labels(labels: Mapping[str, str]) -> str:
    """Return labels as a selector is written."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """Return a metav1.LabelSelector as it is written on a command line."""
    if not selector:
        return NONE
    labels: dict[str, str] = selector.get("matchLabels") or {}
    parts = [(key, f"{key}={value}") for key, value in labels.items()]
    for requirement in selector.get("matchExpressions") or ():
        key: str = requirement.get("key") or ""
        values = ",".join(sorted(requirement.get("values") or ()))
        operator: str = requirement.get("operator") or ""
        written = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append((key, written.get(operator, f"{key} {operator}")))
    return ",".join(part for _, part in sorted(parts)) or NONE
