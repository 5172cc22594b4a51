"""What a strict reader refuses in a patch itself: members that are there twice, and in JSON patches unknown ones."""

from __future__ import annotations

from typing import Any, Final, cast

from orch.quoting import quote
from orch_api.schema.repeated import may_repeat, repeated

_OPERATION: Final = frozenset({"op", "from", "path", "value"})


def patch_issues(patch: bytes, decoded: Any, *, operations: bool) -> list[str]:
    """Return the issues of a patch, of which `decoded` is the value; `operations` says that it is a JSON patch."""
    twice = repeated(patch) if may_repeat(patch, decoded) else []
    if not operations:
        return [f"duplicate field {quote(path)}" for path in twice]
    issues = [f"json patch unknown field {quote(path)}" for path in _unknown(decoded)]
    # What is within a value is no field of an operation.
    return issues + [
        f"json patch duplicate field {quote(path)}" for path in twice if "." not in path.partition("]")[2][1:]
    ]


def _unknown(decoded: Any) -> list[str]:
    if not isinstance(decoded, list):
        return []
    return [
        f"[{index}].{name}"
        for index, operation in enumerate(cast("list[Any]", decoded))
        if isinstance(operation, dict)
        for name in cast("dict[str, Any]", operation)
        if name not in _OPERATION
    ]
