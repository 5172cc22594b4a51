"""JSON patch (RFC 6902): a list of operations, all of which must succeed. Errors are worded as Kubernetes' are."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

from orch.errors import BadRequestError, Cause, InvalidError, StatusDetails, TooLargeError
from orch_api.patch.documents import Document, clone, equal

MAX_OPERATIONS: Final = 10_000
MAX_COPIED: Final = 3 << 20
"""Bytes that all copies of a patch may add, as JSON: a few dozen that copy all before them would fill any memory."""

_INDEX: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DIGITS: Final = re.compile(r"[+-]?[0-9]+")
_ESCAPE: Final = re.compile(r"~(?![01])")
_REJECTED: Final = "the server rejected our request due to an error in our request"
_MISSING: Final = "missing value"


class _DoesNotApplyError(Exception):
    """One operation does not fit the document; says why."""


def apply(document: Document, operations: Any) -> Document:
    """Return the document after all operations.

    Raises BadRequestError when the patch is malformed, TooLargeError when it has more than 10,000 operations, and
    InvalidError, whose cause names the operation, when one of them does not apply.
    """
    patch = _operations(operations)
    if len(patch) > MAX_OPERATIONS:
        raise TooLargeError(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}")
    result: Any = clone(document)
    copied = 0
    for index, operation in enumerate(patch):
        try:
            if operation.get("op") == "copy":
                copied = _allowed(result, operation, copied)
            result = _apply(result, operation)
        except _DoesNotApplyError as problem:
            raise _rejected(index, str(problem)) from problem
    if not isinstance(result, dict):
        raise _rejected(len(patch) - 1, "the patched document is not an object")
    return cast("Document", result)


def _allowed(document: Any, operation: Document, copied: int) -> int:
    """Return how much was copied with this operation, unless it is too much."""
    copied += len(msgspec.json.encode(_get(document, _path(operation, "from"), "copy")))
    if copied > MAX_COPIED:
        problem = f"the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
        raise _DoesNotApplyError(f"Unable to complete the copy, {problem}")
    return copied


def _operations(patch: Any) -> list[Document]:
    if not isinstance(patch, list):
        raise BadRequestError("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    operations = cast("list[Any]", patch)
    for operation in operations:
        if not isinstance(operation, dict):
            raise BadRequestError("json: cannot unmarshal array into Go value of type jsonpatch.Operation")
        named = cast("Document", operation)
        for part in ("op", "path", "from"):
            if part in named and not isinstance(named[part], str):
                raise BadRequestError(f"json: cannot unmarshal {part} of a JSON patch operation into a string")
    return operations


def _rejected(index: int, problem: str) -> InvalidError:
    cause = Cause("FieldValueInvalid", problem, f"patch[{index}]")
    return InvalidError(_REJECTED, StatusDetails(causes=(cause,)))


def _apply(document: Any, operation: Document) -> Any:
    kind = operation.get("op", "unknown")
    path = _path(operation, "path")
    if kind in {"add", "replace", "test"} and "value" not in operation and kind != "test":
        raise _DoesNotApplyError(f"{kind} operation is missing its value")
    if kind == "add":
        return _add(document, path, clone(operation["value"]))
    if kind == "remove":
        _take(document, path, "remove")
        return document
    if kind == "replace":
        return _replace(document, path, clone(operation["value"]))
    if kind == "move":
        return _move(document, _path(operation, "from"), path)
    if kind == "copy":
        return _add(document, path, clone(_get(document, _path(operation, "from"), "copy")))
    if kind == "test":
        _test(document, path, operation.get("value"))
        return document
    raise _DoesNotApplyError(f"Unexpected kind: {kind}")


def _path(operation: Document, part: str) -> str:
    if part not in operation:
        raise _DoesNotApplyError(f"operation, missing {part} field: {_MISSING}")
    return operation[part]


def _steps(path: str, verb: str) -> list[str]:
    """Return the parts of a JSON pointer; none for the whole document."""
    if not path:
        return []
    if not path.startswith("/") or _ESCAPE.search(path):
        raise _missing_path(verb, path)
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _missing_path(verb: str, path: str) -> _DoesNotApplyError:
    if verb in {"copy", "move"}:
        return _DoesNotApplyError(f"{verb} operation does not apply: doc is missing from path: {path}: {_MISSING}")
    return _DoesNotApplyError(f'{verb} operation does not apply: doc is missing path: "{path}": {_MISSING}')


def _parent(document: Any, path: str, verb: str) -> tuple[Document | list[Any], str]:
    """Return the container that the path's last step leads into, and that step."""
    steps = _steps(path, verb)
    if not steps:
        raise _missing_path(verb, path)
    value = document
    for step in steps[:-1]:
        value = _child(value, step)
        if not isinstance(value, dict | list):
            raise _missing_path(verb, path)
    if not isinstance(value, dict | list):
        raise _missing_path(verb, path)
    return cast("Document | list[Any]", value), steps[-1]


def _child(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return cast("Document", value).get(step)
    found = cast("list[Any]", value)
    return found[int(step)] if _INDEX.fullmatch(step) and -len(found) <= int(step) < len(found) else None


def _index(items: list[Any], step: str, path: str, verb: str, *, end: int) -> int:
    """Return the place that a step names; Kubernetes counts a negative one from the list's end."""
    if not _INDEX.fullmatch(step):
        why = "value out of range" if _DIGITS.fullmatch(step) else "invalid syntax"
        raise _DoesNotApplyError(f"error in {verb} for path: '{path}': strconv.Atoi: parsing \"{step}\": {why}")
    index, size = int(step), len(items) + end
    if not -size <= index < size:
        problem = f"Unable to access invalid index: {index}: invalid index referenced"
        raise _DoesNotApplyError(f"error in {verb} for path: '{path}': {problem}")
    return index + size if index < 0 else index


def _add(document: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    parent, step = _parent(document, path, "add")
    if isinstance(parent, dict):
        parent[step] = value
    elif step == "-":
        parent.append(value)
    else:
        parent.insert(_index(parent, step, path, "add", end=1), value)
    return document


def _replace(document: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    parent, step = _parent(document, path, "replace")
    if isinstance(parent, list):
        parent[_index(parent, step, path, "replace", end=0)] = value
    elif step in parent:
        parent[step] = value
    else:
        raise _DoesNotApplyError(f"replace operation does not apply: doc is missing key: {path}: {_MISSING}")
    return document


def _take(document: Any, path: str, verb: str) -> Any:
    """Remove what is at the path, and return it."""
    parent, step = _parent(document, path, verb)
    if isinstance(parent, list):
        return parent.pop(_index(parent, step, path, verb, end=0))
    if step not in parent:
        raise _DoesNotApplyError(
            f"error in {verb} for path: '{path}': Unable to remove nonexistent key: {step}: {_MISSING}"
        )
    return parent.pop(step)


def _get(document: Any, path: str, verb: str) -> Any:
    if not path:
        return document
    parent, step = _parent(document, path, verb)
    if isinstance(parent, list):
        return parent[_index(parent, step, path, verb, end=0)]
    if step not in parent:
        where = "from" if verb == "copy" else "path"
        raise _DoesNotApplyError(f"error in {verb} for {where}: '{path}': {_MISSING}")
    return parent[step]


def _move(document: Any, source: str, path: str) -> Any:
    if path.startswith(f"{source}/"):
        raise _DoesNotApplyError(f"move operation does not apply: {path} is inside of {source}")
    if source == path:
        _get(document, source, "move")
        return document
    return _add(document, path, _take(document, source, "move"))


def _test(document: Any, path: str, value: Any) -> None:
    try:
        found = _get(document, path, "test")
    except _DoesNotApplyError:
        if value is None:
            return
        raise
    if not equal(found, value):
        raise _DoesNotApplyError(f"testing value {path} failed: test failed")
