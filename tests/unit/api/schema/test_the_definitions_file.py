from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from orch_api.schema.definitions import packed_definitions

TOOL = Path(__file__).resolve().parents[4] / "tools/schema.py"
SOURCE = {
    "$defs": {
        "io.k8s.api.a.v1.Thing": {
            "description": "A thing.",
            "properties": {
                "apiVersion": {"type": ["string", "null"], "enum": ["a/v1"]},
                "part": {"$ref": "#/$defs/io.k8s.api.a.v1alpha1.Part", "description": "A part."},
                "sizes": {"items": {"type": ["integer", "null"], "format": "int32"}, "type": "array"},
            },
            "type": ["object", "null"],
        },
        "io.k8s.api.a.v1alpha1.Part": {"type": ["object", "null"]},
        "io.k8s.api.a.v1beta1.Thing": {"type": ["object", "null"]},
    }
}
REDUCED = {
    "io.k8s.api.a.v1.Thing": {
        "description": "A thing.",
        "properties": {
            "apiVersion": {"type": "string"},
            "part": {"$ref": "io.k8s.api.a.v1alpha1.Part", "description": "A part."},
            "sizes": {"items": {"type": "integer", "format": "int32"}, "type": "array"},
        },
        "type": "object",
    },
    "io.k8s.api.a.v1alpha1.Part": {"type": "object"},
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("orch_schema_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_holds_what_is_stable_and_what_that_refers_to(tool: ModuleType) -> None:
    assert json.loads(gzip.decompress(tool.packed(json.dumps(SOURCE).encode()))) == REDUCED


def test_the_same_source_gives_the_same_bytes(tool: ModuleType) -> None:
    source = json.dumps(SOURCE).encode()
    turned = json.dumps({"$defs": dict(reversed(SOURCE["$defs"].items()))}).encode()
    assert tool.packed(source) == tool.packed(turned)


def test_no_reference_dangles(tool: ModuleType) -> None:
    definitions = json.loads(gzip.decompress(packed_definitions()))
    assert len(definitions) > 600
    missing = {name for schema in definitions.values() for name in tool.references(schema)} - definitions.keys()
    assert missing == set()
