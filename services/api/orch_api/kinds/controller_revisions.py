"""ControllerRevisions: states that stateful sets and daemon sets can return to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, NONE, number
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import immutable, non_negative, required, same


class ControllerRevisionStrategy(Strategy):
    """The rules of revisions: what is kept in one is an object, and never changes."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return whether the state is missing or no object, and a number that cannot be."""
        data: Any = obj.get("data")
        causes: list[Cause] = []
        if data is None:
            causes.append(required("data", "data is mandatory"))
        elif not isinstance(data, dict):
            causes.append(required("data", "data must be a valid JSON object"))
        return causes + non_negative("revision", obj.get("revision") or 0)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the state changes."""
        return [] if same(obj.get("data"), old.get("data")) else [immutable("data", obj.get("data"))]


def _controller(obj: Document, now: datetime) -> str:
    """Return the owner that controls the revision: daemonset.apps/agent."""
    _ = now
    for owner in section(obj, "metadata").get("ownerReferences") or ():
        if owner.get("controller"):
            group = (owner.get("apiVersion") or "").rpartition("/")[0]
            kind: str = owner.get("kind") or ""
            return f"{f'{kind}.{group}' if group else kind}/{owner.get('name')}".lower()
    return NONE


RESOURCES: Final = (
    Resource(
        group="apps",
        plural="controllerrevisions",
        singular="controllerrevision",
        kind="ControllerRevision",
        strategy=ControllerRevisionStrategy(),
        columns=(
            NAME,
            Column("Controller", _controller, description="The object whose state this is."),
            Column("Revision", number("revision"), description="Which of the controller's states it is."),
            AGE,
        ),
    ),
)
