"""JSON merge patch (RFC 7396): objects are merged, null removes, everything else replaces."""

from __future__ import annotations

from typing import Any, cast

from orch_api.patch.documents import Document, as_object


def apply(document: Document, patch: Any) -> Document:
    """Return the document with the patch merged into it; the two and the result may share what they hold.

    Raises BadRequestError when the patch is no object.
    """
    return _merge(document, as_object(patch))


def _merge(target: Any, patch: Document) -> Document:
    before = cast("Document", target) if isinstance(target, dict) else {}
    result: Document = {key: value for key, value in before.items() if key not in patch}
    for key, value in patch.items():
        if isinstance(value, dict):
            result[key] = _merge(before.get(key), cast("Document", value))
        elif value is not None:
            result[key] = value
    return result
