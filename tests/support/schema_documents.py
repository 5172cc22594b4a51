"""Documents drawn from Kubernetes' schema: whole ones of any definition, and samples of which a few parts are odd.

What is drawn fits the schema's types. It is chosen to be what code does not expect: numbers at their limits, texts that
look like numbers, addresses, schedules or expressions, maps and lists that are empty or repeat themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path as File
from typing import Any

import yaml
from hypothesis import strategies as st

from orch_api.schema.definitions import (
    Definitions,
    ListOf,
    MapOf,
    ObjectOf,
    Scalar,
    Shape,
    packed_definitions,
    read_definitions,
)

Document = dict[str, Any]
Path = tuple[str | int, ...]

SAMPLES = File(__file__).parent / "samples"
DEEPEST = 9
"""Objects further down than this are empty."""

TEXTS = st.sampled_from(
    (
        *("", "a", "sample", "A_b", "-a", "a.b.c", "a/b", "a=b", "a,b", "a:b", "é", "\u0000", "\n", "٣", "x" * 64),
        *(
            "x" * 300,
            "%",
            "%d",
            "50%",
            "-1",
            "0",
            "+1",
            "1.5",
            "1e400",
            "0x10",
            "9" * 40,
            "1Gi",
            "None",
            "True",
            "null",
        ),
        *("{}", "[", "(", "*", "^(", "!", "in (", "1 +", "self.x", "has(self.a)", "$(X)", "/", "../..", "/a/b", "~1"),
        *(
            "http://x",
            "https://x:99999/",
            "tcp://[",
            "* * * * *",
            "@every",
            "TZ=UTC * * * * *",
            "10.0.0.0/8",
            "10.0.0.1",
        ),
        *("::1", "fe80::/129", "Always", "Never", "TCP", "Delete", "Local", "ClusterIP", "RollingUpdate", "Recreate"),
        *("example.com/x", "kubernetes.io/hostname", "2024-01-01T00:00:00Z", "\ud7ff"),
    )
)
_INTEGERS = (0, 1, -1, 2, 80, 100, 101, 3600, 65535, 65536, 2**31 - 1, -(2**31))
_LARGE = (2**31, 2**53 + 1, 2**63 - 1, -(2**63))
SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.TEXT: TEXTS,
    Scalar.INT32: st.sampled_from(_INTEGERS),
    Scalar.INT64: st.sampled_from(_INTEGERS + _LARGE),
    Scalar.FLOAT: st.sampled_from((0, 1.5, -1, 1e308)),
    Scalar.BOOL: st.booleans(),
    Scalar.BYTES: st.sampled_from(("", "AP8Q", "////", "YQ==")),
    Scalar.QUANTITY: st.sampled_from(("0", "1", "-1", "100m", "1n", "1Gi", "7Ei", "1e3", "1500m", "999999999999")),
    Scalar.TIME: st.sampled_from(("2024-02-29T23:59:59Z", "1000-01-01T00:00:00Z", "9999-12-31T23:59:59Z")),
    Scalar.MICRO_TIME: st.sampled_from(("2024-02-29T23:59:59.000123Z", "9999-12-31T23:59:59.999999Z")),
    Scalar.INT_OR_STRING: st.one_of(
        st.sampled_from(_INTEGERS), st.sampled_from(("50%", "101%", "-1%", "http", "", "%"))
    ),
}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from(_INTEGERS + _LARGE), TEXTS, st.sampled_from((1.5, 1e300))),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)


@cache
def definitions() -> Definitions:
    """Return the schema."""
    return read_definitions(packed_definitions())


@cache
def kinds() -> dict[tuple[str, str], str]:
    """Return the definition of every kind, by apiVersion and kind."""
    return {
        (f"{kind.group}/{kind.version}".removeprefix("/"), kind.kind): name
        for name, definition in definitions().items()
        for kind in definition.kinds
    }


@cache
def samples() -> dict[tuple[str, str], Document]:
    """Return the sample of every kind that has one, by apiVersion and kind; to be copied, not changed."""
    return {
        (document["apiVersion"], document["kind"]): document
        for file in sorted(SAMPLES.glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
    }


@st.composite
def values(draw: st.DrawFn, shape: Shape, depth: int = 0) -> Any:
    """Draw a value of a shape."""
    match shape:
        case Scalar():
            return draw(SCALARS.get(shape, JSON))
        case ListOf(item):
            items = [draw(values(item, depth + 1)) for _ in range(draw(st.integers(0, 2)))]
            return [*items, copy.deepcopy(items[0])] if items and draw(st.integers(0, 4)) == 0 else items
        case MapOf(value):
            return {draw(TEXTS): draw(values(value, depth + 1)) for _ in range(draw(st.integers(0, 2)))}
        case ObjectOf(name):
            return draw(objects(name, depth))


@st.composite
def objects(draw: st.DrawFn, name: str, depth: int = 0) -> Document:
    """Draw an object of a definition: all that it must have and a few of its other fields, fewer further down."""
    known = definitions().fields(name)
    if depth > DEEPEST or not known:
        return {}
    chosen = [field for field in definitions()[name].required if field in known]
    if depth < DEEPEST - 2:
        chosen += draw(st.lists(st.sampled_from(sorted(known)), max_size=max(1, 4 - depth)))
    return {field: draw(values(definitions().shape(known[field]), depth + 1)) for field in dict.fromkeys(chosen)}


@st.composite
def odd(draw: st.DrawFn, document: Document, definition: str, *, most: int = 2) -> Document:
    """Draw a document like the given one in which up to `most` parts are others; of its kind, under its own name."""
    result = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        found = [(path, shape) for path, shape in places(result, ObjectOf(definition)) if path not in _KEPT]
        path, shape = draw(st.sampled_from(found))
        chance = draw(st.integers(0, 9))
        put(result, path, None if chance == 0 else draw(JSON) if chance == 1 else draw(values(shape, len(path))))
    return result


_KEPT: tuple[Path, ...] = (
    (),
    ("apiVersion",),
    ("kind",),
    ("metadata",),
    ("metadata", "name"),
    ("metadata", "namespace"),
)


def places(value: Any, shape: Shape, path: Path = ()) -> Iterator[tuple[Path, Shape]]:
    """Yield every place of a value where something is or could be, with its shape."""
    yield path, shape
    match shape:
        case ObjectOf(name) if isinstance(value, dict):
            for field, definition in sorted(definitions().fields(name).items()):
                if field in value:
                    yield from places(value[field], definitions().shape(definition), (*path, field))
                else:
                    yield (*path, field), definitions().shape(definition)
        case ListOf(item) if isinstance(value, list):
            for index, inner in enumerate(value):
                yield from places(inner, item, (*path, index))
            yield (*path, len(value)), item
        case MapOf(item) if isinstance(value, dict):
            for key, inner in value.items():
                yield from places(inner, item, (*path, key))
        case _:
            return


def put(document: Any, path: Path, value: Any) -> None:
    """Set what is at a path; the place after a list's last makes the list longer."""
    for step in path[:-1]:
        document = document[step]
    if isinstance(document, list) and path[-1] == len(document):
        document.append(value)
    else:
        document[path[-1]] = value
