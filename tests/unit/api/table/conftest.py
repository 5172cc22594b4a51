from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from orch_api.registry import REGISTRY

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def row() -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """The cells of an object that is an hour old, by the names of their columns as kubectl shows them."""

    def cells(plural: str, document: dict[str, Any]) -> dict[str, Any]:
        meta = {"name": "a", "creationTimestamp": "2026-01-01T11:00:00Z", **document.get("metadata", {})}
        resource = next(one for one in REGISTRY.resources if one.plural == plural)
        return {column.name.upper(): column.value({**document, "metadata": meta}, NOW) for column in resource.columns}

    return cells
