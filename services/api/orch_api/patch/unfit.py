"""What a patch is refused with when the patched document is no object of its kind: invalid, in words of its own.

A document that is written whole is malformed (400) when a value has the wrong type; a patch is invalid (422), for only
together with the object does it come to nothing. Strategic merge patches are read by another of Kubernetes' decoders
than the rest, which says less, and is therefore followed only in its words.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

from orch.errors import BadRequestError, InvalidError
from orch_api.patch.documents import Document
from orch_api.schema import KindSchema
from orch_api.validation import invalid

_WRONG_TYPE: Final = re.compile(
    r"json: cannot unmarshal (?P<found>\S+)(?: (?P<number>\S+))? into Go .+ of type (?P<wanted>.+)"
)
_SIMPLE: Final = frozenset({"bool", "float64", "int32", "int64", "string"})
_KINDS: Final = {"object": "map", "array": "slice"}


def refused(error: BadRequestError, schema: KindSchema, patched: Document, strategic: Any) -> InvalidError:
    """Return the refusal of a patch, given why the patched document could not be read.

    `strategic` is the patch itself when it is a strategic merge patch, else None.
    """
    problem = error.message.partition(f" cannot be handled as a {schema.kind}: ")[2] or error.message
    return _invalid(patched, strategic, problem if strategic is None else _as_converted(problem))


def refused_strictly(issues: list[str], patched: Document, strategic: Any) -> InvalidError:
    """Return the refusal of a patch of which a strict reader minds something."""
    return _invalid(patched, strategic, f"strict decoding error: {', '.join(issues)}")


def _invalid(patched: Document, strategic: Any, problem: str) -> InvalidError:
    shown = msgspec.json.encode(patched).decode() if strategic is None else _printed(strategic)
    return InvalidError.of("", "", "", [invalid("patch", shown, problem)])


def _as_converted(problem: str) -> str:
    """Return a problem with a type as the converter of unstructured objects words it."""
    match = _WRONG_TYPE.fullmatch(problem)
    if match is None:
        return problem
    found, wanted = _KINDS.get(match["found"], match["found"]), match["wanted"]
    if found == "number":
        whole = not re.search("[.eE]", match["number"] or "")
        found = "int64" if whole else "float64"
    if wanted in _SIMPLE:
        # Go converts integers to strings and floats to integers, which JSON must not; all else it does not know.
        if (found, wanted) == ("int64", "string") or (found == "float64" and wanted.startswith("int")):
            return f"cannot convert {found} to {wanted}"
        return f"unrecognized type: {wanted}"
    if wanted.startswith("map[") or wanted == "v1.ResourceList":
        return f"cannot restore map from {found}"
    return f"cannot restore slice from {found}" if wanted.startswith("[]") else f"cannot restore struct from: {found}"


def _printed(value: Any) -> str:
    """Return a JSON value as Go prints it with %+v."""
    match value:
        case dict():
            named = sorted(cast("Document", value).items())
            return f"map[{' '.join(f'{name}:{_printed(inner)}' for name, inner in named)}]"
        case list():
            return f"[{' '.join(map(_printed, cast('list[Any]', value)))}]"
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)
