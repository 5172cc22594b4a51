"""Take the Kubernetes API's schema out of its package: writes services/api/orch_api/schema/definitions.json.gz.

The schema is one file of a package that holds every version of Kubernetes, so neither our wheel nor our repository
should carry the package. `make setup` runs this, and so does the build of a wheel. The same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "kubernetes-validate"
VERSION: Final = "1.37.0"
MEMBER: Final = "kubernetes-json-schema/v1.37.0-local/_definitions.json"
# Of the file and of the wheel. Whatever delivers them, only these bytes are used.
FILE_SHA256: Final = "e1cc369ddafebc822940791b134361062e1b754a393104857ede92a81f2aa2a2"
WHEEL_SHA256: Final = "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"
DOWNLOAD_SECONDS: Final = 300.0

TARGET: Final = Path(__file__).resolve().parent.parent / "services/api/orch_api/schema/definitions.json.gz"

_UNSTABLE = re.compile(r"\.v\d+(alpha|beta)\d+\.")
_POINTER: Final = "#/$defs/"


def installed() -> bytes | None:
    """Return the file's bytes from the package if this interpreter has that version of it."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / MEMBER
        if path.is_file():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == FILE_SHA256:
                return data
    return None


def downloaded() -> bytes:
    """Return the file's bytes from the package in the registry that pip is configured for."""
    with tempfile.TemporaryDirectory() as scratch:
        pin = Path(scratch) / "requirements.txt"
        pin.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--dest", scratch, "--requirement", str(pin)]
        subprocess.run(command, check=True, timeout=DOWNLOAD_SECONDS)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(f"{PACKAGE.replace('-', '_')}/{MEMBER}")
    found = hashlib.sha256(data).hexdigest()
    if found != FILE_SHA256:
        raise SystemExit(f"{MEMBER}: sha256 is {found}, {FILE_SHA256} was expected")
    return data


def references(schema: object) -> Iterator[str]:
    """Yield the names of the definitions that `schema` refers to."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_POINTER)
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def wanted(definitions: dict[str, Any]) -> set[str]:
    """Return the names of the stable definitions and of all that they refer to."""
    names: set[str] = set()
    queue = [name for name in definitions if not _UNSTABLE.search(name)]
    while queue:
        name = queue.pop()
        if name not in names:
            names.add(name)
            queue.extend(references(definitions[name]))
    return names


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` as OpenAPI has it: one type instead of `[type, "null"]`, no enum for apiVersion and kind.

    `$ref` becomes the definition's bare name; the documents that need a pointer put it in front.
    """
    result: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "enum":
                continue
            case "$ref":
                result[key] = value.removeprefix(_POINTER)
            case "type" if isinstance(value, list):
                (result[key],) = (name for name in value if name != "null")
            case "properties":
                result[key] = {name: plain(inner) for name, inner in value.items()}
            case "items" | "additionalProperties":
                result[key] = plain(value)
            case "oneOf":
                result[key] = [plain(inner) for inner in value]
            case _:
                result[key] = value
    return result


def packed(source: bytes) -> bytes:
    """Return the reduced definitions, compressed; the same bytes for the same source."""
    definitions: dict[str, Any] = json.loads(source)["$defs"]
    reduced = {name: plain(definitions[name]) for name in wanted(definitions)}
    text = json.dumps(reduced, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as stream:
        stream.write(text)
    return buffer.getvalue()


def write(target: Path = TARGET) -> None:
    """Write the definitions to `target`, in one step."""
    data = packed(installed() or downloaded())
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(target)


if __name__ == "__main__":
    write()
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")
