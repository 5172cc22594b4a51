"""How kinds name the fields that a field selector may compare, beyond metadata.name and metadata.namespace."""

from __future__ import annotations

from orch_api.kinds.columns import at
from orch_api.resource import FieldValue
from orch_api.strategy import Document


def field(*path: str, missing: str = "") -> FieldValue:
    """Return what a field selector compares: the text at a path."""

    def value(obj: Document) -> str:
        found = at(obj, path)
        if isinstance(found, bool):
            return "true" if found else "false"
        return missing if found is None or found == "" else str(found)

    return value
