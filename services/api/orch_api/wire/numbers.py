"""The table of wire numbers: which message has which field under which number. tools/wire_numbers.py writes it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

META = "meta.k8s.io/v1"


class Field(msgspec.Struct, frozen=True, gc=False):
    """A field of a message. `type` is one of scalars.py's names, or a message's full name."""

    number: int
    name: str
    type: str
    label: Literal["", "[]", "{}"] = ""
    """One value, a list of them, or a map from texts to them."""
    inline: bool = False
    """In JSON the message's own fields stand in its parent's place."""
    keep: bool = False
    """A zero value says something, so that JSON keeps it: in Go it is behind a pointer or always written."""


@cache
def messages() -> Mapping[str, tuple[Field, ...]]:
    """Return every message's fields by its full name: its apiVersion, a dot and its own name."""
    found: dict[str, list[Field]] = {}
    package = ""
    fields: list[Field] = []
    text = resources.files("orch_api.wire").joinpath("numbers.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if line.startswith(" "):
            fields.append(_field(line.split(), package))
        elif line.startswith("["):
            package = line[1:-1]
        elif not line.startswith("#"):
            fields = found.setdefault(f"{package}.{line}", [])
    return {name: tuple(fields) for name, fields in found.items()}


def _field(words: list[str], package: str) -> Field:
    number, name, written, *flags = words
    label = written[:2] if written[0] in "[{" else ""
    kind = written[len(label) :]
    if kind[0].isupper():
        kind = f"{package}.{kind}"
    return Field(int(number), name, kind, label, "inline" in flags, "keep" in flags)  # pyright: ignore[reportArgumentType]


def name_of(api_version: str, kind: str) -> str | None:
    """Return the full name of the message of a kind; what every group has, such as DeleteOptions, is in meta/v1."""
    for package in (api_version, META):
        name = f"{package}.{kind}"
        if name in messages():
            return name
    return None
