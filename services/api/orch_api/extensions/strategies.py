"""The rules of user-defined kinds: what their schemas say, and what holds for all of them.

Follows apiextensions' pkg/registry/customresource/strategy.go and status_strategy.go.
"""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api.extensions.defaulting import apply_defaults, drop_nulls
from orch_api.extensions.props import Props
from orch_api.extensions.rules import RuleSet
from orch_api.extensions.values import ABSENT, value_problems
from orch_api.strategy import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Document, Strategy, keep, section
from orch_api.validation import same

_STANDARD_FINALIZERS: Final = frozenset({FOREGROUND_FINALIZER, ORPHAN_FINALIZER})


class CustomStrategy(Strategy):
    """The rules of a kind whose status is no subresource, so that its documents are written whole."""

    has_generation = True
    free_finalizers = True

    def __init__(self, props: Props) -> None:
        self._props = props
        self._rules = RuleSet(props)

    def default(self, obj: Document) -> None:
        """Fill in the schema's defaults."""
        apply_defaults(obj, self._props)
        drop_nulls(obj, self._props)

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Count every change outside of the metadata and, where it is a subresource, the status."""
        aside = {"metadata", "status"} if self.has_status else {"metadata"}
        return any(not same(obj.get(name), old.get(name)) for name in (obj.keys() | old.keys()) - aside)

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Keep everything but the status; of the metadata only who manages what may change."""
        managed = obj["metadata"].get("managedFields")
        keep(obj, old, *((obj.keys() | old.keys()) - {"status"}))
        metadata: Document = dict(old["metadata"])
        metadata.pop("managedFields", None)
        if managed:
            metadata["managedFields"] = managed
        obj["metadata"] = metadata

    def validate(self, obj: Document) -> list[Cause]:
        """Return what the schema and its rules refuse; the rules look only at what the schema accepts."""
        return self._problems(obj, ABSENT)

    def validate_changed(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with what changed, and which transitions the rules refuse."""
        return self._problems(obj, old)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with a new status."""
        return self._problems(obj, old)

    def warnings(self, obj: Document) -> list[str]:
        """Point out finalizers that others might use as well."""
        advice = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts"
        finalizers: list[str] = section(obj, "metadata").get("finalizers") or []
        return [
            f'metadata.finalizers: "{finalizer}": {advice} with other finalizer writers'
            for finalizer in finalizers
            if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
        ]

    def _problems(self, obj: Document, old: Document | object) -> list[Cause]:
        causes = value_problems(obj, self._props, old)
        return causes or self._rules.problems(obj, old)


class CustomStatusStrategy(CustomStrategy):
    """The rules of a kind whose status is a subresource."""

    has_status = True
