"""Build hook: a wheel contains the Kubernetes schema, which is not in the repository."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SCHEMA = "services/api/orch_api/schema/definitions.json.gz"


class SchemaHook(BuildHookInterface[Any]):
    """Runs tools/schema.py before a wheel is built, unless `make setup` has done so."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the file and add it to the build, although git ignores it."""
        if version == "editable":
            return
        root = Path(self.root)
        if not (root / SCHEMA).exists():
            runpy.run_path(str(root / "tools/schema.py"), run_name="__main__")
        build_data["artifacts"].append(SCHEMA)
